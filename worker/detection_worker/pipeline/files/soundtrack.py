"""The sound of a video: how it is decoded, and whether it has a say.

It is a second order to the same jailed children: every limit of a sound file holds for it, and
what breaks while decoding it leaves the pictures alone.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from detection_contract.error_codes import ErrorCode
from detection_contract.media_types import MediaKind
from detection_worker.core.verdict import Verdict
from detection_worker.detectors.base import DetectorCard
from detection_worker.errors import JobError
from detection_worker.media.values import DecodedMedia, Decoder, DecodeRequest

_OF_THE_MOMENT: Final = frozenset(
    {ErrorCode.TIMEOUT, ErrorCode.DECODE_CRASHED, ErrorCode.DECODE_MEMORY}
)
"""Failures that depend on the machine and its load, not on the file alone."""


def decode_sound(
    decoder: Decoder,
    request: DecodeRequest,
    decoded: DecodedMedia,
    *,
    on_progress: Callable[[], None],
    cancelled: Callable[[], bool],
) -> tuple[DecodedMedia, DecodedMedia | None]:
    """Return a decoded file, with a warning if its sound is broken, and the sound of a video.

    Args:
        decoder: That decoded the pictures.
        request: As it was for them; without sampling for sound there is none.
        decoded: What came of it, of any kind.
        on_progress: As for ``Decoder.decode``.
        cancelled: As for ``Decoder.decode``.

    Raises:
        JobError: INTERNAL: the file could not be opened again.
        Cancelled: ``cancelled`` said so.
    """
    if decoded.info.kind is not MediaKind.VIDEO or not decoded.info.sound_track:
        return decoded, None
    if request.audio is None:
        return decoded, None
    asked = replace(request, image=None, video=None, sound_only=True)
    try:
        sound = decoder.decode(asked, on_progress=on_progress, cancelled=cancelled)
    except JobError as exc:
        if exc.code is ErrorCode.INTERNAL:
            raise
        told = _warned(decoded, (f"the sound track was not judged: {exc.message}",))
        return replace(told, info=replace(told.info, provisional=exc.code in _OF_THE_MOMENT)), None
    return _warned(_heard(decoded, sound), tuple(_faults(sound))), sound


def counts(card: DetectorCard, verdict: Verdict) -> bool:
    """Return whether what a detector finds in the sound has a say in the verdict over a video.

    Scores can only be compared if they are probabilities. A demo model raises false alarms: it
    has a say only where it finds a forgery at a score from which it was measured to be sure.

    Args:
        card: The detector's card.
        verdict: Its own, over the sound.
    """
    if not card.calibrated:
        return False
    return card.grade != "demo" or (card.thresholds is not None and verdict.finding == "fake")


def _heard(decoded: DecodedMedia, sound: DecodedMedia) -> DecodedMedia:
    """Pictures that say which track of sound was analysed beside them."""
    pairs = zip(decoded.info.streams, sound.info.streams, strict=False)
    streams = tuple(replace(a, analysed=a.analysed or b.analysed) for a, b in pairs)
    return replace(decoded, info=replace(decoded.info, streams=streams))


def _warned(decoded: DecodedMedia, warnings: tuple[str, ...]) -> DecodedMedia:
    if not warnings:
        return decoded
    info = replace(decoded.info, warnings=(*decoded.info.warnings, *warnings))
    return replace(decoded, info=info)


def _faults(sound: DecodedMedia) -> list[str]:
    found = [f"sound track: {warning}" for warning in sound.info.warnings]
    if sound.info.truncated:
        found.append("the sound track ends early")
    return found
