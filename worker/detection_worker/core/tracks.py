"""The same face in the frames of a video: boxes to tracks by place and size. No pixels here."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from detection_worker.core.faces import Box, area

MIN_OVERLAP = 0.3
"""Intersection over union from which two boxes are one face; the default of SORT (Bewley et al.
2016)."""
MAX_JUMP = 0.75
"""Otherwise: how far a face may have moved, in its own sizes. Frames of a long video are seconds
apart, and then boxes of a talking head need not overlap much; two heads side by side are more than
one size apart."""
MAX_GROWTH = 2.0
"""Otherwise: how much larger or smaller it may have become."""
MISSES = 1
"""Frames in a row without a face that its track survives: a turned head, a blurred frame."""


@dataclass(slots=True)
class _Track:
    number: int
    box: Box
    frame: int


def track(frames: Sequence[Sequence[Box]]) -> list[list[int]]:
    """Return the number of the track that each face belongs to.

    Best pairs are joined first: by overlap, then by nearness. A face in frame ``i`` is compared
    with those last seen in the ``MISSES + 1`` frames before. Numbers are given in the order in
    which faces appear, from 0; no two faces of a frame share one.

    Args:
        frames: Boxes of each frame, in display order.

    Returns:
        Numbers in the shape of ``frames``.
    """
    tracks: list[_Track] = []
    numbers: list[list[int]] = []
    for index, boxes in enumerate(frames):
        alive = [t for t in tracks if index - t.frame <= MISSES + 1]
        taken = _joined(alive, boxes)
        for j, box in enumerate(boxes):
            if j not in taken:
                taken[j] = _Track(len(tracks), box, index)
                tracks.append(taken[j])
            taken[j].box, taken[j].frame = box, index
        numbers.append([taken[j].number for j in range(len(boxes))])
    return numbers


def _joined(tracks: Sequence[_Track], boxes: Sequence[Box]) -> dict[int, _Track]:
    """Return the track of each box that continues one, by index of the box."""
    chosen: dict[int, _Track] = {}
    used: set[int] = set()
    for _, number, j, joined in sorted(_pairs(tracks, boxes), key=lambda pair: pair[:3]):
        if number not in used and j not in chosen:
            used.add(number)
            chosen[j] = joined
    return chosen


def _pairs(
    tracks: Sequence[_Track], boxes: Sequence[Box]
) -> Iterator[tuple[float, int, int, _Track]]:
    """Yield cost, number, index and track of what may be one face; overlaps cost less than 0."""
    for t in tracks:
        for j, box in enumerate(boxes):
            overlap = iou(t.box, box)
            if overlap >= MIN_OVERLAP:
                yield -overlap, t.number, j, t
            elif (away := _distance(t.box, box)) <= MAX_JUMP:
                yield away, t.number, j, t


def iou(a: Box, b: Box) -> float:
    """Return the intersection of two boxes over their union, 0 to 1."""
    shared = area((max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])))
    union = area(a) + area(b) - shared
    return shared / union if union > 0 else 0.0


def _distance(a: Box, b: Box) -> float:
    """Return the distance of the centres in mean sizes; infinite if the sizes do not fit."""
    size_a, size_b = math.sqrt(area(a)), math.sqrt(area(b))
    if min(size_a, size_b) * MAX_GROWTH < max(size_a, size_b) or not size_a:
        return math.inf
    dx = (a[0] + a[2] - b[0] - b[2]) / 2
    dy = (a[1] + a[3] - b[1] - b[3]) / 2
    return math.hypot(dx, dy) / ((size_a + size_b) / 2)
