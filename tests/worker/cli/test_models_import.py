"""``models import`` and ``models remove``, in this process."""

import io
import json
import shutil
from pathlib import Path

import pytest
import torch

from detection_testing.media import known_values
from detection_testing.samples import sample_path
from detection_worker.__main__ import main
from detection_worker.detectors import architectures
from detection_worker.detectors.model_folder import listing

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    network = architectures.build_network("aasist-l", {}, where="test")
    path = tmp_path / "theirs.pth"
    torch.save({"state_dict": network.state_dict(), "epoch": 7}, path)
    return path


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MODELS_DIR", "DETECTION_CONFIG"):
        monkeypatch.delenv(name, raising=False)


def run(*words: object) -> int:
    return main(["models", *(str(word) for word in words)])


@pytest.mark.slow
def test_an_imported_model_is_listed_verified_and_removed(
    checkpoint: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = tmp_path / "models"
    license_and_place = ("--license", "MIT", "--output", models)

    code = run("import", checkpoint, "--architecture", "aasist-l", *license_and_place)
    said = capsys.readouterr().out
    again = run("import", checkpoint, "--architecture", "aasist-l", *license_and_place)
    complaint = capsys.readouterr().err
    verified = run("verify", "--models-dir", models)

    assert code == 0
    assert "Read theirs.pth: state_dict: 229 of 229 tensors match." in said
    assert "* aasist-l" in said
    assert again == 2
    assert "--force" in complaint
    assert verified == 0

    monkeypatch.setattr("sys.stdin", io.StringIO("no\n"))
    assert run("remove", "aasist-l", "--models-dir", models) == 1
    assert (models / "aasist-l").exists()
    assert run("remove", "aasist-l", "--models-dir", models, "--yes") == 0
    assert list(models.iterdir()) == []


@pytest.mark.slow
def test_an_imported_face_detector_scores_the_face_of_a_picture(
    tmp_path: Path, capsys: Capture
) -> None:
    torch.set_num_threads(1)
    shapes = architectures.build_network("efficientnet-b4", {}, where="test").state_dict()
    theirs = known_values.weights(
        {f"net.{name}": tuple(value.shape) for name, value in shapes.items()}, gain=1.8
    )
    optimiser = {"state": {0: {"momentum_buffer": torch.zeros(3)}}, "param_groups": [{"lr": 0.1}]}
    torch.save({"model": theirs, "optimizer": optimiser}, tmp_path / "FFc23.tar")
    models, result = tmp_path / "models", tmp_path / "result.json"

    options = ("--license", "academic use", "--output", models)
    code = run("import", tmp_path / "FFc23.tar", "--architecture", "efficientnet-b4", *options)
    said = capsys.readouterr().out
    predict = ["predict", "--models-dir", str(models), "--output", str(result)]
    scored = main([*predict, "--input", str(sample_path("astronaut.jpg"))])
    manifest = json.loads((models / "efficientnet-b4" / "manifest.json").read_text())

    assert (code, scored) == (0, 0)
    assert "model: 706 of 706 tensors match.\n  706 renamed from the layout sbi" in said
    assert manifest["training"]["layout"] == "sbi"
    assert manifest["architecture"]["params"]["scale"] == "unit"
    assert manifest["preprocess"]["face_scale"] == 1.25
    assert json.loads(result.read_text())["model"]["name"] == "efficientnet-b4"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        pytest.param(("import",), "No file to import\n", id="no file"),
        pytest.param(("import", "x.pth"), "--architecture, one of aasist, aasist-l", id="of what"),
        pytest.param(
            ("import", "x.pth", "--architecture", "resnet"), "Unknown architecture: resnet", id="?"
        ),
        pytest.param(
            ("import", "x.h5", "--architecture", "meso4"),
            "meso4 can no longer be imported\nConvert the network to ONNX",
            id="an architecture of earlier versions",
        ),
        pytest.param(
            ("import", "x.whl", "--architecture", "clip-b16"),
            "clip-b16 can no longer be imported\nModel folders that earlier versions made",
            id="a file of earlier versions",
        ),
        pytest.param(
            ("import", "x.pth", "--architecture", "aasist"), "--license TEXT", id="no licence"
        ),
        pytest.param(
            ("import", "x", "--architecture", "xception", "--license", "MIT", "--layout", "sbi"),
            "Unknown layout of xception: sbi\nChoose from: deepfakebench, cadene, timm.",
            id="no such layout",
        ),
        pytest.param(
            ("import", "x.pth", "--architecture", "aasist", "--license", "MIT"),
            "Name the directory of models: --output DIR",
            id="no place",
        ),
        pytest.param(
            ("import", "x.pth", "--architecture", "aasist", "--license", "MIT", "--output", "m"),
            "x.pth: cannot be read: No such file",
            id="no such file",
        ),
        pytest.param(("list", "--force"), "--force is for models import", id="wrong action"),
        pytest.param(("remove", "gone"), "No such model: gone", id="no such model"),
        pytest.param(("remove",), "No model named", id="no name"),
        pytest.param(("remove", "audio-lfb-demo", "--yes"), "ships with the program", id="ours"),
    ],
)
def test_a_wrong_call_says_what_is_missing(
    capsys: Capture,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)

    assert run(*words) == 2

    assert said in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_remove_without_an_answer_keeps_the_model(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    models = tmp_path / "models"
    shutil.copytree(listing.bundled_models_dir() / "audio-lfb-demo", models / "audio-lfb-demo")
    monkeypatch.setattr("sys.stdin", io.StringIO(""))

    assert run("remove", "audio-lfb-demo", "--models-dir", models) == 2

    assert "The input ended at the question" in capsys.readouterr().err
    assert (models / "audio-lfb-demo" / "manifest.json").exists()
