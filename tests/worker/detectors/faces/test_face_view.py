from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from detection_contract.media_types import MediaKind
from detection_worker.core.faces import Box, Face
from detection_worker.core.sampling import AudioSampling, Sampling, VideoSampling
from detection_worker.core.verdict import Calibration, Pooling
from detection_worker.detectors.base import DetectorCard, FindsUnits
from detection_worker.detectors.faces.view import FaceViewDetector
from detection_worker.errors import Cancelled
from detection_worker.media.values import DecodedMedia, MediaInfo

SAMPLING = VideoSampling(max_frames=8, crop_px=16, crops_per_frame=2, view="faces", face_scale=1.5)


class MeanDetector:
    """Logit of a face: its mean grey."""

    def __init__(self, sampling: Sampling) -> None:
        self.card = DetectorCard(
            name="mean",
            version="1",
            sha256="0" * 64,
            grade="demo",
            kind=MediaKind.VIDEO,
            sampling=sampling,
            pooling=Pooling(within_frame="max"),
            calibration=Calibration(),
        )

    def logits(self, units: NDArray[np.uint8] | NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(units.reshape(len(units), -1).mean(axis=1), dtype=np.float32)


class ScriptedFinder:
    """Finds what it was told, frame by frame."""

    def __init__(self, script: Sequence[Sequence[Box]]) -> None:
        self._script = [tuple(Face(box=b, confidence=0.99) for b in boxes) for boxes in script]
        self.asked: list[int] = []

    def find(self, frames: NDArray[np.uint8]) -> list[tuple[Face, ...]]:
        at = sum(self.asked)
        self.asked.append(len(frames))
        return self._script[at : at + len(frames)]


def video(count: int, *, width: int = 100, height: int = 80, factor: int = 1) -> DecodedMedia:
    """Frames whose grey is their number, ``factor`` times as large in the original."""
    units = np.zeros((count, height, width, 3), dtype=np.uint8)
    units += np.arange(count, dtype=np.uint8)[:, None, None, None]
    return DecodedMedia(
        info=MediaInfo(
            kind=MediaKind.VIDEO,
            container="mp4",
            codec="h264",
            size_bytes=1,
            sha256="0" * 64,
            width=width * factor,
            height=height * factor,
            duration_s=float(count),
            frames_analysed=count,
            sample_rate_hz=None,
            truncated=False,
            warnings=(),
        ),
        units=units,
        frame=np.arange(count, dtype=np.int32),
        at_s=np.arange(count, dtype=np.float64),
        boxes=np.tile(np.array([[0, 0, width * factor, height * factor]], np.int32), (count, 1)),
    )


def look(
    script: Sequence[Sequence[Box]], *, factor: int = 1, sampling: VideoSampling = SAMPLING
) -> DecodedMedia:
    detector = FaceViewDetector(MeanDetector(sampling), ScriptedFinder(script))
    return detector.find_units(video(len(script), factor=factor), on_progress=lambda: None)


LEFT: Box = (10.0, 20.0, 30.0, 40.0)
RIGHT: Box = (60.0, 20.0, 84.0, 44.0)


def test_each_face_becomes_a_unit_of_its_frame() -> None:
    seen = look([[LEFT], [], [RIGHT, LEFT]])

    assert seen.units.shape == (3, 16, 16, 3)
    assert seen.frame.tolist() == [0, 2, 2]
    assert [int(unit.max()) for unit in seen.units] == [0, 2, 2]
    assert seen.at_s.tolist() == [0, 1, 2]


def test_boxes_are_told_in_pixels_of_the_original() -> None:
    seen = look([[LEFT]], factor=10)

    assert seen.faces is not None
    [face] = seen.faces
    assert (face.left, face.top, face.width, face.height) == (100, 200, 200, 200)
    assert seen.boxes.tolist() == [[50, 150, 350, 450]]


def test_a_face_at_the_border_is_told_within_the_picture() -> None:
    seen = look([[(-5.0, -8.0, 20.0, 20.0)]])

    assert seen.faces is not None
    assert (seen.faces[0].left, seen.faces[0].top) == (0, 0)
    assert seen.boxes.min() == 0
    assert seen.units.shape == (1, 16, 16, 3)


def test_only_the_most_prominent_faces_are_scored_and_keep_their_numbers() -> None:
    small: Box = (40.0, 50.0, 48.0, 58.0)

    seen = look([[small, LEFT, RIGHT], [small, RIGHT], [small, LEFT, RIGHT]])

    assert seen.faces is not None
    assert seen.frame.tolist() == [0, 0, 1, 1, 2, 2]
    assert [f.track for f in seen.faces] == [0, 1, 0, 2, 0, 1]
    assert [f.width for f in seen.faces] == [24, 20, 24, 8, 24, 20]


def test_without_a_face_there_is_nothing_to_score() -> None:
    seen = look([[], []])

    assert len(seen.units) == 0
    assert seen.faces == ()
    assert seen.units.shape[1:] == (16, 16, 3)


def test_a_box_keeps_its_own_proportions_if_the_model_wants_so() -> None:
    sampling = VideoSampling(
        max_frames=8, crop_px=16, crops_per_frame=2, view="faces", face_scale=1.0, face_shape="box"
    )

    seen = look([[(10.0, 20.0, 30.0, 60.0)]], sampling=sampling)

    assert seen.boxes.tolist() == [[10, 20, 30, 60]]


def test_the_search_shows_progress_and_can_be_ended() -> None:
    finder = ScriptedFinder([[LEFT]] * 10)
    detector = FaceViewDetector(MeanDetector(SAMPLING), finder)

    def stop() -> None:
        if len(finder.asked) == 2:
            raise Cancelled

    with pytest.raises(Cancelled):
        detector.find_units(video(10), on_progress=stop)
    assert finder.asked == [4, 4]


def test_it_is_a_detector_that_finds_its_units() -> None:
    inner = MeanDetector(SAMPLING)
    detector = FaceViewDetector(inner, ScriptedFinder([]))

    assert isinstance(detector, FindsUnits)
    assert not isinstance(inner, FindsUnits)
    assert detector.card is inner.card
    assert detector.logits(np.full((1, 16, 16, 3), 7, np.uint8)).tolist() == [7.0]


def test_sound_has_no_faces() -> None:
    with pytest.raises(TypeError, match="no faces in sound"):
        FaceViewDetector(MeanDetector(AudioSampling()), ScriptedFinder([]))
