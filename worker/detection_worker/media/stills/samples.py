"""Samples of more than eight bits to eight, by what the file says of their range.

Where it says nothing, and the usual range of the type would leave a black picture, it is refused:
a score of black means nothing.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

from detection_contract.error_codes import ErrorCode
from detection_worker.errors import JobError
from detection_worker.media.crops import Pixels

BITS, PHOTOMETRIC, SAMPLE_FORMAT = 258, 262, 339
MAX_SAMPLE, S_MIN_SAMPLE, S_MAX_SAMPLE = 281, 340, 341
WHITE_IS_ZERO = 0
UNSIGNED, SIGNED = 1, 2
_FULL_RANGES = frozenset(2.0**bits - 1 for bits in range(1, 17))
OVERSHOOT = 0.1
"""Sharpening and resizing leave floating-point pictures a little below black and above white."""
DARK_SHARE = 1 / 16
"""Four bits of the range: what is this dark was more likely written for another range."""
LOOKED_AT = 16
"""Rows, and columns, of which one is looked at before all are."""
DARK = "the picture is nearly black: its brightest sample is at {share:.0%} of white"
ASSUMED = "samples up to {high:g} in {bits} bits were taken as {white:g} for white"
NOT_FINITE = "{count} samples are not finite numbers"


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """Which samples are black and white.

    Attributes:
        black: In the file's numbers.
        white: Greater than ``black``.
        warnings: Human-readable warnings.
    """

    black: float
    white: float
    warnings: tuple[str, ...] = ()


def deep(image: Image.Image) -> bool:
    """Return whether a grey image has samples that are not plain bytes."""
    return image.mode in {"F", "I"} or image.mode.startswith("I;") or _signed_bytes(image)


def to_bytes(image: Image.Image) -> tuple[Pixels, tuple[str, ...]]:
    """Return a deep grey image in eight bits, shape ``(height, width)``, and warnings.

    Raises:
        JobError: UNSUPPORTED_TYPE if nothing tells which sample is white.
    """
    samples = _samples(image)
    found = _range(image, samples)
    scale = np.float32(255.0 / (found.white - found.black))
    values = samples.astype(np.float32)
    np.nan_to_num(values, copy=False, nan=found.black)
    values -= np.float32(found.black)
    values *= scale
    grey = np.clip(np.rint(values, out=values), 0, 255, out=values).astype(np.uint8)
    return (255 - grey if _tag(image, PHOTOMETRIC) == WHITE_IS_ZERO else grey), found.warnings


def check_colours(image: Image.Image, pixels: Pixels, *, bits: int) -> None:
    """Refuse deep colours that were written for another white; Pillow keeps their upper bits.

    Args:
        image: Decoded.
        pixels: Its colours in eight bits.
        bits: Bits of a sample in the file.

    Raises:
        JobError: UNSUPPORTED_TYPE.
    """
    if bits <= 8:
        return
    white = _number(image, S_MAX_SAMPLE)
    if white is not None and 0 < white < 2.0 ** (bits - 1):
        raise _unknown(f"white is {white:g}, far below the range of its samples")
    if white is None and 0 < pixels.max() < DARK_SHARE * 255:
        raise _too_dark(float(pixels.max()) * 2 ** (bits - 8), 2.0**bits - 1)


def darkness(pixels: Pixels) -> tuple[str, ...]:
    """Return the warning about a picture that is next to black, in eight bits.

    Args:
        pixels: RGB, shape ``(height, width, 3)``, or 4 if it is padded.
    """
    colours = pixels[..., :3]
    if colours[::LOOKED_AT, ::LOOKED_AT].max() >= DARK_SHARE * 255:  # of nearly every picture
        return ()
    share = float(colours.max()) / 255
    return (DARK.format(share=share),) if share < DARK_SHARE else ()


def _samples(image: Image.Image) -> NDArray[np.generic]:
    """Return what the file holds, where Pillow has no mode for it and lends another one."""
    samples = np.asarray(image)
    if _signed_bytes(image):
        return samples.view(np.int8)
    if samples.dtype == np.int32 and _number(image, SAMPLE_FORMAT) in {None, UNSIGNED}:
        return samples.view(np.uint32)
    return samples


def _signed_bytes(image: Image.Image) -> bool:
    return image.mode == "L" and _number(image, SAMPLE_FORMAT) == SIGNED


def _tag(image: Image.Image, tag: int) -> object:
    return image.tag_v2.get(tag) if isinstance(image, TiffImageFile) else None


def _number(image: Image.Image, tag: int) -> float | None:
    value = _tag(image, tag)
    if isinstance(value, tuple) and value:
        value = value[0]
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return None
    return number if np.isfinite(number) else None


def _ends(samples: NDArray[Any]) -> tuple[float, float, int]:
    """Return the least and the greatest finite sample, and how many are not finite."""
    if samples.dtype.kind != "f":
        return float(samples.min()), float(samples.max()), 0
    finite = np.isfinite(samples)
    low = float(np.min(samples, where=finite, initial=np.inf))
    high = float(np.max(samples, where=finite, initial=-np.inf))
    return low, high, samples.size - int(np.count_nonzero(finite))


def _range(image: Image.Image, samples: NDArray[np.generic]) -> Range:
    floating = samples.dtype.kind == "f"
    low, high, strays = _ends(samples)
    if low > high:
        raise _unknown("no sample of the picture is a finite number")
    notes = (NOT_FINITE.format(count=strays),) if strays else ()
    declared = _declared(image, high)
    if declared is not None:
        return Range(black=declared[0], white=declared[1], warnings=notes)
    bits = _bits(image, samples)
    if samples.dtype.kind == "u" and bits <= 16:
        return _usual(high, 2.0**bits - 1, notes)
    if floating and low >= -OVERSHOOT and high <= 1.0 + OVERSHOOT:
        return _usual(high, 1.0, notes)
    full = None if floating else 2.0 ** (bits - (samples.dtype.kind == "i")) - 1
    found = _assumed(high, bits=bits, full=full) if low >= 0 else None
    if found is None:
        raise _unknown(
            f"its samples lie between {low:g} and {high:g}, and it does not say which is white"
        )
    return replace(found, warnings=(*notes, *found.warnings))


def _declared(image: Image.Image, high: float) -> tuple[float, float] | None:
    """Return black and white as the file names them, if they can be true."""
    black, white = _number(image, S_MIN_SAMPLE) or 0.0, _number(image, S_MAX_SAMPLE)
    if white is None:
        # The older tag may tell the brightest sample that there is, or the depth of the samples.
        white = _number(image, MAX_SAMPLE)
        white = white if white in _FULL_RANGES else None
    return (black, white) if white is not None and black < white and high > black else None


def _bits(image: Image.Image, samples: NDArray[np.generic]) -> int:
    return int(_number(image, BITS) or samples.dtype.itemsize * 8)


def _usual(high: float, white: float, notes: tuple[str, ...]) -> Range:
    if 0 < high < DARK_SHARE * white:
        raise _too_dark(high, white)
    return Range(black=0.0, white=white, warnings=notes)


def _too_dark(high: float, white: float) -> JobError:
    return _unknown(f"its samples reach {high:g} of {white:g}, and it names no other white")


def _assumed(high: float, *, bits: int, full: float | None) -> Range | None:
    """Return the range of a shallower type that was widened, or ``full``, that of the type."""
    narrower = [2.0**depth - 1 for depth in (8, 16) if depth < bits]
    for white in (*narrower, full):
        if white is not None and DARK_SHARE * white < high <= white:
            said = ASSUMED.format(high=high, bits=bits, white=white)
            return Range(black=0.0, white=white, warnings=() if white == full else (said,))
    return None


def _unknown(why: str) -> JobError:
    return JobError(
        ErrorCode.UNSUPPORTED_TYPE, f"the image cannot be brought to eight bits: {why}"
    )
