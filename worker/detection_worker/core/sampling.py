"""Which parts of a media object a detector looks at; part of a model's manifest.

A *unit* is one fixed-size input of a detector: a crop of an image or frame, or a window of sound.
Units of one detector all have one shape, so that units of different messages share a batch.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSampling:
    """Crops at native resolution; low-level traces do not survive a resize.

    Attributes:
        crop_px: Side of the square crop; smaller images are reflected up to it.
        max_crops: Most crops of one image, >= 1.
    """

    crop_px: int = 128
    max_crops: int = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoSampling:
    """Uniformly spread frames, each cropped as an image.

    Attributes:
        max_frames: Most frames of one video, >= 1.
        crop_px: As in ``ImageSampling``.
        crops_per_frame: Most crops of one frame, >= 1.
    """

    max_frames: int = 16
    crop_px: int = 128
    crops_per_frame: int = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioSampling:
    """Overlapping windows of mono sound.

    Attributes:
        sample_rate_hz: Rate that the detector wants.
        window: Samples in a window; shorter sound is repeated up to it.
        hop: Samples from one window's start to the next.
        max_windows: Most windows, spread uniformly if the sound is longer.
    """

    sample_rate_hz: int = 16_000
    window: int = 64_000
    hop: int = 32_000
    max_windows: int = 64


Sampling = ImageSampling | VideoSampling | AudioSampling


def spread(total: int, wanted: int) -> list[int]:
    """Return at most ``wanted`` indices spread evenly over ``range(total)``, ascending.

    Each index is the middle of its share, so that the ends (black frames, silence) weigh no more
    than the rest.

    Raises:
        ValueError: If ``total`` is negative or ``wanted`` is not positive.
    """
    if total < 0 or wanted < 1:
        raise ValueError(f"cannot spread {wanted} over {total}")
    if total <= wanted:
        return list(range(total))
    return [(2 * i + 1) * total // (2 * wanted) for i in range(wanted)]
