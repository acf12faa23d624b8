import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from detection_contract.media_types import MediaKind
from detection_training.evaluation import evaluate, score_file
from detection_worker.detectors import registry, self_test
from detection_worker.detectors.registry import LoadedDetectors
from detection_worker.errors import UsageError
from detection_worker.samples import SAMPLES, Sample, sample_path

GOLDEN: dict[str, float] = json.loads(
    (Path(__file__).parent / "sample_scores.json").read_text(encoding="utf-8")
)


@pytest.fixture(scope="module")
def loaded() -> LoadedDetectors:
    return registry.load_detectors(registry.bundled_models_dir())


def test_the_bundled_models_cover_every_kind_and_pass_their_self_tests(
    loaded: LoadedDetectors,
) -> None:
    assert list(loaded.by_kind) == list(MediaKind)
    assert loaded.problems == []
    assert {card.grade for card in loaded.cards} == {"demo"}


def test_the_bundled_models_are_small_and_documented() -> None:
    models_dir = registry.bundled_models_dir()

    for entry in registry.list_models(models_dir):
        folder = models_dir / entry.name
        card = (folder / "MODEL_CARD.md").read_text(encoding="utf-8")
        assert entry.problem is None
        assert "Do not use its scores to accuse" in card
        assert json.loads((folder / "eval.json").read_text())["rows"]
    assert sum(p.stat().st_size for p in models_dir.glob("*/*.safetensors")) <= 8 << 20


@pytest.mark.parametrize("kind", list(MediaKind))
def test_a_bundled_score_does_not_depend_on_its_neighbours(
    loaded: LoadedDetectors, kind: MediaKind
) -> None:
    detector = loaded.by_kind[kind]
    units = np.concatenate(
        [self_test.unit(detector.card.sampling, seed=seed) for seed in range(5)]
    )

    together = detector.logits(units)
    alone = np.concatenate([detector.logits(unit[None]) for unit in units])

    np.testing.assert_allclose(together, alone, atol=1e-4)


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)
def test_a_sample_keeps_its_score(loaded: LoadedDetectors, sample: Sample) -> None:
    scored = score_file(loaded, sample_path(sample.name))

    assert scored.kind is sample.kind
    assert scored.score == pytest.approx(GOLDEN[sample.name], abs=1e-3)


def test_the_samples_can_be_measured(loaded: LoadedDetectors, tmp_path: Path) -> None:
    for sample in SAMPLES:
        (tmp_path / sample.truth).mkdir(exist_ok=True)
        (tmp_path / sample.truth / sample.name).symlink_to(sample_path(sample.name))
    (tmp_path / "real" / "broken.png").write_bytes(b"no picture")

    rows, problems = evaluate(
        loaded, real=tmp_path / "real", fake=tmp_path / "fake", log=lambda _: None
    )

    assert list(rows) == ["image", "video", "audio"]
    assert sum(row["n_real"] + row["n_fake"] for row in rows.values()) == len(SAMPLES)
    assert [p.partition(":")[0] for p in problems] == ["broken.png"]


def test_a_folder_without_media_cannot_be_measured(
    loaded: LoadedDetectors, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="No media files in"):
        evaluate(loaded, real=tmp_path, fake=tmp_path, log=lambda _: None)


@pytest.mark.slow
def test_listing_models_does_not_import_torch() -> None:
    code = (
        "import sys; from detection_worker.detectors import registry;"
        "assert len(registry.list_models(registry.bundled_models_dir())) == 3;"
        "assert 'torch' not in sys.modules"
    )

    subprocess.run([sys.executable, "-c", code], check=True)
