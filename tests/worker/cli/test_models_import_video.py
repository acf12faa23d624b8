"""``models import --video``: an imported image detector also scores the frames of videos."""

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
import pytest
import torch
from PIL import Image

from detection_contract.media_types import MediaKind
from detection_testing.media import known_values
from detection_testing.samples import sample_path
from detection_worker.__main__ import main
from detection_worker.core.sampling import VideoSampling
from detection_worker.core.verdict import Pooling
from detection_worker.detectors import architectures, registry, self_test
from detection_worker.detectors.importing import layouts, published

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _plain_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    for name in ("MODELS_DIR", "DETECTION_CONFIG"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def _small_faces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make ``small-faces`` an architecture: used as Xception is, with a small network."""
    small = replace(
        published.PUBLISHED["xception"][0],
        architecture="image_residual",
        layout=layouts.OWN,
        params={},
        activation="sigmoid",
    )
    monkeypatch.setitem(cast("dict[str, object]", published.PUBLISHED), "small-faces", (small,))


def weights_of(architecture: str, *, gain: float = 1.8) -> dict[str, torch.Tensor]:
    state = architectures.build_network(architecture, {}, where="test").state_dict()
    return known_values.weights({n: tuple(v.shape) for n, v in state.items()}, gain=gain)


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    """A small detector of faces."""
    path = tmp_path / "faces.pth"
    torch.save(weights_of("image_residual"), path)
    return path


def run(*words: object) -> int:
    return main(["models", *(str(word) for word in words)])


def bring_in(source: Path, models: Path, *words: object, architecture: str = "small-faces") -> int:
    common = ("--architecture", architecture, "--license", "MIT", "--output", models)
    return run("import", source, *common, "--video", *words)


def film(path: Path) -> Path:
    """Write four frames with a face."""
    still = np.asarray(Image.open(sample_path("astronaut.jpg")).convert("RGB"))
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream("mjpeg", rate=Fraction(5))
        stream.width, stream.height, stream.pix_fmt = 512, 512, "yuvj420p"
        for i in range(4):
            frame = av.VideoFrame.from_ndarray(still, format="rgb24")
            frame.pts, frame.time_base = i, Fraction(1, 5)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def test_a_detector_of_faces_scores_the_faces_of_frames(
    faces: Path, tmp_path: Path, capsys: Capture
) -> None:
    models = tmp_path / "models"

    code = bring_in(faces, models)
    said = capsys.readouterr().out
    loaded = registry.load_detectors(models, threads=1)

    assert code == 0
    assert "* small-faces " in said
    assert "* small-faces-video " in said
    assert loaded.problems == []
    image, video = (loaded.by_kind[kind] for kind in (MediaKind.IMAGE, MediaKind.VIDEO))
    assert video.card.sampling == VideoSampling(
        max_frames=32, crop_px=256, crops_per_frame=8, view="faces", face_scale=1.3
    )
    assert video.card.pooling == Pooling(within_frame="max", over_frames="mean")
    assert (video.card.grade, video.card.calibrated) == ("published", False)
    assert video.card.sha256 == image.card.sha256
    units = self_test.unit(image.card.sampling, seed=7)
    assert np.array_equal(video.logits(units), image.logits(units))


@pytest.mark.slow
def test_a_video_is_scored_by_its_faces(faces: Path, tmp_path: Path) -> None:
    models, result = tmp_path / "models", tmp_path / "result.json"
    bring_in(faces, models)

    words = ["predict", "--models-dir", str(models), "--output", str(result), "--input"]
    code = main([*words, str(film(tmp_path / "film.avi"))])

    scored = json.loads(result.read_text())
    assert code == 0
    assert scored["model"]["name"] == "small-faces-video"
    assert [len(segment["faces"]) for segment in scored["segments"]] == [1, 1, 1, 1]
    assert 0 <= scored["prediction_score"] <= 1


@pytest.mark.slow
def test_a_detector_of_crops_scores_a_few_crops_of_each_frame(tmp_path: Path) -> None:
    source, models = tmp_path / "NPR.pth", tmp_path / "models"
    torch.save(weights_of("npr"), source)

    assert bring_in(source, models, "--name", "ours", architecture="npr") == 0

    card = registry.load_detectors(models, threads=1).by_kind[MediaKind.VIDEO].card
    assert card.name == "ours-video"
    assert card.sampling == VideoSampling(max_frames=32, crop_px=256, crops_per_frame=2)
    assert card.pooling == Pooling()


def test_both_are_verified_and_the_lender_is_not_removed_before_the_borrower(
    faces: Path, tmp_path: Path, capsys: Capture
) -> None:
    models = tmp_path / "models"
    bring_in(faces, models)
    capsys.readouterr()

    assert run("verify", "--models-dir", models) == 0
    assert "ok      small-faces-video" in capsys.readouterr().out
    assert run("remove", "small-faces", "--models-dir", models, "--yes") == 2
    assert (
        "small-faces lends its weights to small-faces-video\nRemove that first."
        in capsys.readouterr().err
    )
    assert run("remove", "small-faces-video", "--models-dir", models, "--yes") == 0
    assert run("remove", "small-faces", "--models-dir", models, "--yes") == 0
    assert list(models.iterdir()) == []


def test_the_card_of_the_video_model_says_what_it_does(faces: Path, tmp_path: Path) -> None:
    bring_in(faces, tmp_path / "models", "--license", "CC BY-NC 4.0")

    folder = tmp_path / "models" / "small-faces-video"
    card = (folder / "MODEL_CARD.md").read_text()
    manifest = json.loads((folder / "manifest.json").read_text())

    assert sorted(path.name for path in folder.iterdir()) == ["MODEL_CARD.md", "manifest.json"]
    assert "`small-faces`" in card
    assert "Nobody measured" in card
    assert "CC BY-NC 4.0" in card
    assert len(manifest["selftest"]) == 2
    assert manifest["license"] == "CC BY-NC 4.0"


def test_a_taken_name_of_the_video_model_is_refused_before_anything_is_written(
    faces: Path, tmp_path: Path, capsys: Capture
) -> None:
    models = tmp_path / "models"
    bring_in(faces, models)
    run("import", faces, "--architecture", "small-faces", "--license", "MIT", "--output", models)
    before = sorted(models.rglob("*"))

    assert bring_in(faces, models, "--name", "small-faces") == 2

    assert "--force" in capsys.readouterr().err
    assert sorted(models.rglob("*")) == before
    assert bring_in(faces, models, "--force") == 0


def test_other_weights_do_not_take_the_place_of_those_that_are_lent(
    faces: Path, tmp_path: Path, capsys: Capture
) -> None:
    models, other = tmp_path / "models", tmp_path / "other.pth"
    bring_in(faces, models)
    torch.save(weights_of("image_residual", gain=1.5), other)
    common = ("--architecture", "small-faces", "--license", "MIT", "--output", models, "--force")
    capsys.readouterr()

    assert run("import", other, *common) == 2
    told = capsys.readouterr().err
    assert run("import", faces, *common) == 0
    assert bring_in(other, models, "--force") == 0

    assert "small-faces lends its weights to small-faces-video" in told
    assert "--video" in told
    assert registry.load_detectors(models, threads=1).problems == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        pytest.param(
            ("import", "x.pth", "--architecture", "aasist", "--license", "MIT", "--output", "m"),
            "aasist scores sound, so it cannot score videos\nLeave --video out.",
            id="of sound",
        ),
        pytest.param(("list",), "--video is for models import", id="another action"),
    ],
)
def test_where_there_is_no_video_model_the_option_is_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Capture,
    words: tuple[str, ...],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)

    assert run(*words, "--video") == 2

    assert said in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_leaves_no_room_for_the_video_model_is_refused(
    faces: Path, tmp_path: Path, capsys: Capture
) -> None:
    assert bring_in(faces, tmp_path / "models", "--name", "a" * 60) == 2

    assert "Not a model's name" in capsys.readouterr().err
    assert not (tmp_path / "models").exists()
