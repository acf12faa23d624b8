"""Facts about a file that have nothing to do with being fake, from what a detector gets to see."""

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from detection_contract.media_types import MediaKind
from detection_worker.media.values import DecodedMedia, MediaInfo

Features = dict[str, float]
FEATURES: Final[dict[MediaKind, tuple[str, ...]]] = {
    MediaKind.IMAGE: ("width", "height", "bytes_per_px", "luminance"),
    MediaKind.VIDEO: ("width", "height", "duration_s", "bytes_per_s", "luminance"),
    MediaKind.AUDIO: (
        "duration_s",
        "silence_share",
        "rolloff_hz",
        "loudness_dbfs",
        "bytes_per_s",
        "sample_rate_hz",
    ),
}
"""Names by media kind; the codec is the one more that is no number."""
FRAME_S: Final = 0.02
SILENT: Final = 0.01
"""-40 dB below the loudest frame: pauses of speech, whatever the recording's level."""
ROLLOFF: Final = 0.95
QUIETEST_DBFS: Final = -120.0
LUMA: Final = np.array([0.299, 0.587, 0.114])
"""ITU-R BT.601, of RGB."""


def codec_of(info: MediaInfo) -> str:
    """Return container and codec as one word."""
    return info.container if info.codec is None else f"{info.container}/{info.codec}"


def trivial_features(media: DecodedMedia, *, unit_rate_hz: int) -> Features:
    """Return the features of ``FEATURES`` for one file.

    Measured on the detector's own units: what they do not hold, no detector can have learned.

    Args:
        media: As decoded for a detector.
        unit_rate_hz: Sample rate of its windows; of no meaning for pictures.
    """
    info = media.info
    if info.kind is MediaKind.AUDIO:
        sound = media.units.reshape(-1).astype(np.float64)
        return {
            "duration_s": _seconds(info),
            "silence_share": silence_share(sound, rate_hz=unit_rate_hz),
            "rolloff_hz": rolloff_hz(media.units.astype(np.float64), rate_hz=unit_rate_hz),
            "loudness_dbfs": _loudness_dbfs(sound),
            "bytes_per_s": info.size_bytes / max(_seconds(info), FRAME_S),
            "sample_rate_hz": float(info.sample_rate_hz or unit_rate_hz),
        }
    width, height = float(info.width or 0), float(info.height or 0)
    luminance = float(media.units.reshape(-1, 3).mean(axis=0) @ LUMA)
    found = {"width": width, "height": height, "luminance": luminance}
    if info.kind is MediaKind.IMAGE:
        return {**found, "bytes_per_px": info.size_bytes / max(width * height, 1)}
    seconds = _seconds(info)
    return {**found, "duration_s": seconds, "bytes_per_s": info.size_bytes / max(seconds, FRAME_S)}


def silence_share(sound: NDArray[np.float64], *, rate_hz: int) -> float:
    """Return the share of 20 ms frames that are 40 dB or more below the loudest one."""
    frame = max(1, int(FRAME_S * rate_hz))
    count = len(sound) // frame
    if not count:
        return 0.0
    loud = np.sqrt(np.square(sound[: count * frame].reshape(count, frame)).mean(axis=1))
    return float((loud <= SILENT * loud.max()).mean())


def rolloff_hz(windows: NDArray[np.float64], *, rate_hz: int) -> float:
    """Return the frequency below which 95 % of the power of all windows lies; 0 for silence.

    Args:
        windows: Shape ``(n, samples)``.
        rate_hz: Their sample rate.
    """
    power = np.square(np.abs(np.fft.rfft(windows, axis=1))).sum(axis=0)
    power[:1] = 0  # a constant offset is no sound
    whole = np.cumsum(power)
    if not whole[-1] > 0:
        return 0.0
    return float(np.searchsorted(whole, ROLLOFF * whole[-1]) * rate_hz / windows.shape[1])


def _loudness_dbfs(sound: NDArray[np.float64]) -> float:
    power = float(np.square(sound).mean())
    return max(10 * math.log10(power), QUIETEST_DBFS) if power > 0 else QUIETEST_DBFS


def _seconds(info: MediaInfo) -> float:
    return float(info.duration_s or 0)
