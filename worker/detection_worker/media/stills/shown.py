"""A picture as a viewer shows it: transparent pixels on white, invisible borders left out."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from detection_contract.error_codes import ErrorCode
from detection_worker.errors import JobError
from detection_worker.media.crops import Box, Pixels
from detection_worker.media.stills import samples

VISIBLE_ALPHA = 16
"""Opacity out of 255: less than a sixteenth cannot be told from the white behind it."""
BAND_ROWS = 256
ON_WHITE = "transparent pixels were shown on white"
CROPPED = "the visible {width} x {height} pixels of {of_width} x {of_height} were analysed"
_VISIBLE = [255 * (alpha >= VISIBLE_ALPHA) for alpha in range(256)]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Shown:
    """The visible part of a picture.

    Attributes:
        pixels: RGB, shape ``(height, width, 3)``, or 4 if it is padded.
        box: Left, top, right, bottom of it in the whole picture.
        warnings: Human-readable warnings.
    """

    pixels: Pixels
    box: Box
    warnings: tuple[str, ...] = ()


def show(image: Image.Image, *, bits: int) -> Shown:
    """Return what is visible of a decoded image.

    Args:
        image: Decoded or not.
        bits: Bits of a sample in the file.

    Raises:
        JobError: NO_FRAMES if nothing is; UNSUPPORTED_TYPE if its samples have no known range.
        MemoryError: The pixels do not fit.
    """
    image.load()
    alpha = _alpha(image)
    notes: tuple[str, ...] = ()
    grey = samples.deep(image)
    whole = (0, 0, *image.size)
    box = whole if alpha is None else alpha.point(_VISIBLE).getbbox()
    if box is None:
        raise JobError(ErrorCode.NO_FRAMES, "the picture is fully transparent: nothing is visible")
    if grey:
        shades, notes = samples.to_bytes(image)
        image = Image.fromarray(shades)
    if box != whole:
        notes = (_cropped(box, image.size), *notes)
    if alpha is not None:
        notes = (ON_WHITE, *notes)
    pixels = np.asarray(_rgb(image)) if alpha is None else on_white(image, alpha, box)
    if not grey:
        samples.check_colours(image, pixels, bits=bits)
    return Shown(pixels=pixels, box=box, warnings=(*notes, *samples.darkness(pixels)))


def opaque(pixels: Pixels) -> Shown:
    """Return a picture of which all is visible.

    Args:
        pixels: As in ``Shown``.
    """
    height, width = pixels.shape[:2]
    return Shown(pixels=pixels, box=(0, 0, width, height), warnings=samples.darkness(pixels))


def _cropped(box: Box, size: tuple[int, int]) -> str:
    width, height = box[2] - box[0], box[3] - box[1]
    return CROPPED.format(width=width, height=height, of_width=size[0], of_height=size[1])


def _alpha(image: Image.Image) -> Image.Image | None:
    """Return how opaque each pixel is, 0 to 255; None if all are opaque."""
    key = image.info.get("transparency")
    if image.mode.startswith("I;") and isinstance(key, int):
        alpha = Image.fromarray(np.where(np.asarray(image) == key, 0, 255).astype(np.uint8))
    elif key is not None and image.mode in {"1", "L", "P", "RGB"}:
        alpha = image.convert("RGBA").getchannel("A")
    elif image.mode == "La":
        alpha = image.convert("LA").getchannel("A")
    elif image.mode in {"LA", "PA", "RGBA"}:
        alpha = image.getchannel("A")
    else:
        return None
    least, most = alpha.getextrema()
    # Windows programs leave the fourth byte of a BMP at 0 and show it opaque, as browsers do.
    unused = image.format == "BMP" and most == 0
    return None if least == 255 or unused else alpha


def on_white(image: Image.Image, alpha: Image.Image, box: Box) -> Pixels:
    """Return the colours of ``box`` on white, shape ``(height, width, 3)``.

    Args:
        image: Picture of any mode.
        alpha: Its opacity, of the same size.
        box: Left, top, right, bottom.
    """
    left, top, right, bottom = box
    pixels = np.empty((bottom - top, right - left, 3), np.uint8)
    # In bands, because whole copies of a large picture do not fit.
    for start in range(top, bottom, BAND_ROWS):
        band = (left, start, right, min(start + BAND_ROWS, bottom))
        white = Image.new("RGB", (right - left, band[3] - start), "white")
        white.paste(_rgb(image.crop(band)), mask=alpha.crop(band))
        pixels[start - top : band[3] - top] = np.asarray(white)
    return pixels


def _rgb(image: Image.Image) -> Image.Image:
    """Return the colours, hidden ones too."""
    if image.mode == "La":
        image = image.convert("LA")
    elif image.mode == "PA" or (image.mode == "P" and "transparency" in image.info):
        image = image.convert("RGBA")
    return image if image.mode == "RGB" else image.convert("RGB")
