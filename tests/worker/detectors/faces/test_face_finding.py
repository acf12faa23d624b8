"""The bundled weights on photographs: the sample of a woman, matplotlib's of another, a cat."""

from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from detection_testing.samples import sample_path
from detection_worker.core.faces import Face
from detection_worker.core.tracks import iou
from detection_worker.detectors.faces import finding
from detection_worker.detectors.faces.finding import MtcnnFinder
from detection_worker.detectors.faces.model import load_face_finder
from detection_worker.detectors.model_folder.listing import bundled_models_dir

Picture = NDArray[np.uint8]
ASTRONAUT = Face(
    box=(182.0, 65.0, 265.0, 173.0),
    confidence=1.0,
    landmarks=((204, 101), (247, 104), (225, 129), (201, 139), (245, 142)),
)
"""Looked up by eye in the picture of 512 x 512 pixels."""


@pytest.fixture(scope="module")
def finder() -> MtcnnFinder:
    return load_face_finder([bundled_models_dir()], device="cpu")


def picture(path: Path, *, scale: float = 1.0) -> Picture:
    image = Image.open(path).convert("RGB")
    return np.asarray(image.resize((round(image.width * scale), round(image.height * scale))))


@pytest.fixture(scope="module")
def astronaut() -> Picture:
    return picture(sample_path("astronaut.jpg"))


@pytest.mark.parametrize("scale", [0.5, 1.0, 2.5], ids=lambda scale: f"{scale} times the size")
def test_a_face_is_found_with_its_eyes_nose_and_mouth(finder: MtcnnFinder, scale: float) -> None:
    frame = picture(sample_path("astronaut.jpg"), scale=scale)

    [[face]] = finder.find(frame[None])

    assert iou(ASTRONAUT.box, _scaled(face, 1 / scale).box) > 0.75
    assert face.confidence > 0.98
    for (x, y), (wanted_x, wanted_y) in zip(face.landmarks, ASTRONAUT.landmarks, strict=True):
        assert abs(x / scale - wanted_x) < 8
        assert abs(y / scale - wanted_y) < 8


def _scaled(face: Face, by: float) -> Face:
    left, top, right, bottom = face.box
    return Face(box=(left * by, top * by, right * by, bottom * by), confidence=face.confidence)


def test_each_of_several_people_is_found(finder: MtcnnFinder, astronaut: Picture) -> None:
    hopper = picture(Path(mpl.get_data_path()) / "sample_data" / "grace_hopper.jpg")
    both = np.concatenate([astronaut, hopper[:512]], axis=1)

    [faces] = finder.find(both[None])

    assert len(faces) == 2
    assert sorted(int(face.box[0] // 512) for face in faces) == [0, 1]


def test_a_frame_has_the_same_faces_whatever_lies_beside_it(
    finder: MtcnnFinder, astronaut: Picture
) -> None:
    small = astronaut[::2, ::2]
    frames = np.stack([small, np.full_like(small, 128), small[:, ::-1]])

    together = finder.find(frames)

    alone = [finder.find(frame[None])[0] for frame in frames]
    assert [len(faces) for faces in together] == [1, 0, 1]
    for a, b in zip(together, alone, strict=True):
        assert [f.box for f in a] == [pytest.approx(f.box, abs=0.05) for f in b]


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param(np.zeros((1, 1, 3), np.uint8), id="one pixel"),
        pytest.param(np.zeros((5, 400, 3), np.uint8), id="a stripe"),
        pytest.param(np.full((200, 200, 3), 255, np.uint8), id="white"),
        pytest.param(
            np.random.default_rng(0).integers(0, 256, (240, 320, 3), dtype=np.uint8), id="noise"
        ),
        pytest.param(np.asarray(Image.open(sample_path("cat.png")).convert("RGB")), id="a cat"),
    ],
)
def test_no_face_is_found_where_there_is_none(finder: MtcnnFinder, frame: Picture) -> None:
    assert finder.find(frame[None]) == [()]


@pytest.mark.slow
def test_a_wall_of_faces_costs_no_more_than_it_may(
    finder: MtcnnFinder, astronaut: Picture
) -> None:
    tile = astronaut[60:180, 170:280]
    wall = np.tile(tile, (8, 12, 1))

    [faces] = finder.find(wall[None])

    assert 80 <= len(faces) <= finding.MAX_CANDIDATES


def test_frames_that_find_no_memory_are_searched_a_few_at_a_time(
    finder: MtcnnFinder, astronaut: Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = np.stack([astronaut[:128, 128:320]] * 5)
    wanted = finder.find(frames)
    searched: list[int] = []
    real = finder._find

    def with_little_memory(part: Picture) -> list[tuple[Face, ...]]:
        searched.append(len(part))
        if len(part) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(part)

    monkeypatch.setattr(finder, "_find", with_little_memory)

    assert finder.find(frames) == wanted
    assert searched == [5, 2, 2, 1]


def test_one_frame_that_finds_no_memory_fails(
    finder: MtcnnFinder, astronaut: Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_memory(_: Picture) -> list[tuple[Face, ...]]:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(finder, "_find", without_memory)

    with pytest.raises(torch.OutOfMemoryError):
        finder.find(astronaut[None])
