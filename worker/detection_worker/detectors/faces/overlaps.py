"""Which of many overlapping boxes stay: greedy suppression. Arrays only, no torch."""

import numpy as np
from numpy.typing import NDArray

Boxes = NDArray[np.float32]
"""Left, top, right, bottom of each, shape ``(n, 4)``, pixels."""


def apart(
    boxes: Boxes, odds: NDArray[np.float32], *, most: float, of_smaller: bool = False
) -> NDArray[np.int64]:
    """Return the indices of boxes that stay, surest first.

    Of two boxes that overlap by more than ``most`` only the surer one stays.

    Args:
        boxes: Not turned inside out.
        odds: How sure each is, ``(n,)``; finite.
        most: Largest overlap allowed, 0 to 1.
        of_smaller: Measure the overlap as a share of the smaller box instead of the union: so a
            box inside another one goes, however small it is.
    """
    order = np.argsort(-odds, kind="stable")
    kept: list[int] = []
    while len(order):
        best, rest = order[0], order[1:]
        kept.append(int(best))
        order = rest[_overlap(boxes[best], boxes[rest], of_smaller=of_smaller) <= most]
    return np.array(kept, dtype=np.int64)


def _overlap(box: NDArray[np.float32], others: Boxes, *, of_smaller: bool) -> Boxes:
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    shared = np.maximum(sides, 0).prod(axis=1)
    area, areas = (box[2:] - box[:2]).prod(), (others[:, 2:] - others[:, :2]).prod(axis=1)
    whole = np.minimum(area, areas) if of_smaller else area + areas - shared
    return np.asarray(shared / np.maximum(whole, np.finfo(np.float32).tiny))


def moved(boxes: Boxes, offsets: NDArray[np.float32]) -> Boxes:
    """Return boxes with other corners; ``offsets``, ``(n, 4)``, are shares of width and height."""
    sides = boxes[:, 2:] - boxes[:, :2]
    return np.asarray(boxes + offsets * np.concatenate([sides, sides], axis=1))


def squares(boxes: Boxes) -> Boxes:
    """Return squares with the centres and the longer sides of ``boxes``."""
    half = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, keepdims=True) / 2
    centre = (boxes[:, 2:] + boxes[:, :2]) / 2
    return np.concatenate([centre - half, centre + half], axis=1)
