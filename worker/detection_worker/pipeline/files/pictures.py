"""Pictures of a file for its page: made while its pixels and samples are at hand."""

import logging
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from detection_contract.media_types import MediaKind
from detection_worker.core.sampling import AudioSampling
from detection_worker.detectors.base import ScoredTrack
from detection_worker.media.previews import jpeg, jpegs, spectrogram
from detection_worker.media.values import DecodedMedia, DecodeRequest
from detection_worker.pipeline.files.segments import window_end_s
from detection_worker.report.values import Pictures

log = logging.getLogger(__name__)


def with_previews(decoded: DecodedMedia, request: DecodeRequest) -> DecodedMedia:
    """Return a decoded file with its small pictures as JPEG, and a spectrogram of sound.

    A file of which none can be made has none: the result matters more.

    Args:
        decoded: With the thumbnails that the request ordered.
        request: How it was decoded.
    """
    try:
        previews = _previews(decoded, request)
    except Exception:  # whatever is wrong with a picture, the file has a result
        log.exception("no preview could be made")
        previews = ()
    return replace(decoded, thumbnails=None, previews=previews)


def _previews(decoded: DecodedMedia, request: DecodeRequest) -> tuple[bytes, ...]:
    if decoded.info.kind is MediaKind.AUDIO:
        return () if request.audio is None else (jpeg(_sound(decoded, request.audio)),)
    return () if decoded.thumbnails is None else jpegs(decoded.thumbnails)


def _sound(decoded: DecodedMedia, sampling: AudioSampling) -> NDArray[np.uint8]:
    # Channels that are judged apart are further units of a window: the first is shown.
    first = np.searchsorted(decoded.frame, np.arange(len(decoded.at_s)))
    starts_s = decoded.at_s.tolist()
    return spectrogram(
        np.asarray(decoded.units[first], dtype=np.float32),
        starts_s,
        sample_rate_hz=sampling.sample_rate_hz,
        end_s=max(window_end_s(sampling, starts_s[-1], decoded.info), 0.001),
    )


def pictures_of(main: ScoredTrack, sound: ScoredTrack | None) -> Pictures:
    """Return the pictures of a scored file, if previews were ordered.

    Args:
        main: The file, for a video its pictures.
        sound: The sound of a video, if that was scored too.
    """
    media = main.decoded
    if media.info.kind is MediaKind.AUDIO:
        return Pictures(sound=next(iter(media.previews), None))
    heard = () if sound is None else sound.decoded.previews
    return Pictures(frames=media.previews, sound=next(iter(heard), None))
