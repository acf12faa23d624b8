"""Files whose units are being scored, and the batches that they share."""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Generic, cast

import numpy as np
from numpy.typing import NDArray

from detection_contract.error_codes import ErrorCode
from detection_worker.core.batching import Slice
from detection_worker.core.messages.outcome import Failure
from detection_worker.detectors.base import Detector, ScoredTrack, Units
from detection_worker.media.values import DecodedMedia
from detection_worker.pipeline.files.handovers import DecodedTrack, Scored, T, Unscored
from detection_worker.pipeline.messages.log import log_outcome


@dataclass(slots=True, eq=False)
class TrackInWork:
    """A track whose units are being scored: ``filled`` of its ``logits`` are there."""

    media: DecodedMedia
    detector: Detector
    logits: NDArray[np.float32]
    filled: int = 0

    def scored(self) -> ScoredTrack:
        """Return the track once all its logits are there."""
        return ScoredTrack(decoded=self.media, logits=self.logits, card=self.detector.card)


@dataclass(slots=True, eq=False)
class FileInWork(Generic[T]):
    """A file on the device's thread, which alone changes it.

    Attributes:
        ticket: What it is scored for.
        waiting: Tracks whose turn has not come.
        scored: Tracks that are done.
        seconds: Its share of the device's time so far.
        failure: Why it failed, once it has.
    """

    ticket: T
    waiting: list[DecodedTrack]
    scored: list[ScoredTrack] = field(default_factory=list)
    seconds: float = 0.0
    failure: Failure | None = None

    @property
    def wanted(self) -> bool:
        """It has not failed, and its result is still wanted."""
        return self.failure is None and not self.ticket.cancelled

    def outcome(self) -> Scored[T] | Unscored | None:
        """Return how it ends; None if its result is no longer wanted."""
        if self.ticket.cancelled:
            return None
        if self.failure is not None:
            return Unscored(failure=self.failure, seconds=self.seconds)
        main, *sound = self.scored
        return Scored(
            ticket=self.ticket,
            main=main,
            sound=sound[0] if sound else None,
            seconds=self.seconds,
        )


@dataclass(slots=True, eq=False)
class Turn(Generic[T]):
    """One track of one file in the batcher."""

    file: FileInWork[T]
    track: TrackInWork


class ScoringBatch(Generic[T]):
    """Units of one forward pass.

    Args:
        slices: Whose they are, in order; those of files that are no longer wanted are left out
            of the pass.

    Attributes:
        began_ns: When it was made, Unix nanoseconds.
    """

    def __init__(self, slices: Sequence[Slice[Turn[T]]]) -> None:
        self.slices = slices
        self.began_ns = time.time_ns()
        self.live = [s for s in slices if s.job.file.wanted]

    @property
    def detector(self) -> Detector:
        """The one that scores them."""
        return self.slices[0].job.track.detector

    def __len__(self) -> int:
        """Units of the pass."""
        return sum(s.stop - s.start for s in self.live)

    def share_time(self, seconds: float) -> None:
        """Divide the pass's time among the files, by their units."""
        total = len(self)
        for s in self.live:
            s.job.file.seconds += seconds * (s.stop - s.start) / total


def parts_of(slices: Sequence[Slice[Turn[T]]]) -> list[Units]:
    """Return the units of slices; all have one shape and type."""
    return [s.job.track.media.units[s.start : s.stop] for s in slices]


def joined(parts: Sequence[Units]) -> Units:
    """Return the units of several slices one after the other."""
    # All parts of one lane have one dtype; the type checker cannot know.
    return cast("Units", np.concatenate(parts))


def spread_logits(logits: NDArray[np.float32], slices: Sequence[Slice[Turn[T]]]) -> None:
    """Give each track its logits.

    Raises:
        ValueError: One of them is not finite.
    """
    at = 0
    for s in slices:
        part = logits[at : at + s.stop - s.start]
        at += len(part)
        if not np.isfinite(part).all():
            raise ValueError("the detector gave a score that is not finite")
        s.job.track.logits[s.start : s.stop] = part


def blame(file: FileInWork[T], exc: Exception) -> None:
    """Let a file fail because of what its own units raised."""
    log_outcome(
        f"inference failed for {file.ticket.request_id}: {exc}",
        action="inference",
        about=file.ticket,
        level=logging.WARNING,
        code=ErrorCode.INFERENCE_FAILED.value,
    )
    file.failure = Failure(
        code=ErrorCode.INFERENCE_FAILED, message=f"the detector failed: {type(exc).__name__}"
    )
