"""A detector that looks at faces: finds them in whole frames, follows them, scores each."""

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from detection_worker.core.faces import (
    Box,
    Face,
    SeenFace,
    clipped,
    cut_out,
    placed,
    prominent,
)
from detection_worker.core.sampling import AudioSampling, ImageSampling, PictureSampling
from detection_worker.core.tracks import track
from detection_worker.detectors.base import Detector, DetectorCard, DevicePasses, passes_of
from detection_worker.detectors.faces.crops import cut
from detection_worker.detectors.faces.finding import FaceFinder
from detection_worker.media.values import DecodedMedia

FRAMES_AT_ONCE: Final = 4
"""Between two signs of progress."""


class FaceViewDetector:
    """A detector behind a finder of faces. Not thread-safe: one thread owns the device.

    Args:
        detector: Scores faces; its sampling has the view ``faces``.
        finder: Finds them.
    """

    def __init__(self, detector: Detector, finder: FaceFinder) -> None:
        sampling = detector.card.sampling
        if isinstance(sampling, AudioSampling):
            raise TypeError(f"{detector.card.name}: there are no faces in sound")
        self._sampling = sampling
        self._detector = detector
        self._finder = finder

    @property
    def card(self) -> DetectorCard:
        """Who the detector is."""
        return self._detector.card

    def logits(self, units: NDArray[np.uint8] | NDArray[np.float32]) -> NDArray[np.float32]:
        """Return one logit of "fake" for each face; see ``Detector``."""
        return self._detector.logits(units)

    @property
    def passes(self) -> DevicePasses | None:
        """The asynchronous form of the detector that scores the faces."""
        return passes_of(self._detector)

    def find_units(self, media: DecodedMedia, *, on_progress: Callable[[], None]) -> DecodedMedia:
        """Return the most prominent faces of each frame as units; see ``FindsUnits``."""
        found: list[tuple[Face, ...]] = []
        for start in range(0, len(media.units), FRAMES_AT_ONCE):
            frames = np.asarray(media.units[start : start + FRAMES_AT_ONCE], dtype=np.uint8)
            found += self._finder.find(frames)
            on_progress()
        return _faces_of(media, found, self._sampling)


def _faces_of(
    media: DecodedMedia, found: Sequence[Sequence[Face]], sampling: PictureSampling
) -> DecodedMedia:
    most = sampling.max_crops if isinstance(sampling, ImageSampling) else sampling.crops_per_frame
    numbers = _Numbers(media, found)
    frames, boxes, seen, units = [], [], [], []
    for frame, faces in enumerate(found):
        pixels = torch.from_numpy(np.asarray(media.units[frame], dtype=np.uint8)).permute(2, 0, 1)
        for face in prominent(faces, most=most):
            box = cut_out(face.box, scale=sampling.face_scale, shape=sampling.face_shape)
            units.append(cut(pixels, box, side=sampling.crop_px).permute(1, 2, 0).numpy())
            boxes.append(_whole_pixels(_original(box, media, frame), media))
            seen.append(_seen(face, frame, media, numbers))
            frames.append(frame)
    side = sampling.crop_px
    return DecodedMedia(
        info=media.info,
        units=np.stack(units) if units else np.empty((0, side, side, 3), np.uint8),
        frame=np.array(frames, dtype=np.int32),
        at_s=media.at_s,
        boxes=np.array(boxes, dtype=np.int32).reshape(-1, 4),
        faces=tuple(seen),
        previews=media.previews,
    )


class _Numbers:
    """Numbers of tracks. All faces are followed; those that are scored get numbers from 0."""

    def __init__(self, media: DecodedMedia, found: Sequence[Sequence[Face]]) -> None:
        boxes = [
            [_original(face.box, media, i) for face in faces] for i, faces in enumerate(found)
        ]
        tracks = track(boxes)
        self._track = {
            (i, id(face)): tracks[i][j]
            for i, faces in enumerate(found)
            for j, face in enumerate(faces)
        }
        self._given: dict[int, int] = {}

    def of(self, frame: int, face: Face) -> int:
        """Return the number of a face; a track that is met for the first time gets the next."""
        return self._given.setdefault(self._track[frame, id(face)], len(self._given))


def _original(box: Box, media: DecodedMedia, frame: int) -> Box:
    height, width = media.units.shape[1:3]
    left, top, right, bottom = media.boxes[frame].tolist()
    return placed(box, frame=(width, height), region=(left, top, right, bottom))


def _whole_pixels(box: Box, media: DecodedMedia) -> tuple[int, int, int, int]:
    width, height = media.info.width, media.info.height
    assert width is not None and height is not None  # noqa: S101, PT018 - pictures have both
    return clipped(box, width=width, height=height)


def _seen(face: Face, frame: int, media: DecodedMedia, numbers: _Numbers) -> SeenFace:
    left, top, right, bottom = _whole_pixels(_original(face.box, media, frame), media)
    return SeenFace(
        left=left,
        top=top,
        width=right - left,
        height=bottom - top,
        confidence=face.confidence,
        track=numbers.of(frame, face),
    )
