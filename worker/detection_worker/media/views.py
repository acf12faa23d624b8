"""From a picture to the crops or view that a detector takes. Runs in the child."""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from detection_worker.core.sampling import (
    PictureSampling,
    bounded,
    pictures,
    units_per_picture,
)
from detection_worker.media.crops import Pixels, cut

CENTRE_GAP: Final = 4.0
"""How many times larger than a unit a picture stays when whole pixels are averaged, before it is
resized in earnest: a fourth of the time at 12 megapixels, and no pixel moves by more than two of
256 levels (2.0, usual for thumbnails: 7)."""
AVERAGED: Final = 2
"""How much smaller a picture to look at is, at most, if all its pixels are averaged. At more, 12
megapixels of three bytes would take 41 ms in place of 14, and 50 would take 170 in place of 24."""


def resizes(sampling: PictureSampling, size: tuple[int, int]) -> bool:
    """Return whether ``see`` resizes a picture of this width and height."""
    if sampling.view == "faces":
        return bounded(*size, frames=pictures(sampling)) != size
    return sampling.view != "crops"


def see(
    pixels: Pixels, sampling: PictureSampling, *, pixel_aspect: float = 1.0
) -> tuple[Pixels, NDArray[np.int32]]:
    """Return the units of a picture and where they lie in it.

    Args:
        pixels: RGB, shape ``(height, width, 3)``; or 4, the last meaning nothing.
        sampling: What to show; of ``faces`` this is the whole picture, bounded in size.
        pixel_aspect: Width of a pixel over its height, as it is shown. Only what is resized anyway
            is stretched by it: ``crops`` are about traces in the pixels as they are.

    Returns:
        Units of shape ``(n, h, w, 3)`` and their left, top, right, bottom in the picture, shape
        ``(n, 4)``; ``n >= 1``.
    """
    height, width = pixels.shape[:2]
    side = sampling.crop_px
    if sampling.view == "crops":
        return cut(pixels[..., :3], crop_px=side, max_crops=units_per_picture(sampling))
    box = (0, 0, width, height)
    if sampling.view == "centre":
        box = _centre(width, height, pixel_aspect)
        unit = _resized(pixels, (side, side), Image.Resampling.BICUBIC, box=box, gap=CENTRE_GAP)
    elif sampling.view == "whole":
        unit = _resized(pixels, (side, side), Image.Resampling.BILINEAR)
    else:
        shown = max(1, round(width * pixel_aspect))
        unit = fitted(pixels, bounded(shown, height, frames=pictures(sampling)))
    return unit[None], np.array([box], dtype=np.int32)


def fitted(pixels: Pixels, size: tuple[int, int]) -> Pixels:
    """Return ``pixels`` resized to ``size``, width and height; as they are if that is theirs."""
    if pixels.shape[1::-1] == size:
        return np.ascontiguousarray(pixels[..., :3])
    return _resized(pixels, size, Image.Resampling.BILINEAR)


def reduced(pixels: Pixels, factor: int) -> Pixels:
    """Return ``pixels`` reduced by a whole number, RGB, to look at.

    Each pixel is the average of all that it stands for, or of four of them if those are many, so
    that what this costs depends on the small picture and hardly on the large one.
    """
    if factor > AVERAGED:
        pixels, factor = _sampled(pixels, factor), 2
    return np.ascontiguousarray(np.asarray(_picture(pixels).reduce(factor))[..., :3])


def _sampled(pixels: Pixels, factor: int) -> Pixels:
    """Return two by two pixels of each square of ``factor`` by ``factor``."""
    rows = np.ascontiguousarray(pixels[_quarters(pixels.shape[0], factor)])
    height, width, channels = rows.shape
    # As one value a pixel is copied at once.
    whole = rows.view(np.dtype((np.void, channels)))[..., 0]
    taken = whole.take(_quarters(width, factor), axis=1)
    return taken.view(np.uint8).reshape(height, -1, channels)


def _quarters(size: int, factor: int) -> NDArray[np.int64]:
    starts = np.arange(0, size, factor, dtype=np.int64)
    pairs = np.stack([starts + factor // 4, starts + 3 * factor // 4], axis=1)
    return np.minimum(pairs.ravel(), size - 1)


def _centre(width: int, height: int, pixel_aspect: float) -> tuple[int, int, int, int]:
    """The largest box in the middle that is shown as a square."""
    side = min(width * pixel_aspect, height)
    wide, high = max(1, int(side / pixel_aspect)), max(1, int(side))
    left, top = (width - wide) // 2, (height - high) // 2
    return left, top, left + wide, top + high


def _resized(
    pixels: Pixels,
    size: tuple[int, int],
    how: Image.Resampling,
    *,
    box: tuple[int, int, int, int] | None = None,
    gap: float | None = None,
) -> Pixels:
    # Pillow widens its filter when it reduces, so nothing aliases.
    small = _picture(pixels).resize(size, how, box=box, reducing_gap=gap)
    return np.ascontiguousarray(np.asarray(small)[..., :3])


def _picture(pixels: Pixels) -> Image.Image:
    pixels = np.ascontiguousarray(pixels)
    if pixels.shape[2] == 3:
        return Image.fromarray(pixels)
    # Pillow keeps pixels in four bytes and so takes these as they are.
    size = pixels.shape[1::-1]
    return Image.frombuffer("RGBX", size, pixels, "raw", "RGBX", 0, 1)
