import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from detection_contract.media_types import MediaKind
from detection_testing.samples import SAMPLES, Sample, sample_path
from detection_training.evaluation.items import Item
from detection_training.evaluation.scoring import scorer
from detection_worker.detectors import registry, self_test
from detection_worker.detectors.model_folder import listing
from detection_worker.detectors.registry import LoadedDetectors

GOLDEN: dict[str, float] = json.loads(
    (Path(__file__).parent / "sample_scores.json").read_text(encoding="utf-8")
)


def item(sample: Sample) -> Item:
    return Item(
        path=sample_path(sample.name),
        name=sample.name,
        fake=sample.truth == "fake",
        family=sample.truth,
        source=sample.truth,
        group=sample.name,
    )


@pytest.fixture(scope="module")
def loaded() -> LoadedDetectors:
    return registry.load_detectors(listing.bundled_models_dir())


def test_the_bundled_models_cover_every_kind_and_pass_their_self_tests(
    loaded: LoadedDetectors,
) -> None:
    assert list(loaded.by_kind) == list(MediaKind)
    assert loaded.problems == []
    assert {card.grade for card in loaded.cards} <= {"demo", "experimental"}


def test_the_bundled_models_are_small_and_documented() -> None:
    models_dir = listing.bundled_models_dir()

    for entry in listing.list_models(models_dir):
        folder = models_dir / entry.name
        card = (folder / "MODEL_CARD.md").read_text(encoding="utf-8")
        assert entry.problem is None
        assert "Do not use its scores to accuse" in card
        assert json.loads((folder / "eval.json").read_text())["rows"]
    assert sum(p.stat().st_size for p in models_dir.glob("*/*.safetensors")) <= 12 << 20


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


def test_the_samples_keep_their_scores(loaded: LoadedDetectors) -> None:
    with scorer(loaded) as scoring:
        rows = {sample.name: scoring.score(item(sample)) for sample in SAMPLES}

    assert {name: row.problem for name, row in rows.items() if row.problem} == {}
    assert {name: row.kind for name, row in rows.items()} == {s.name: s.kind for s in SAMPLES}
    assert {name: row.score for name, row in rows.items()} == pytest.approx(GOLDEN, abs=1e-3)


@pytest.mark.slow
def test_listing_models_does_not_import_torch() -> None:
    code = (
        "import sys; from detection_worker.detectors.model_folder import listing;"
        "assert len(listing.list_models(listing.bundled_models_dir())) >= 3;"
        "assert 'torch' not in sys.modules"
    )

    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_bundled_models_do_not_wait_for_libraries_of_other_networks() -> None:
    """Importing torchvision takes seconds; only the networks made of its blocks pay for it."""
    code = (
        "import sys; from detection_worker.detectors import registry;"
        "from detection_worker.detectors.model_folder import listing;"
        "registry.load_detectors(listing.bundled_models_dir());"
        "assert not {'torchaudio', 'torchvision', 'onnxruntime'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
