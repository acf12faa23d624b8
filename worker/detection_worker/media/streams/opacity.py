"""Frames of video that has an alpha channel: what is transparent is white, as in pictures."""

from typing import Any

import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray
from PIL import Image

from detection_worker.media.stills.shown import VISIBLE_ALPHA, on_white

UNUSED_ALPHA = frozenset({"bgra"})
"""Raw AVI of 32 bits: most programs leave its fourth byte at 0, and players show it opaque."""


def alpha_of(frame: Any) -> NDArray[np.uint8] | None:
    """Return how opaque each pixel is, 0 to 255, shape ``(height, width)``; None if all are."""
    rgba = _transparent(frame)
    return None if rgba is None else rgba[..., 3]


def hides_all(alpha: NDArray[np.uint8]) -> bool:
    """Return whether nothing can be told from the white behind it."""
    return int(alpha.max()) < VISIBLE_ALPHA


def opaque(frame: Any) -> Any:
    """Return a frame itself, or what is seen of it on white, without its metadata."""
    rgba = _transparent(frame)
    if rgba is None:
        return frame
    image = Image.fromarray(rgba)
    seen = on_white(image, image.getchannel("A"), (0, 0, *image.size))
    return VideoFrame.from_ndarray(seen, format="rgb24")


def _transparent(frame: Any) -> NDArray[np.uint8] | None:
    kind = frame.format
    if not kind.has_palette and not any(part.is_alpha for part in kind.components):
        return None
    rgba: NDArray[np.uint8] = frame.to_ndarray(format="rgba")
    alpha = rgba[..., 3]
    unused = kind.name in UNUSED_ALPHA and not alpha.any()
    return None if unused or alpha.min() == 255 else rgba
