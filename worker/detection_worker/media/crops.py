"""Which squares of a picture a detector sees. Pure arithmetic on arrays."""

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Box = tuple[int, int, int, int]

ROWS_PER_TILE = 16
"""Rows of a tile that its energy is measured on; all of them would cost more than the decoding."""


def cut(pixels: Pixels, *, crop_px: int, max_crops: int) -> tuple[Pixels, NDArray[np.int32]]:
    """Return the crops of a picture at native resolution.

    The centre comes first, then the tiles with most detail: flat sky or a black border says
    nothing about how a picture was made.

    Args:
        pixels: RGB, shape ``(height, width, 3)``.
        crop_px: Side of a crop; a smaller picture is reflected up to it.
        max_crops: Most crops, >= 1.

    Returns:
        Crops of shape ``(n, crop_px, crop_px, 3)`` and their left, top, right, bottom in the
        picture, shape ``(n, 4)``; ``n >= 1`` and no two overlap.
    """
    height, width = pixels.shape[:2]
    padded = pad(pixels, crop_px)
    boxes = choose(padded, crop_px=crop_px, max_crops=max_crops)
    crops = np.stack([padded[top:bottom, left:right] for left, top, right, bottom in boxes])
    bounds = np.array([width, height, width, height], dtype=np.int32)
    return crops, np.minimum(np.array(boxes, dtype=np.int32), bounds)


def pad(pixels: Pixels, least_px: int) -> Pixels:
    """Return ``pixels`` reflected at the right and the bottom up to ``least_px`` each way."""
    height, width = pixels.shape[:2]
    if height < least_px:
        pixels = pixels[_reflected(height, least_px)]
    if width < least_px:
        pixels = pixels[:, _reflected(width, least_px)]
    return pixels


def _reflected(size: int, wanted: int) -> NDArray[np.intp]:
    # A triangle wave over the indices: 0 1 2 1 0 1 2 ...
    period = max(2 * (size - 1), 1)
    phase = np.arange(wanted) % period
    return np.minimum(phase, period - phase) if size > 1 else np.zeros(wanted, dtype=np.intp)


def choose(pixels: Pixels, *, crop_px: int, max_crops: int) -> list[Box]:
    """Return the boxes of at most ``max_crops`` crops that do not overlap, best first.

    Args:
        pixels: At least ``crop_px`` each way.
        crop_px: Side of a crop.
        max_crops: Most crops, >= 1.
    """
    height, width = pixels.shape[:2]
    left, top = (width - crop_px) // 2, (height - crop_px) // 2
    centre = (left, top, left + crop_px, top + crop_px)
    if max_crops == 1:
        return [centre]
    tiles = _tiles_by_energy(pixels, crop_px)
    apart = [t for t in tiles if not _overlap(t, centre)]
    with_centre = [centre, *apart][:max_crops]
    alone = tiles[:max_crops]
    return with_centre if len(with_centre) >= len(alone) else alone


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _tiles_by_energy(pixels: Pixels, crop_px: int) -> list[Box]:
    rows, columns = pixels.shape[0] // crop_px, pixels.shape[1] // crop_px
    top = (pixels.shape[0] - rows * crop_px) // 2
    left = (pixels.shape[1] - columns * crop_px) // 2
    if rows * columns == 1:
        return [(left, top, left + crop_px, top + crop_px)]
    green = pixels[top : top + rows * crop_px, left : left + columns * crop_px, 1]
    energy = _energy(green, crop_px).ravel()
    order = np.argsort(-energy, kind="stable")
    corners = (
        (left + i % columns * crop_px, top + i // columns * crop_px) for i in order.tolist()
    )
    return [(x, y, x + crop_px, y + crop_px) for x, y in corners]


def _energy(grey: Pixels, crop_px: int) -> NDArray[np.int64]:
    """Sum of absolute differences of neighbours to the right and below, for each tile."""
    step = max(1, crop_px // ROWS_PER_TILE)
    rows, columns = grey.shape[0] // crop_px, grey.shape[1] // crop_px
    tiles = grey.reshape(rows, crop_px, columns, crop_px)[:, : crop_px - 1]
    below = grey.reshape(rows, crop_px, columns, crop_px)[:, 1:]
    here = tiles[:, ::step].astype(np.int16)
    down = np.abs(below[:, ::step] - here).sum(axis=(1, 3), dtype=np.int64)
    across = np.abs(np.diff(here, axis=3)).sum(axis=(1, 3), dtype=np.int64)
    return np.asarray(down + across)
