"""Whether a detector is for a file at all, and what about the file makes it less sure."""

from dataclasses import replace

import numpy as np

from detection_contract.media_types import MediaKind
from detection_worker.core.applicability import Inapplicable, misfit
from detection_worker.core.quality import Quality, picture_quality, sound_quality
from detection_worker.core.sampling import AudioSampling, Sampling
from detection_worker.core.speech import has_speech
from detection_worker.detectors.base import DetectorCard, ScoredTrack
from detection_worker.media.values import DecodedMedia, MediaInfo


def not_applicable_reason(
    decoded: DecodedMedia, card: DetectorCard, *, speech: bool | None = None
) -> Inapplicable | None:
    """Return why a detector has no opinion on a decoded file; None if it has.

    Args:
        decoded: With the units that the detector scores; for sound those are listened to if the
            detector judges speech only.
        card: The detector's card.
        speech: Whether anybody speaks in it, if that is known already.
    """
    info = decoded.info
    reason = misfit(
        card.scope,
        duration_s=None if info.kind is MediaKind.IMAGE else info.duration_s,
        size_px=_size_px(info),
    )
    if reason is not None:
        return reason
    if not len(decoded.units):
        return "no_face"
    heard = speech_in(decoded, card) if speech is None else speech
    return "no_speech" if heard is False else None


def speech_in(decoded: DecodedMedia, card: DetectorCard) -> bool | None:
    """Return whether anybody speaks in a sound; None if its detector does not ask.

    Args:
        decoded: With the sound in it.
        card: The detector's card.
    """
    if not card.listens or not len(decoded.units):
        return None
    assert isinstance(card.sampling, AudioSampling)  # noqa: S101 - it listens
    return has_speech(
        decoded.units.astype(np.float32, copy=False),
        sample_rate_hz=card.sampling.sample_rate_hz,
        duration_s=decoded.info.duration_s,
        hop=card.sampling.hop,
    )


def listened(track: ScoredTrack) -> ScoredTrack:
    """Return a scored track that says whether anybody speaks in it, if its detector asks."""
    return replace(track, speech=speech_in(track.decoded, track.card))


def quality_of(info: MediaInfo, sampling: Sampling) -> tuple[Quality, ...]:
    """Return the warnings about a file's quality, for a detector that samples it so."""
    size_px = _size_px(info)
    if size_px is not None:
        return picture_quality(
            info.kind, container=info.container, size_px=size_px, size_bytes=info.size_bytes
        )
    if not isinstance(sampling, AudioSampling):
        return ()
    return sound_quality(
        duration_s=info.duration_s or 0.0,
        sample_rate_hz=info.sample_rate_hz or 0,
        wanted_s=sampling.window / sampling.sample_rate_hz,
        wanted_hz=sampling.sample_rate_hz,
    )


def _size_px(info: MediaInfo) -> tuple[int, int] | None:
    if info.visible_px is not None:
        return info.visible_px
    return None if info.width is None or info.height is None else (info.width, info.height)
