"""``train head`` as a user runs it: folders in, a model folder out."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from detection_testing.samples import sample_path
from detection_worker.__main__ import main
from detection_worker.detectors import architectures
from detection_worker.detectors.frozen_head import FrozenHead

Capture = pytest.CaptureFixture[str]
Folders = tuple[Path, Path]
FILES = 30


def picture(number: int, *, fake: bool) -> NDArray[np.uint8]:
    """Return smooth noise; a fake's pixels are doubled, the trace of crude up-sampling."""
    rng = np.random.default_rng(number)
    coarse = rng.integers(0, 256, (9, 9, 3), dtype=np.uint8)
    side = 80 if fake else 160
    smooth = cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC).astype(np.float32)
    noisy = np.clip(smooth + rng.normal(0, 8, smooth.shape), 0, 255)
    grained: NDArray[np.uint8] = noisy.astype(np.uint8)
    return grained.repeat(2, 0).repeat(2, 1) if fake else grained


@pytest.fixture(scope="session")
def made_folders(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    root = tmp_path_factory.mktemp("labelled")
    for side, fake in (("real", False), ("fake", True)):
        (root / side).mkdir()
        for i in range(FILES):
            number = i + 1000 * fake
            cv2.imwrite(str(root / side / f"shot_{i:03}.png"), picture(number, fake=fake))
    return root / "real", root / "fake"


@pytest.fixture(scope="session")
def trained(made_folders: Folders, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``work`` and ``models`` after one training on the made folders."""
    root = tmp_path_factory.mktemp("trained")
    real, fake = made_folders
    words = ("train", "head", "--real", real, "--fake", fake)
    options = ("--output", root / "models", "--work-dir", root / "work")
    assert main([str(word) for word in (*words, *options)]) == 0
    return root


@pytest.fixture
def looked(trained: Path, tmp_path: Path) -> None:
    """Features of the made files are kept from an earlier run; the network is not asked again."""
    shutil.copytree(trained / "work", tmp_path / "work")


@pytest.fixture
def folders(made_folders: Folders, tmp_path: Path) -> Folders:
    real, fake = (Path(shutil.copytree(one, tmp_path / one.name)) for one in made_folders)
    return real, fake


@pytest.fixture
def train(tmp_path: Path) -> Callable[..., int]:
    def run(real: Path, fake: Path, *more: object) -> int:
        output = ("--output", tmp_path / "models", "--work-dir", tmp_path / "work")
        words = ("train", "head", "--real", real, "--fake", fake, *output, *more)
        return main([str(word) for word in words])

    return run


@pytest.mark.slow
@pytest.mark.usefixtures("looked")
def test_a_head_on_own_files_is_a_model_that_scores_them(
    folders: Folders, train: Callable[..., int], tmp_path: Path, capsys: Capture
) -> None:
    real, fake = folders
    (real / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno picture")
    shutil.copy(real / "shot_000.png", real / "z.png")
    (real / "clip.mp4").write_bytes(b"video")

    code = train(real, fake)
    said = capsys.readouterr().out
    models = tmp_path / "models"
    manifest = json.loads((models / "image-head" / "manifest.json").read_text())
    found = json.loads((models / "image-head" / "eval.json").read_text())
    result = tmp_path / "result.json"
    options = ("--models-dir", str(models), "--output", str(result))
    scores = []
    for path in (real / "shot_001.png", fake / "shot_001.png"):
        assert main(["predict", "--input", str(path), *options]) == 0
        scores.append(json.loads(result.read_text())["prediction_score"])

    assert code == 0
    assert manifest["grade"] == "experimental"
    assert manifest["calibration"]["method"] == "platt"
    assert manifest["thresholds"]["low"] <= 0.5 <= manifest["thresholds"]["high"]
    assert manifest["training"]["backbone"].startswith("image-")
    assert found["held_out"]["auc"]["value"] > 0.9
    assert sum(part["real"] + part["fake"] for part in found["split"].values()) == 2 * FILES
    assert found["left_out"]["files"] == 3
    assert found["left_out"]["first"]["real/z.png"].startswith("the same as")
    assert found["left_out"]["first"]["real/clip.mp4"] == "not image"
    assert "auc: " in said
    assert f"Left out 3 of {2 * FILES + 3} files:" in said
    assert "  real/broken.png: " in said
    assert "  real/z.png: the same as real/shot_000.png" in said
    assert "  real/clip.mp4: not image" in said
    assert scores[0] < 0.5 < scores[1]


@pytest.mark.slow
def test_features_are_looked_at_once(
    folders: Folders, train: Callable[..., int], trained: Path, tmp_path: Path
) -> None:
    for part in ("models", "work"):
        shutil.copytree(trained / part, tmp_path / part)
    kept = sorted((tmp_path / "work").rglob("*.npy"))
    stamps = [path.stat().st_mtime_ns for path in kept]
    kept[0].write_bytes(b"torn")

    assert train(*folders, "--name", "second") == 0

    assert len(kept) == 2 * FILES
    assert [path.stat().st_mtime_ns for path in kept[1:]] == stamps[1:]
    assert np.load(kept[0]).ndim == 2
    first, second = (
        (tmp_path / "models" / name / "model.safetensors").read_bytes()
        for name in ("image-head", "second")
    )
    assert first == second


@pytest.mark.slow
@pytest.mark.usefixtures("looked")
def test_labels_that_mean_nothing_are_told(
    folders: Folders, train: Callable[..., int], capsys: Capture
) -> None:
    real, fake = folders
    for i in range(0, FILES, 2):
        (real / f"shot_{i:03}.png").rename(real / "swap.png")
        (fake / f"shot_{i:03}.png").rename(real / f"shot_{i:03}.png")
        (real / "swap.png").rename(fake / f"shot_{i:03}.png")

    train(real, fake)

    said = capsys.readouterr().out
    assert "Warning: " in said
    assert "worse than chance" in said or "Chance could explain" in said


@pytest.mark.slow
def test_a_head_goes_onto_the_network_of_another_head(
    folders: Folders, train: Callable[..., int], trained: Path, tmp_path: Path
) -> None:
    shutil.copytree(trained / "models", tmp_path / "models")

    assert train(*folders, "--backbone", "image-head", "--name", "second") == 0

    manifest = json.loads((tmp_path / "models" / "second" / "manifest.json").read_text())
    assert manifest["architecture"]["name"] == "frozen-head"
    assert manifest["architecture"]["params"]["base"] == "image_residual"
    assert manifest["training"]["backbone"] == "image-head"


@pytest.mark.slow
def test_one_file_in_both_folders_is_an_error(
    folders: Folders, train: Callable[..., int], capsys: Capture
) -> None:
    real, fake = folders
    shutil.copy(real / "shot_000.png", fake / "mine.png")

    assert train(real, fake) == 2
    assert "The same file is real and fake" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.usefixtures("looked")
def test_too_few_files_are_told_with_what_was_left_out(
    folders: Folders, train: Callable[..., int], capsys: Capture
) -> None:
    real, fake = folders
    for path in sorted(real.iterdir())[5:]:
        path.unlink()
    (real / "note.png").write_bytes(b"not a picture")

    assert train(real, fake) == 2
    said = capsys.readouterr().err
    assert "Too few files: 5 real and 30 fake" in said
    assert "real/note.png: " in said


def videos(real: Path, fake: Path) -> None:
    for folder in (real, fake):
        shutil.rmtree(folder)
        folder.mkdir()
        shutil.copy(sample_path("dandelion-pan.mp4"), folder / "a.mp4")


def nothing(real: Path, fake: Path) -> None:
    del real
    shutil.rmtree(fake)
    fake.mkdir()


def both_kinds(real: Path, fake: Path) -> None:
    del fake
    shutil.copy(sample_path("reading.wav"), real / "a.wav")


@pytest.mark.parametrize(
    ("prepare", "more", "said"),
    [
        pytest.param(videos, (), "images or sounds, not for videos", id="videos"),
        pytest.param(None, ("--kind", "video"), "ffmpeg -i VIDEO", id="asked for videos"),
        pytest.param(nothing, (), "No media files in", id="an empty folder"),
        pytest.param(both_kinds, (), "--kind image or audio", id="two kinds"),
        pytest.param(None, ("--backbone", "none"), "No such model: none", id="no such backbone"),
        pytest.param(None, ("--backbone", "audio-lfb-demo"), "scores audio files", id="wrong one"),
        pytest.param(None, ("--name", "../x"), "Not a model's name", id="a name that leads out"),
        pytest.param(None, ("--demo",), "takes no --demo", id="two orders"),
    ],
)
def test_what_cannot_be_trained_on_is_told(
    prepare: Callable[[Path, Path], None] | None,
    more: tuple[str, ...],
    said: str,
    folders: Folders,
    train: Callable[..., int],
    capsys: Capture,
) -> None:
    if prepare:
        prepare(*folders)

    assert train(*folders, *more) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        pytest.param(["head"], "A folder is missing", id="no folders"),
        pytest.param(["--demo", "--real", "x"], "--real is for train head", id="not a head"),
    ],
)
def test_options_that_do_not_belong_together_are_told(
    words: list[str], said: str, capsys: Capture
) -> None:
    assert main(["train", *words]) == 2
    assert said in capsys.readouterr().err


def test_one_folder_for_both_classes_is_an_error(
    folders: Folders, train: Callable[..., int], capsys: Capture
) -> None:
    assert train(folders[0], folders[0]) == 2
    assert "The folders overlap" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("base", "features"),
    [("image_residual", 256), ("audio_lfb", 192), ("npr", 512), ("aasist-l", 160)],
)
def test_any_registered_network_lends_its_features(base: str, features: int) -> None:
    torch.manual_seed(0)
    network = architectures.build_network("frozen-head", {"base": base}, where="test").eval()
    assert isinstance(network, FrozenHead)
    sound = base in {"audio_lfb", "aasist-l"}
    x = torch.randn(2, 64_600) if sound else torch.rand(2, 3, 256, 256) * 255

    with torch.inference_mode():
        found = network.features(x)
        logits = network(x)
        expected = 6 * torch.tanh(network.head(found) / 6)

    assert found.shape == (2, features)
    assert float((found[0] - found[1]).abs().max()) > 0
    torch.testing.assert_close(logits, expected)


@pytest.mark.parametrize("device", ["bogus", "cuda:77", "cuda:x"])
def test_a_device_that_is_not_there_is_refused_before_any_work(
    folders: Folders, train: Callable[..., int], tmp_path: Path, capsys: Capture, device: str
) -> None:
    assert train(*folders, "--device", device) == 2

    told = capsys.readouterr().err
    assert told == f"Error: No such device: {device}\nUse cpu, or cuda on a machine with a GPU.\n"
    assert not (tmp_path / "work").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("looked")
def test_of_many_files_that_are_left_out_the_first_are_told(
    folders: Folders, train: Callable[..., int], capsys: Capture
) -> None:
    real, fake = folders
    for i in range(8):
        (real / f"clip_{i}\x1b.mp4").write_bytes(b"video")

    train(real, fake)
    said = capsys.readouterr().out

    assert f"Left out 8 of {2 * FILES + 8} files:" in said
    assert "clip_4" in said
    assert "clip_5" not in said
    assert "  and 3 more\n" in said
    assert "\x1b" not in said
