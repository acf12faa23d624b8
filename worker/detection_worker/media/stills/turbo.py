"""Plain JPEGs by libjpeg-turbo itself, without the copies that Pillow makes. Runs in the child.

Pillow decodes with the same library, so the pixels are the same. What is not plain, and every file
that libjpeg-turbo so much as warns of, is left to Pillow: what is said of damage stays its word.
"""

from typing import BinaryIO

import numpy as np
from PIL import Image

from detection_worker.media.crops import Pixels
from detection_worker.media.stills.source import size_of

try:
    import simplejpeg
except ImportError:  # there is no wheel for this platform: slower, and the same otherwise
    simplejpeg = None

MODES = frozenset({"RGB", "L"})
"""Pillow's modes of a JPEG whose colours need no conversion of ours."""


def decode(file: BinaryIO, image: Image.Image, *, padded: bool) -> Pixels | None:
    """Return the pixels of a JPEG, shape ``(height, width, 3)``; None if Pillow shall decode it.

    Args:
        file: The JPEG; its position is moved.
        image: What Pillow read of its header; its size is within the limits.
        padded: Return ``(height, width, 4)``; the fourth byte means nothing.

    Raises:
        MemoryError: The pixels do not fit.
    """
    if simplejpeg is None or image.mode not in MODES:
        return None
    data = _content(file)
    pixels = np.empty((image.height, image.width, 4 if padded else 3), np.uint8)
    try:
        found = simplejpeg.decode_jpeg(data, "RGBX" if padded else "RGB", buffer=pixels)
    except Exception:  # noqa: BLE001 - whatever it is, Pillow decides what becomes of the file
        return None
    return pixels if found.shape == pixels.shape else None


def _content(file: BinaryIO) -> bytearray:
    data = bytearray(size_of(file))
    file.seek(0)
    file.readinto(data)  # type: ignore[attr-defined]
    return data
