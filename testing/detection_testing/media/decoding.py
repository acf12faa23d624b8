"""Media files decoded in this process, without a jail."""

from pathlib import Path

from detection_worker.core.sampling import (
    AudioSampling,
    ImageSampling,
    Sampling,
    VideoSampling,
)
from detection_worker.media.decode import decode_file
from detection_worker.media.values import DecodedMedia, DecodeOrder
from detection_worker.settings import MediaLimits


def decode_here(
    path: Path,
    sampling: Sampling,
    *,
    limits: MediaLimits = MediaLimits(),  # noqa: B008 - frozen
) -> DecodedMedia:
    """Return the units of a file as a decoding child makes them.

    Raises:
        JobError: As ``decode_file``; also for another kind of media than that of ``sampling``.
    """
    order = DecodeOrder(
        suffix=path.suffix,
        announced=None,
        image=sampling if isinstance(sampling, ImageSampling) else None,
        video=sampling if isinstance(sampling, VideoSampling) else None,
        audio=sampling if isinstance(sampling, AudioSampling) else None,
        limits=limits,
    )
    with path.open("rb") as file:
        return decode_file(file, order, tick=lambda: None)
