"""Small pictures of media, to look at: resized in the child, encoded by the worker.

Nothing of a file gets into them but its pixels and samples.
"""

import io
import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from detection_worker.media.crops import Box, Pixels
from detection_worker.media.views import reduced

PREVIEW_PX: Final = 1280
"""Longer side of a still image, at most: wider than a page on a screen."""
FRAME_PX: Final = 400
"""Longer side of one of several frames, at most."""
PREVIEW_PIXELS: Final = 2_400_000
"""All pictures of one file together, so that 256 frames cost no more than 16."""
QUALITIES: Final = (82, 65, 45, 25, 10)
"""JPEG qualities, tried one after another until a picture is small enough."""
JPEG_BYTES: Final = 240_000
FRAME_BYTES: Final = 20_000
ICON_PX: Final = 128
ICON_BYTES: Final = 6_000
HIDDEN: Final = 224
"""Grey of what is transparent in the file."""


def factor(width: int, height: int, *, frames: int) -> int:
    """Return by how much a picture is reduced: a whole number, so that whole pixels are averaged.

    Args:
        width: Width of the picture, pixels.
        height: Its height, pixels.
        frames: How many pictures there may be of the file, >= 1.
    """
    side = PREVIEW_PX if frames == 1 else FRAME_PX
    k = max(1, math.ceil(max(width, height) / side))
    while math.ceil(width / k) * math.ceil(height / k) * frames > PREVIEW_PIXELS:
        k += 1
    return k


def whole_thumbnail(pixels: Pixels, box: Box, size: tuple[int, int]) -> Pixels:
    """Return the small picture of a still image, shape ``(1, h, w, 3)``.

    Args:
        pixels: Its visible part.
        box: Where that lies in the whole.
        size: Width and height of the whole.
    """
    k = factor(*size, frames=1)
    if box == (0, 0, *size):
        return reduced(pixels, k)[None]
    width, height = math.ceil(size[0] / k), math.ceil(size[1] / k)
    whole = np.full((1, height, width, 3), HIDDEN, np.uint8)
    left, top = box[0] // k, box[1] // k
    part = reduced(pixels, k)[: height - top, : width - left]
    whole[0, top : top + part.shape[0], left : left + part.shape[1]] = part
    return whole


def jpeg(pixels: Pixels, *, most_bytes: int = JPEG_BYTES) -> bytes:
    """Return a picture as JPEG, in a quality that makes it small enough.

    Args:
        pixels: RGB, shape ``(height, width, 3)``.
        most_bytes: Wanted size; what is larger in the worst quality stays so.
    """
    image = Image.fromarray(np.ascontiguousarray(pixels))
    data = b""
    for quality in QUALITIES:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=quality)
        data = file.getvalue()
        if len(data) <= most_bytes:
            break
    return data


def jpegs(thumbnails: NDArray[np.uint8]) -> tuple[bytes, ...]:
    """Return small pictures as JPEG.

    Args:
        thumbnails: As ``DecodedMedia`` has them.
    """
    most_bytes = JPEG_BYTES if len(thumbnails) == 1 else FRAME_BYTES
    return tuple(jpeg(picture, most_bytes=most_bytes) for picture in thumbnails)


def icon(preview: bytes) -> bytes:
    """Return a JPEG of ours reduced to ``ICON_PX``, for lists."""
    image = Image.open(io.BytesIO(preview), formats=["JPEG"])
    image.thumbnail((ICON_PX, ICON_PX))
    return jpeg(np.asarray(image.convert("RGB")), most_bytes=ICON_BYTES)


# -- sound --------------------------------------------------------------------------------------

SOUND_SIZE: Final = (960, 160)
"""Width and height of a spectrogram, pixels."""
SAMPLES: Final = 512
"""Samples of one spectrum: 32 ms at 16 kHz."""
RANGE_DB: Final = 70.0
SILENT: Final = (150, 150, 150)
"""Grey of what was not listened to."""
_COLOURS: Final = (
    (0.0, (10, 8, 30)),
    (0.35, (70, 30, 120)),
    (0.65, (190, 60, 110)),
    (0.85, (250, 150, 70)),
    (1.0, (255, 240, 190)),
)
"""From silence to loud: darker to lighter, whatever colours an eye tells apart."""


def spectrogram(
    windows: NDArray[np.float32],
    starts_s: Sequence[float],
    *,
    sample_rate_hz: int,
    end_s: float,
) -> Pixels:
    """Return the spectrum of sound over time, low frequencies at the bottom.

    Args:
        windows: Samples in [-1, 1], shape ``(n, window)``, one for each start.
        starts_s: Where each window starts, ascending, seconds.
        sample_rate_hz: Sample rate.
        end_s: Right end of the picture, > 0; its left end is 0.

    Returns:
        RGB of ``SOUND_SIZE``; grey where there is no window.
    """
    width, height = SOUND_SIZE
    samples = min(SAMPLES, windows.shape[1])
    centres_s = (np.arange(width) + 0.5) * end_s / width
    starts = np.asarray(starts_s, np.float64)
    of = np.maximum(np.searchsorted(starts, centres_s, side="right") - 1, 0)
    into_s = centres_s - starts[of]
    heard = (into_s >= 0) & (into_s < windows.shape[1] / sample_rate_hz)
    first = np.clip((into_s * sample_rate_hz).astype(np.int64) - samples // 2, 0, None)
    first = np.minimum(first, windows.shape[1] - samples)
    columns = windows[of[:, None], first[:, None] + np.arange(samples)]
    power = np.abs(np.fft.rfft(columns * np.hanning(samples).astype(np.float32), axis=1)) ** 2
    level = 10 * np.log10(np.maximum(power, 1e-10))
    loud = float(level[heard].max()) if heard.any() else 0.0
    shade = np.clip((level - loud) / RANGE_DB + 1.0, 0.0, 1.0)
    rgb = _coloured(shade)
    rgb[~heard] = SILENT
    upright = np.ascontiguousarray(rgb.transpose(1, 0, 2)[::-1])
    return np.asarray(Image.fromarray(upright).resize((width, height), Image.Resampling.BOX))


def _coloured(shade: NDArray[np.floating]) -> Pixels:
    places = [place for place, _ in _COLOURS]
    ramp = np.linspace(0.0, 1.0, 256)
    table = np.stack(
        [np.interp(ramp, places, [rgb[i] for _, rgb in _COLOURS]) for i in range(3)], axis=1
    )
    return np.asarray(table.astype(np.uint8)[(shade * 255).astype(np.uint8)])
