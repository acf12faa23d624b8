"""From a feeder's decoded file to what is sent of it, and from the answer to its scores."""

from dataclasses import replace

import numpy as np

from detection_worker.detectors.base import ScoredTrack
from detection_worker.pipeline.device.cards import RemoteDetector
from detection_worker.pipeline.device.memory import place_of
from detection_worker.pipeline.device.wire import (
    BadPacket,
    Says,
    TrackScores,
    UnitsAt,
    parse_failure,
    parse_scores,
)
from detection_worker.pipeline.files.handovers import Decoded, DecodedTrack, Scored, T, Unscored


def units_at(track: DecodedTrack, fds: list[int]) -> UnitsAt:
    """Return where the units of a track lie.

    Args:
        track: Its units lie in shared memory.
        fds: The descriptor of a block of its own is added here.
    """
    media = track.media
    place = place_of(media.units)
    assert place is not None  # noqa: S101 - it was put into shared memory
    if place.fd is not None:
        fds.append(place.fd)
    detector = track.detector
    searched = isinstance(detector, RemoteDetector) and detector.finds_units
    return UnitsAt(
        kind=media.info.kind,
        own=place.fd is not None,
        offset=place.offset,
        shape=media.units.shape,
        size_px=(media.info.width or 0, media.info.height or 0),
        boxes=media.boxes if searched else np.empty((0, 4), np.int32),
    )


def outcome_of(says: Says, body: bytes, decoded: Decoded[T]) -> Scored[T] | Unscored | None:
    """Return how a file ends.

    Args:
        says: What the answer is about.
        body: All parts of it.
        decoded: As it was sent.

    Raises:
        BadPacket: It is no answer, or to another file.
    """
    if says is Says.DROPPED:
        return None
    if says is Says.FAILED:
        failure, seconds = parse_failure(body)
        return Unscored(failure=failure, seconds=seconds)
    if says is not Says.SCORED:
        raise BadPacket(f"it may not say {says.name}")
    scores = parse_scores(body)
    if len(scores.tracks) != len(decoded.tracks):
        raise BadPacket("scores of other tracks")
    main, *sound = [
        _scored(track, found) for track, found in zip(decoded.tracks, scores.tracks, strict=True)
    ]
    return Scored(
        ticket=decoded.ticket,
        main=main,
        sound=sound[0] if sound else None,
        seconds=scores.seconds,
    )


def _scored(track: DecodedTrack, scores: TrackScores) -> ScoredTrack:
    media, card, found = track.media, track.detector.card, scores.found
    if found is None and len(scores.logits) != len(media.units):
        raise BadPacket("scores of other units")
    # Speech is listened for later; of pictures nobody needs the pixels any more.
    if found is not None or not card.listens:
        units = np.empty((len(scores.logits), 0), np.uint8)
        if found is None:
            media = replace(media, units=units)
        else:
            media = replace(
                media, units=units, frame=found.frame, boxes=found.boxes, faces=found.faces
            )
    return ScoredTrack(decoded=media, logits=scores.logits, card=card)
