"""Faces in pictures: which matter, what is cut out around them. No pixels here."""

from collections.abc import Sequence
from dataclasses import dataclass

from detection_worker.core.sampling import FaceShape

Box = tuple[float, float, float, float]
"""Left, top, right, bottom; pixels."""
Point = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Face:
    """A face that was found in a picture.

    Attributes:
        box: Around the face, in pixels of that picture; may reach beyond its border.
        confidence: Probability that it is a face, 0 to 1.
        landmarks: Left eye, right eye, nose, left and right corner of the mouth, as the viewer
            sees them; pixels. Empty if the finder does not tell.
    """

    box: Box
    confidence: float
    landmarks: tuple[Point, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenFace:
    """A face that was scored, in the pixels of the original media.

    Attributes:
        left: Left edge of the face itself, without the margin that the detector sees, in pixels
            of the picture.
        top: Top edge of the face itself, as for ``left``.
        width: >= 1.
        height: >= 1.
        confidence: As in ``Face``.
        track: The same number for the same face in all frames; counted from 0.
    """

    left: int
    top: int
    width: int
    height: int
    confidence: float
    track: int


def prominent(faces: Sequence[Face], *, most: int) -> list[Face]:
    """Return the ``most`` largest faces, largest first; a doubtful one counts for less."""
    return sorted(faces, key=lambda f: -area(f.box) * f.confidence)[:most]


def area(box: Box) -> float:
    """Return the area of a box, 0 if it is turned inside out."""
    return max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])


def cut_out(box: Box, *, scale: float, shape: FaceShape) -> Box:
    """Return what a detector sees of a face: ``scale`` times as large, with the same centre.

    Args:
        box: Around the face; not empty.
        scale: Side of the result over that of the box.
        shape: ``square`` on the longer side, or the ``box`` in its own proportions.
    """
    width, height = box[2] - box[0], box[3] - box[1]
    if shape == "square":
        width = height = max(width, height)
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    dx, dy = width * scale / 2, height * scale / 2
    return x - dx, y - dy, x + dx, y + dy


def placed(box: Box, *, frame: tuple[int, int], region: Box) -> Box:
    """Return a box of a reduced frame in the pixels of the original picture.

    Args:
        box: In the frame.
        frame: Width and height of the frame.
        region: What the frame shows of the original.
    """
    dx, dy = (region[2] - region[0]) / frame[0], (region[3] - region[1]) / frame[1]
    left, top = region[:2]
    return left + box[0] * dx, top + box[1] * dy, left + box[2] * dx, top + box[3] * dy


def clipped(box: Box, *, width: int, height: int) -> tuple[int, int, int, int]:
    """Return a box rounded to whole pixels within a picture, at least one pixel each way."""
    left = min(max(round(box[0]), 0), width - 1)
    top = min(max(round(box[1]), 0), height - 1)
    right = min(max(round(box[2]), left + 1), width)
    bottom = min(max(round(box[3]), top + 1), height)
    return left, top, right, bottom
