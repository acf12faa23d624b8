"""The inference stage: one thread owns the device and scores units of many files together."""

import logging
import math
import threading
import time
from collections.abc import Callable
from typing import Generic

import numpy as np

from detection_contract.error_codes import ErrorCode
from detection_tracing.port import Tracing
from detection_worker.core.batch_size import CPU_UNITS
from detection_worker.core.batching import Batcher
from detection_worker.core.messages.outcome import Failure
from detection_worker.detectors.base import Detector, DeviceLost, FindsUnits, passes_of
from detection_worker.errors import Cancelled
from detection_worker.pipeline.files.analysis import units_of
from detection_worker.pipeline.files.handovers import Decoded, DecodedTrack, Scored, T, Unscored
from detection_worker.pipeline.stages.scoring.blocking import BlockingPasses
from detection_worker.pipeline.stages.scoring.in_work import (
    FileInWork,
    ScoringBatch,
    TrackInWork,
    Turn,
    blame,
    parts_of,
    spread_logits,
)
from detection_worker.pipeline.stages.scoring.mailbox import Mailbox
from detection_worker.pipeline.stages.scoring.passes import (
    Close,
    Ended,
    Gathered,
    GotAhead,
    News,
    Outcome,
    PassesUnderWay,
    Searched,
)
from detection_worker.pipeline.stages.scoring.traces import record_pass

log = logging.getLogger(__name__)

IDLE_S = 0.5
"""How often an idle thread shows that it is alive."""
WAITING_BYTES = 256 << 20
"""Five videos as whole frames."""
SEARCHES = 2
"""Files that are searched for faces, or wait for it, at once: their frames are large."""


class InferenceStage(Generic[T]):
    """A thread that batches units across files.

    A detector that has passes (``DevicePasses``) works while the thread goes on: the next batch is
    gathered by another thread, results are waited for by a third. Any other detector is called and
    waited for. A batch that fails is halved until the culprit is alone: its neighbours are scored.

    Args:
        max_units: Most units in one forward pass; 0 leaves it to the device: 32 on a CPU, on a GPU
            what its measured times ask for.
        max_wait_s: How long an idle device waits for units that are being decoded.
        more_coming: Says whether something is being decoded.
        on_scored: Called for each file with its scores, with why it failed, or with None if its
            result is no longer wanted. Quick: it runs on the device's thread.
        on_progress: Called for each file that got ahead.
        on_batch: Called with the number of units in each forward pass.
        capacity: Files that may wait; 0 for any number.
        capacity_bytes: What their units may take together; a single file may take more. Whole
            frames, for a detector that looks at faces, are tens of megabytes a video.
        tracing: Records forward passes of files that belong to traces; None records nothing.

    Attributes:
        device: Held while a detector works or is given work; detectors are not thread-safe.
        busy: Files on the device.
        alive_s: When the thread last got ahead, monotonic; never again once the device is lost.
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
        tracing: Tracing | None = None,
    ) -> None:
        self._max_units = max_units
        self._batcher: Batcher[int, Turn[T]] = Batcher(
            max_units=max_units or CPU_UNITS, max_wait_s=max_wait_s, limit=self._limit
        )
        self._more_coming = more_coming
        self._on_scored = on_scored
        self._on_progress = on_progress
        self._on_batch = on_batch
        self._tracing = tracing
        self._mail: Mailbox[Decoded[T], News[T]] = Mailbox(
            capacity=capacity, capacity_bytes=capacity_bytes
        )
        self._passes: PassesUnderWay[T] = PassesUnderWay(self._mail.tell)
        self._aside: dict[Detector, bool] = {}
        self._closing = False
        self._lost: Failure | None = None
        self.device = threading.Lock()
        self._blocking: BlockingPasses[T] = BlockingPasses(self.device, on_batch)
        self.busy = 0
        self.alive_s = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="inference", daemon=True)
        self._thread.start()

    def __repr__(self) -> str:
        return f"<InferenceStage busy={self.busy} waiting={self.waiting} {self._batcher!r}>"

    def put(self, decoded: Decoded[T]) -> None:
        """Score a decoded file; blocks while too many or too large ones wait."""
        self._mail.put(decoded, size=decoded.size_bytes)

    @property
    def waiting(self) -> int:
        """Files that wait in front of the batcher."""
        return self._mail.waiting

    def close(self, *, timeout_s: float | None = None) -> bool:
        """Score what waits, then stop.

        Args:
            timeout_s: A pass that takes longer is left behind; None waits for it.

        Returns:
            False if a pass was left behind.
        """
        self._mail.tell(Close())
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    # -- the thread ----------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._closing or self._mail.waiting or len(self._batcher) or len(self._passes):
            if not len(self._passes):
                # A device that hangs has a pass under way, and no news of it.
                self._show_life()
            try:
                self._collect()
                self._start_batch()
            except Exception:
                # A bug here must not end the only thread that scores; the visibility extender
                # stops messages that make no progress.
                log.exception("the inference stage failed")
        self._passes.close()

    def _show_life(self) -> None:
        if self._lost is None:
            self.alive_s = time.monotonic()

    def _collect(self) -> None:
        """Take what came until it is worth starting a forward pass."""
        pause_s = self._first_pause_s()
        while (item := self._mail.take(timeout_s=pause_s, files=self._hungry)) is not None:
            if isinstance(item, Decoded):
                file = FileInWork(ticket=item.ticket, waiting=[*item.tracks], failure=self._lost)
                self._next_track(file)
            else:
                self._hear(item)
            # Frames can be large, and those that a detector searched for faces are done with.
            del item
            pause_s = IDLE_S if self._passes.full else self._wait_s()

    def _hear(self, news: News[T]) -> None:
        if isinstance(news, Gathered):
            self._submit(news)
        elif isinstance(news, Ended):
            self._end(news)
        elif isinstance(news, Searched):
            self._passes.end_search()
            self._show_life()
            self._take_units(news)
        elif isinstance(news, GotAhead):
            self._show_life()
            self._on_progress(news.ticket)
        else:
            self._closing = True

    @property
    def _hungry(self) -> bool:
        """Files are wanted: the next batch is not there yet, or can be started."""
        if self._passes.searching >= SEARCHES:
            return False
        return not self._passes.full or len(self._batcher) < self._batcher.max_units

    def _first_pause_s(self) -> float:
        if self._passes.full or not (len(self._batcher) or self._closing):
            return IDLE_S
        # Under a pass there is time to wait for a full batch.
        return self._wait_s() if len(self._passes) else 0.0

    def _wait_s(self) -> float:
        if not len(self._batcher) and len(self._passes):
            return IDLE_S
        more_coming = self._more_coming() and not self._closing
        return self._batcher.wait_s(now_s=time.monotonic(), more_coming=more_coming)

    def _next_track(self, file: FileInWork[T]) -> None:
        """Find the units of the next track, or end the file."""
        if not (file.wanted and file.waiting):
            self._on_scored(file.ticket, file.outcome())
            return
        track = file.waiting.pop(0)
        self.busy += 1
        if self._searches_aside(track.detector):
            self._passes.search(file, track)
        else:
            self._take_units(self._searched_here(file, track))

    def _searches_aside(self, detector: Detector) -> bool:
        """Return whether this thread need not wait while a detector searches."""
        if detector not in self._aside:
            has_passes = passes_of(detector) is not None
            self._aside[detector] = has_passes and isinstance(detector, FindsUnits)
        return self._aside[detector]

    def _searched_here(self, file: FileInWork[T], track: DecodedTrack) -> Searched[T]:
        began_s = time.perf_counter()
        with self.device:
            media = Outcome(
                lambda: units_of(
                    track.detector, track.media, on_progress=lambda: self._got_ahead(file.ticket)
                )
            )
        return Searched(file, track, media, time.perf_counter() - began_s)

    def _got_ahead(self, ticket: T) -> None:
        self._show_life()
        if ticket.cancelled:
            raise Cancelled
        self._on_progress(ticket)

    def _take_units(self, searched: Searched[T]) -> None:
        """Queue the units of a track; if there are none, go on with the next."""
        file, detector = searched.file, searched.track.detector
        self.busy -= 1
        file.seconds += searched.seconds
        try:
            media = searched.media.result()
        except Cancelled:
            pass
        except DeviceLost as exc:
            file.failure = self._lose(exc)
        except Exception as exc:  # noqa: BLE001 - torch raises whatever; only this file fails
            blame(file, exc)
        else:
            units = len(media.units)
            work = TrackInWork(media=media, detector=detector, logits=np.empty(units, np.float32))
            if units:
                turn = Turn(file=file, track=work)
                self._batcher.add(id(detector), turn, units=units, now_s=time.monotonic())
                return
            file.scored.append(work.scored())
        self._next_track(file)

    def _limit(self, turn: Turn[T]) -> int | None:
        passes = passes_of(turn.track.detector)
        if passes is None:
            return None
        return min(self._max_units or passes.batch_units, passes.batch_units)

    # -- batches -------------------------------------------------------------------------------

    def _start_batch(self) -> None:
        taken = None if self._passes.full else self._batcher.take()
        if taken is None:
            return
        batch = ScoringBatch(taken[1])
        passes = passes_of(batch.detector)
        self.busy += len(batch.live)
        if not batch.live or self._lost is not None:
            self._conclude(batch)
        elif passes is None:
            self._score_here(batch)
            self._conclude(batch)
        else:
            self._on_batch(len(batch))
            self._passes.start(batch, parts_of(batch.live), passes)

    def _submit(self, gathered: Gathered[T]) -> None:
        """Start the pass of a batch whose units lie ready."""
        try:
            with self.device:
                pending = gathered.units.result().submit()
        except Exception as exc:  # noqa: BLE001 - torch raises whatever; the batch is tried again
            self._passes.fail(gathered.batch, exc)
        else:
            self._passes.wait_for(gathered.batch, pending)

    def _end(self, ended: Ended[T]) -> None:
        """Take the logits of a pass; without them, score its units again, in parts if need be."""
        self._passes.end()
        self._show_life()
        batch = ended.batch
        batch.share_time(ended.seconds)
        try:
            spread_logits(ended.logits.result(), batch.live)
        except DeviceLost as exc:
            self._lose(exc)
        except Exception as exc:  # noqa: BLE001 - torch raises whatever; the culprit is isolated
            log.info("a forward pass of %d units failed: %s", len(batch), exc)
            self._score_here(batch)
        self._conclude(batch)

    def _conclude(self, batch: ScoringBatch[T]) -> None:
        """Let the files of a batch go on; those of a lost device end."""
        self.busy -= len(batch.live)
        if self._tracing is not None:
            record_pass(self._tracing, batch)
        for s in batch.slices:
            file, track = s.job.file, s.job.track
            file.failure = file.failure or self._lost
            track.filled += s.stop - s.start
            if track.filled == len(track.logits):
                file.scored.append(track.scored())
                self._next_track(file)
            else:
                self._on_progress(file.ticket)

    def _score_here(self, batch: ScoringBatch[T]) -> None:
        """Score a batch while this thread waits."""
        started = time.perf_counter()
        try:
            self._blocking.score(batch.live)
        except DeviceLost as exc:
            self._lose(exc)
        batch.share_time(time.perf_counter() - started)

    def _lose(self, exc: DeviceLost) -> Failure:
        """Note that the device is gone: no file is to blame, and a new process is needed."""
        if self._lost is None:
            log.critical("the device is lost, this process has to be started again: %s", exc)
            self._lost = Failure(
                code=ErrorCode.INFERENCE_FAILED, message="the device is lost", environment=True
            )
            self.alive_s = -math.inf
        return self._lost
