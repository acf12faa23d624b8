"""Still images to RGB, by Pillow. Runs in the child."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError

from detection_contract.error_codes import ErrorCode
from detection_worker.errors import JobError
from detection_worker.media.crops import Pixels

FORMATS = {
    "jpeg": ("JPEG", "MPO"),
    "png": ("PNG",),
    "bmp": ("BMP", "DIB"),
    "tiff": ("TIFF",),
    "webp": ("WEBP",),
}
"""Pillow's decoders for each container; no other is ever tried."""

ORIENTATION_TAG = 0x0112
_UPRIGHT: dict[int, Callable[[Pixels], Pixels]] = {
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.transpose(1, 0, 2),
    6: lambda p: p.transpose(1, 0, 2)[:, ::-1],
    7: lambda p: p.transpose(1, 0, 2)[::-1, ::-1],
    8: lambda p: p.transpose(1, 0, 2)[::-1],
}
"""From stored to upright pixels for each EXIF orientation (CIPA DC-008 section 4.6.5)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Picture:
    """A decoded still image.

    Attributes:
        pixels: RGB, shape ``(height, width, 3)``, upright.
        truncated: The file ended early; the missing part is grey or black.
        warnings: For people.
    """

    pixels: Pixels
    truncated: bool
    warnings: tuple[str, ...]


def prepare() -> None:
    """Load everything that Pillow would load later: afterwards no file can be opened."""
    Image.init()
    # Sizes are checked below against the caller's limit, which has a code of its own.
    Image.MAX_IMAGE_PIXELS = None
    warnings.simplefilter("ignore")


def read_image(file: BinaryIO, container: str, *, max_pixels: int) -> Picture:
    """Return the first picture in ``file``.

    Args:
        file: At any position.
        container: A key of ``FORMATS``.
        max_pixels: Refuse more before any pixel is decoded.

    Raises:
        JobError: TOO_MANY_PIXELS or UNDECODABLE.
        MemoryError: The pixels do not fit.
    """
    try:
        pixels, notes = _read(file, container, max_pixels=max_pixels)
        return Picture(pixels=pixels, truncated=False, warnings=notes)
    except (JobError, MemoryError):
        raise
    except OSError:
        return _read_truncated(file, container, max_pixels=max_pixels)
    except Exception as exc:  # Pillow's parsers raise nearly anything on bad bytes
        raise _undecodable(container, exc) from exc


def _undecodable(container: str, exc: Exception) -> JobError:
    # Only the class: Pillow's texts can quote bytes of the file.
    reason = "damaged header" if isinstance(exc, UnidentifiedImageError) else type(exc).__name__
    return JobError(ErrorCode.UNDECODABLE, f"the {container} image cannot be decoded ({reason})")


def _read_truncated(file: BinaryIO, container: str, *, max_pixels: int) -> Picture:
    ImageFile.LOAD_TRUNCATED_IMAGES = True
    try:
        pixels, notes = _read(file, container, max_pixels=max_pixels)
    except (JobError, MemoryError):
        raise
    except Exception as exc:
        raise _undecodable(container, exc) from exc
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = False
    if (pixels == pixels[0, 0]).all():
        # A header without data decodes to one flat colour, which says nothing about the picture.
        raise JobError(ErrorCode.UNDECODABLE, f"the {container} image holds no pixel data")
    return Picture(pixels=pixels, truncated=True, warnings=(*notes, "the image is truncated"))


def _read(file: BinaryIO, container: str, *, max_pixels: int) -> tuple[Pixels, tuple[str, ...]]:
    file.seek(0)
    with Image.open(file, formats=FORMATS[container]) as image:
        if image.width * image.height > max_pixels:
            raise JobError(
                ErrorCode.TOO_MANY_PIXELS,
                f"the image has {image.width} x {image.height} pixels; at most {max_pixels} "
                "are allowed",
            )
        notes = _notes(image)
        pixels = _rgb(image)
        return np.ascontiguousarray(_UPRIGHT.get(_orientation(image), _same)(pixels)), notes


def _same(pixels: Pixels) -> Pixels:
    return pixels


def _notes(image: Image.Image) -> tuple[str, ...]:
    # An MPO is a photograph with a preview or a depth map behind it, no animation.
    count = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
    if count == 1:
        return ()
    what = "pages" if image.format == "TIFF" else "frames"
    return (f"only the first of {count} {what} was analysed",)


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ORIENTATION_TAG, 1))
    except Exception:  # noqa: BLE001 - broken EXIF data must not cost the picture
        return 1


def _rgb(image: Image.Image) -> Pixels:
    image.load()
    if image.mode == "RGB":
        return np.asarray(image)
    if image.mode in {"F", "I"} or image.mode.startswith("I;"):
        return np.repeat(_eight_bit(np.asarray(image))[..., None], 3, axis=2)
    if image.mode == "P" and "transparency" in image.info:
        return np.asarray(image.convert("RGBA").convert("RGB"))
    return np.asarray(image.convert("RGB"))


def _eight_bit(grey: np.typing.NDArray[np.generic]) -> Pixels:
    """Grey of 16 bits, 32 bits or float to 0-255."""
    values = np.nan_to_num(grey.astype(np.float32))
    if grey.dtype.kind == "f":
        scale = 255.0 if float(values.max()) <= 1.0 else 1.0
    else:
        # Pillow opens 16-bit PNG and TIFF as 16 or 32-bit integers.
        scale = 255.0 / (65_535.0 if float(values.max()) <= 65_535.0 else 2.0**31 - 1)
    return np.asarray(np.clip(values * np.float32(scale), 0, 255).astype(np.uint8))
