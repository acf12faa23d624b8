"""The inference stage: one thread owns the device and scores units of many files together."""

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, cast

import numpy as np
from numpy.typing import NDArray

from detection_contract.error_codes import ErrorCode
from detection_worker.core.batching import Batcher, Slice
from detection_worker.core.messages.outcome import Failure
from detection_worker.detectors.base import Detector, ScoredTrack
from detection_worker.errors import Cancelled
from detection_worker.media.values import DecodedMedia
from detection_worker.pipeline.files.analysis import units_of
from detection_worker.pipeline.files.handovers import Decoded, DecodedTrack, Scored, T, Unscored
from detection_worker.pipeline.messages.log import log_outcome

Units = NDArray[np.uint8] | NDArray[np.float32]

log = logging.getLogger(__name__)

IDLE_S = 0.5
"""How often an idle thread shows that it is alive."""
WAITING_BYTES = 256 << 20
"""Five videos as whole frames."""


@dataclass(slots=True, eq=False)
class _TrackInWork:
    """A track whose units are being scored: ``filled`` of its ``logits`` are there."""

    media: DecodedMedia
    detector: Detector
    logits: NDArray[np.float32]
    filled: int = 0


@dataclass(slots=True, eq=False)
class _FileInWork(Generic[T]):
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
class _Turn(Generic[T]):
    """One track of one file in the batcher."""

    file: _FileInWork[T]
    track: _TrackInWork


class InferenceStage(Generic[T]):
    """A thread that batches units across files.

    A batch that fails is halved until the culprit is alone: its neighbours are scored.

    Args:
        max_units: Most units in one forward pass.
        max_wait_s: How long an idle device waits for units that are being decoded.
        more_coming: Says whether something is being decoded.
        on_scored: Called for each file with its scores, with why it failed, or with None if its
            result is no longer wanted. Quick: it runs on the device's thread.
        on_progress: Called for each file that got ahead.
        on_batch: Called with the number of units in each forward pass.
        capacity: Files that may wait.
        capacity_bytes: What their units may take together; a single file may take more. Whole
            frames, for a detector that looks at faces, are tens of megabytes a video.

    Attributes:
        device: Held while a detector works; detectors are not thread-safe.
    """

    def __init__(
        self,
        *,
        max_units: int,
        max_wait_s: float,
        more_coming: Callable[[], bool],
        on_scored: Callable[[T, Scored[T] | Unscored | None], None],
        on_progress: Callable[[T], None],
        on_batch: Callable[[int], None] = lambda _: None,
        capacity: int,
        capacity_bytes: int = WAITING_BYTES,
    ) -> None:
        self._batcher: Batcher[int, _Turn[T]] = Batcher(max_units=max_units, max_wait_s=max_wait_s)
        self._more_coming = more_coming
        self._on_scored = on_scored
        self._on_progress = on_progress
        self._on_batch = on_batch
        self._inbox: queue.Queue[Decoded[T] | None] = queue.Queue(capacity)
        self._capacity_bytes = capacity_bytes
        self._waiting_bytes = 0
        self._room = threading.Condition()
        self._closing = False
        self.device = threading.Lock()
        self.busy = 0
        self.alive_s = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="inference", daemon=True)
        self._thread.start()

    def __repr__(self) -> str:
        return f"<InferenceStage busy={self.busy} waiting={self.waiting} {self._batcher!r}>"

    def put(self, decoded: Decoded[T]) -> None:
        """Score a decoded file; blocks while too many or too large ones wait."""
        size = decoded.size_bytes
        with self._room:
            self._room.wait_for(
                lambda: (
                    not self._waiting_bytes or self._waiting_bytes + size <= self._capacity_bytes
                )
            )
            self._waiting_bytes += size
        self._inbox.put(decoded)

    @property
    def waiting(self) -> int:
        """Files that wait in front of the batcher."""
        return self._inbox.qsize()

    def close(self) -> None:
        """Score what waits, then stop."""
        self._inbox.put(None)
        self._thread.join()

    def _run(self) -> None:
        while not self._closing or len(self._batcher):
            self.alive_s = time.monotonic()
            try:
                self._collect()
                batch = self._batcher.take()
                if batch is not None:
                    self._score_batch(batch[1])
            except Exception:
                # A bug here must not end the only thread that scores; the visibility extender
                # stops messages that make no progress.
                log.exception("the inference stage failed")

    def _collect(self) -> None:
        """Move files to the batcher until it is worth starting a forward pass."""
        pause_s = 0.0 if len(self._batcher) or self._closing else IDLE_S
        while True:
            try:
                item = (
                    self._inbox.get(timeout=pause_s) if pause_s > 0 else self._inbox.get_nowait()
                )
            except queue.Empty:
                return
            if item is None:
                self._closing = True
            else:
                self._make_room(item)
                self._next_track(_FileInWork(ticket=item.ticket, waiting=[*item.tracks]))
            # Frames can be large, and those that a detector searched for faces are done with.
            item = None
            pause_s = self._batcher.wait_s(
                now_s=time.monotonic(), more_coming=self._more_coming() and not self._closing
            )

    def _make_room(self, decoded: Decoded[T]) -> None:
        with self._room:
            self._waiting_bytes -= decoded.size_bytes
            self._room.notify_all()

    def _next_track(self, file: _FileInWork[T]) -> None:
        """Queue the units of the next track that has any, or end the file."""
        while file.wanted and file.waiting:
            track = self._found(file, file.waiting.pop(0))
            if track is None:
                break
            if len(track.logits):
                turn = _Turn(file=file, track=track)
                units = len(track.logits)
                self._batcher.add(id(track.detector), turn, units=units, now_s=time.monotonic())
                return
            file.scored.append(_scored(track))
        self._on_scored(file.ticket, file.outcome())

    def _found(self, file: _FileInWork[T], track: DecodedTrack) -> _TrackInWork | None:
        """Find the units of a track; None if that failed or is no longer wanted."""
        started = time.perf_counter()
        self.busy = 1
        try:
            with self.device:
                media = units_of(
                    track.detector, track.media, on_progress=lambda: self._searched(file.ticket)
                )
        except Cancelled:
            return None
        except Exception as exc:  # noqa: BLE001 - torch raises whatever; only this file fails
            _blame(file, exc)
            return None
        finally:
            self.busy = 0
            file.seconds += time.perf_counter() - started
        logits = np.empty(len(media.units), dtype=np.float32)
        return _TrackInWork(media=media, detector=track.detector, logits=logits)

    def _searched(self, ticket: T) -> None:
        self.alive_s = time.monotonic()
        if ticket.cancelled:
            raise Cancelled
        self._on_progress(ticket)

    def _score_batch(self, slices: Sequence[Slice[_Turn[T]]]) -> None:
        live = [s for s in slices if s.job.file.wanted]
        self.busy = len(live)
        if live:
            started = time.perf_counter()
            self._score_or_split(live)
            _share_time(live, time.perf_counter() - started)
        self.busy = 0
        for s in slices:
            file, track = s.job.file, s.job.track
            track.filled += s.stop - s.start
            if track.filled == len(track.logits):
                file.scored.append(_scored(track))
                self._next_track(file)
            else:
                self._on_progress(file.ticket)

    def _score_or_split(self, slices: Sequence[Slice[_Turn[T]]]) -> None:
        try:
            self._score(slices)
        except Exception as exc:  # noqa: BLE001 - torch raises whatever; the culprit is isolated
            if len(slices) == 1:
                _blame(slices[0].job.file, exc)
                return
            middle = len(slices) // 2
            self._score_or_split(slices[:middle])
            self._score_or_split(slices[middle:])

    def _score(self, slices: Sequence[Slice[_Turn[T]]]) -> None:
        parts = [s.job.track.media.units[s.start : s.stop] for s in slices]
        units = parts[0] if len(parts) == 1 else _joined(parts)
        self._on_batch(len(units))
        with self.device:
            logits = slices[0].job.track.detector.logits(units)
        at = 0
        for s in slices:
            part = logits[at : at + s.stop - s.start]
            at += len(part)
            if not np.isfinite(part).all():
                raise ValueError("the detector gave a score that is not finite")
            s.job.track.logits[s.start : s.stop] = part


def _scored(track: _TrackInWork) -> ScoredTrack:
    return ScoredTrack(decoded=track.media, logits=track.logits, card=track.detector.card)


def _share_time(slices: Sequence[Slice[_Turn[T]]], seconds: float) -> None:
    total = sum(s.stop - s.start for s in slices)
    for s in slices:
        s.job.file.seconds += seconds * (s.stop - s.start) / total


def _blame(file: _FileInWork[T], exc: Exception) -> None:
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


def _joined(parts: Sequence[Units]) -> Units:
    # All parts of one lane have one dtype; the type checker cannot know.
    return cast("Units", np.concatenate(parts))
