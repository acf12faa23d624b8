"""What about a media object makes any detector less sure: codes for the result, by plain limits.

They warn and change no score. No decoding here: only the measures of the file.
"""

from typing import Final, Literal, get_args

from detection_contract.media_types import MediaKind

Quality = Literal["low_resolution", "heavy_compression", "short_sound", "narrowband"]
QUALITIES: Final[tuple[Quality, ...]] = get_args(Quality)
"""Codes are added, never renamed."""

LOW_RESOLUTION_PX: Final = 128
"""Shorter side: one crop of the bundled models, and a face in it is smaller still."""
HEAVY_COMPRESSION_BPP: Final = 0.25
"""Bits for each pixel of a JPEG. The photographs among the samples get there at about
quality 5 of Pillow's 1 to 95; a flat drawing or a blank page is there at any quality."""


def picture_quality(
    kind: MediaKind, *, container: str, size_px: tuple[int, int], size_bytes: int
) -> tuple[Quality, ...]:
    """Return what is wrong with an image or a video.

    Args:
        kind: Image or video. Nothing is said of the compression of videos: their frames share
            bytes, and few of them can be enough.
        container: As ``MediaInfo.container``.
        size_px: Width and height.
        size_bytes: Size of the whole file.
    """
    found: list[Quality] = []
    if min(size_px) < LOW_RESOLUTION_PX:
        found.append("low_resolution")
    bits_per_pixel = 8 * size_bytes / (size_px[0] * size_px[1])
    if kind is MediaKind.IMAGE and container == "jpeg" and bits_per_pixel < HEAVY_COMPRESSION_BPP:
        found.append("heavy_compression")
    return tuple(found)


def sound_quality(
    *, duration_s: float, sample_rate_hz: int, wanted_s: float, wanted_hz: int
) -> tuple[Quality, ...]:
    """Return what is wrong with a sound.

    Args:
        duration_s: Length of the recording.
        sample_rate_hz: Sample rate of the file.
        wanted_s: The detector's window; a shorter recording is repeated to fill it.
        wanted_hz: The detector's sample rate; a lower one lacks the high frequencies.
    """
    found: list[Quality] = []
    if duration_s < wanted_s:
        found.append("short_sound")
    if sample_rate_hz < wanted_hz:
        found.append("narrowband")
    return tuple(found)
