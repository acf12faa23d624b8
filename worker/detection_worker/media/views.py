"""From a picture to what a detector wants to see of it. Runs in the child."""

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


def see(pixels: Pixels, sampling: PictureSampling) -> tuple[Pixels, NDArray[np.int32]]:
    """Return the units of a picture and where they lie in it.

    Args:
        pixels: RGB, shape ``(height, width, 3)``.
        sampling: What to show; of ``faces`` this is the whole picture, bounded in size.

    Returns:
        Units of shape ``(n, h, w, 3)`` and their left, top, right, bottom in the picture, shape
        ``(n, 4)``; ``n >= 1``.
    """
    height, width = pixels.shape[:2]
    side = sampling.crop_px
    if sampling.view == "crops":
        return cut(pixels, crop_px=side, max_crops=units_per_picture(sampling))
    box = (0, 0, width, height)
    if sampling.view == "centre":
        box = _centre(width, height)
        unit = _resized(pixels, (side, side), Image.Resampling.BICUBIC, box=box)
    elif sampling.view == "whole":
        unit = _resized(pixels, (side, side), Image.Resampling.BILINEAR)
    else:
        unit = fitted(pixels, bounded(width, height, frames=pictures(sampling)))
    return unit[None], np.array([box], dtype=np.int32)


def fitted(pixels: Pixels, size: tuple[int, int]) -> Pixels:
    """Return ``pixels`` resized to ``size``, width and height; as they are if that is theirs."""
    if pixels.shape[1::-1] == size:
        return pixels
    return _resized(pixels, size, Image.Resampling.BILINEAR)


def _centre(width: int, height: int) -> tuple[int, int, int, int]:
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    return left, top, left + side, top + side


def _resized(
    pixels: Pixels,
    size: tuple[int, int],
    how: Image.Resampling,
    *,
    box: tuple[int, int, int, int] | None = None,
) -> Pixels:
    # Pillow widens its filter when it reduces, so nothing aliases.
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    return np.asarray(picture.resize(size, how, box=box))
