"""Still images to RGB as a viewer shows them, by Pillow or faster. Runs in the child."""

import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import BinaryIO

# Pillow imports these when it meets a first TIFF, a first WebP, and converts a first picture from
# LAB: after the jail has closed.
from PIL import (
    Image,
    ImageCms,
    ImageFile,
    TiffImagePlugin,  # noqa: F401
    UnidentifiedImageError,
    WebPImagePlugin,  # noqa: F401
)

from detection_contract.error_codes import ErrorCode
from detection_worker.errors import JobError
from detection_worker.media.crops import Box, Pixels
from detection_worker.media.metadata import NOTHING, Metadata
from detection_worker.media.stills import turbo
from detection_worker.media.stills.bmp import read_bmp
from detection_worker.media.stills.jpeg import read_jpeg
from detection_worker.media.stills.png import read_png
from detection_worker.media.stills.shown import Shown, opaque, show
from detection_worker.media.stills.source import MANY_PARTS, StillSource
from detection_worker.media.stills.tiff import read_tiff
from detection_worker.media.stills.webp import read_webp

READERS: dict[str, tuple[Callable[[BinaryIO], StillSource], tuple[str, ...]]] = {
    "jpeg": (read_jpeg, ("JPEG",)),
    "png": (read_png, ("PNG",)),
    "bmp": (read_bmp, ("BMP", "DIB")),
    "tiff": (read_tiff, ("TIFF",)),
    "webp": (read_webp, ("WEBP",)),
}
"""For each container its reader and Pillow's decoders; no other is ever tried."""

TRUNCATED = "the image is truncated"
DAMAGED = "the image is damaged"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Picture:
    """A decoded still image.

    Attributes:
        pixels: RGB of its visible part, upright, shape ``(height, width, 3)``, or 4 if it was
            asked for padded and that is cheaper. A view, in no order of memory.
        box: Left, top, right, bottom of that part in the whole picture, upright.
        width: Width of the whole picture, upright, pixels.
        height: Height of the whole picture, upright, pixels.
        truncated: The file ends early; the missing part is grey or black.
        damaged: Data in the file is corrupt.
        warnings: Human-readable warnings.
        metadata: What the container holds beside the picture.
    """

    pixels: Pixels
    box: Box
    width: int
    height: int
    truncated: bool
    damaged: bool
    warnings: tuple[str, ...]
    metadata: Metadata = NOTHING


def prepare() -> None:
    """Load everything that Pillow would load later: afterwards no file can be opened.

    Of its forty formats only the five of ``READERS``, and two that come with them.
    """
    Image.preinit()
    ImageCms.createProfile("LAB")
    # Sizes are checked below against the caller's limit, which has a code of its own.
    Image.MAX_IMAGE_PIXELS = None
    warnings.simplefilter("ignore")


def read_image(
    file: BinaryIO,
    container: str,
    *,
    max_pixels: int,
    padded: Callable[[tuple[int, int]], bool] = lambda _size: False,
) -> Picture:
    """Return the first picture in ``file``.

    Args:
        file: At any position.
        container: A key of ``READERS``.
        max_pixels: Refuse more before any pixel is decoded.
        padded: Whether pixels of four bytes are wanted for a picture of this width and height;
            what is resized is not copied then.

    Raises:
        JobError: TOO_MANY_PIXELS, UNDECODABLE, UNSUPPORTED_TYPE for samples that cannot be read,
            or NO_FRAMES if nothing is visible.
        MemoryError: The pixels do not fit.
    """
    reader, formats = READERS[container]
    source = reader(file)
    try:
        shown, size = _decode(source, formats, max_pixels=max_pixels, padded=padded)
        return _picture(source, shown, size, damaged=source.damaged)
    except (JobError, MemoryError):
        raise
    except UnidentifiedImageError as exc:
        raise _unidentified(container, source) from exc
    except OSError:
        return _read_rest(source, container, max_pixels=max_pixels)
    except Exception as exc:  # Pillow's parsers raise nearly anything on bad bytes
        raise _undecodable(container, source, exc) from exc


def _unidentified(container: str, source: StillSource) -> JobError:
    if source.sample_kind is not None and not source.truncated:
        return JobError(
            ErrorCode.UNSUPPORTED_TYPE,
            f"the {container} image has samples that are not supported ({source.sample_kind})",
        )
    return _not_decoded(container, source, "damaged header")


def _undecodable(container: str, source: StillSource, exc: Exception) -> JobError:
    # Only the class: Pillow's texts can quote bytes of the file.
    return _not_decoded(container, source, type(exc).__name__)


def _not_decoded(container: str, source: StillSource, reason: str) -> JobError:
    if MANY_PARTS in source.warnings:
        reason = MANY_PARTS
    elif source.truncated:
        reason = "truncated"
    return JobError(ErrorCode.UNDECODABLE, f"the {container} image cannot be decoded ({reason})")


def _read_rest(source: StillSource, container: str, *, max_pixels: int) -> Picture:
    """Return what can be decoded of a file that is not whole."""
    ImageFile.LOAD_TRUNCATED_IMAGES = True
    try:
        shown, size = _decode(source, READERS[container][1], max_pixels=max_pixels, partly=True)
    except (JobError, MemoryError):
        raise
    except Exception as exc:
        raise _undecodable(container, source, exc) from exc
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = False
    if (shown.pixels == shown.pixels[0, 0]).all():
        # A header without data decodes to one flat colour, which says nothing about the picture.
        if MANY_PARTS in source.warnings:
            raise _not_decoded(container, source, MANY_PARTS)
        raise JobError(ErrorCode.UNDECODABLE, f"the {container} image holds no pixel data")
    return _picture(source, shown, size, damaged=source.damaged or not source.truncated)


def _decode(
    source: StillSource,
    formats: tuple[str, ...],
    *,
    max_pixels: int,
    padded: Callable[[tuple[int, int]], bool] = lambda _size: False,
    partly: bool = False,
) -> tuple[Shown, tuple[int, int]]:
    """Return what is visible as it is stored, and the width and height of the whole."""
    source.file.seek(0)
    with Image.open(source.file, formats=formats) as image:
        if image.width * image.height > max_pixels:
            raise JobError(
                ErrorCode.TOO_MANY_PIXELS,
                f"the image has {image.width} x {image.height} pixels; at most {max_pixels} "
                "are allowed",
            )
        if partly:
            with suppress(OSError):  # libtiff fails at the first bad strip and keeps those before
                image.load()
        elif source.plain:
            pixels = turbo.decode(source.file, image, padded=padded(image.size))
            if pixels is not None:
                return opaque(pixels), image.size
        return show(image, bits=source.bits), image.size


def _picture(
    source: StillSource, shown: Shown, size: tuple[int, int], *, damaged: bool
) -> Picture:
    pixels = _upright(shown.pixels, source.orientation)
    box, (width, height) = _turned(shown.box, size, source.orientation)
    states = {TRUNCATED: source.truncated, DAMAGED: damaged}
    return Picture(
        pixels=pixels,
        box=box,
        width=width,
        height=height,
        truncated=source.truncated,
        damaged=damaged or source.metadata_damaged,
        warnings=(
            *source.warnings,
            *shown.warnings,
            *(text for text, true in states.items() if true),
        ),
        metadata=source.metadata,
    )


def _flips(orientation: int) -> tuple[bool, bool, bool]:
    """Return whether to swap the axes, then to mirror left and right, top and bottom."""
    return orientation >= 5, orientation in {2, 3, 6, 7}, orientation in {3, 4, 7, 8}


def _upright(pixels: Pixels, orientation: int) -> Pixels:
    swapped, across, down = _flips(orientation)
    pixels = pixels.transpose(1, 0, 2) if swapped else pixels
    return pixels[:: -1 if down else 1, :: -1 if across else 1]


def _turned(box: Box, size: tuple[int, int], orientation: int) -> tuple[Box, tuple[int, int]]:
    """Return a box and the size of its picture after ``_upright``."""
    swapped, across, down = _flips(orientation)
    left, top, right, bottom = box
    if swapped:
        size, (left, top, right, bottom) = size[::-1], (top, left, bottom, right)
    if across:
        left, right = size[0] - right, size[0] - left
    if down:
        top, bottom = size[1] - bottom, size[1] - top
    return (left, top, right, bottom), size
