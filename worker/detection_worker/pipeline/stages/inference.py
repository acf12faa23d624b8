"""The inference stage: one thread owns the device and scores units of many messages together."""

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from detection_contract.error_codes import ErrorCode
from detection_worker.core.batching import Batcher, Slice
from detection_worker.core.messages.outcome import Failure
from detection_worker.detectors.base import Detector
from detection_worker.errors import Cancelled
from detection_worker.media.values import DecodedMedia
from detection_worker.pipeline.files.analysis import units_of
from detection_worker.pipeline.files.file_job import FileJob

J = TypeVar("J", bound=FileJob)
Units = NDArray[np.uint8] | NDArray[np.float32]

log = logging.getLogger(__name__)

IDLE_S = 0.5
"""How often an idle thread shows that it is alive."""
WAITING_BYTES = 256 << 20
"""Five videos as whole frames."""


class InferenceStage(Generic[J]):
    """A thread that batches units across files.

    A batch that fails is halved until the culprit is alone: its neighbours are scored.

    Args:
        max_units: Most units in one forward pass.
        max_wait_s: How long an idle device waits for units that are being decoded.
        more_coming: Says whether something is being decoded.
        on_scored: Hears of each job whose units are all scored, or whose ``failure`` is set.
        on_progress: Hears of each job that got ahead.
        on_batch: Hears of the number of units in each forward pass.
        capacity: Jobs that may wait.
        capacity_bytes: What their units may take together; a single job may take more. Whole
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
        on_scored: Callable[[J], None],
        on_progress: Callable[[J], None],
        on_batch: Callable[[int], None] = lambda _: None,
        capacity: int,
        capacity_bytes: int = WAITING_BYTES,
    ) -> None:
        self._max_units = max_units
        self._batcher: Batcher[int, J] = Batcher(max_units=max_units, max_wait_s=max_wait_s)
        self._more_coming = more_coming
        self._on_scored = on_scored
        self._on_progress = on_progress
        self._on_batch = on_batch
        self._inbox: queue.Queue[J | None] = queue.Queue(capacity)
        self._capacity_bytes = capacity_bytes
        self._waiting_bytes = 0
        self._room = threading.Condition()
        self._closing = False
        self.device = threading.Lock()
        self.busy = 0
        self.alive_s = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="inference", daemon=True)
        self._thread.start()

    def put(self, job: J) -> None:
        """Score a decoded job; blocks while too many or too large ones wait."""
        size = _bytes(job)
        with self._room:
            self._room.wait_for(
                lambda: (
                    not self._waiting_bytes or self._waiting_bytes + size <= self._capacity_bytes
                )
            )
            self._waiting_bytes += size
        self._inbox.put(job)

    @property
    def waiting(self) -> int:
        """Jobs that wait in front of the batcher."""
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
        """Move jobs to the batcher until it is worth starting a forward pass."""
        pause_s = 0.0 if len(self._batcher) or self._closing else IDLE_S
        while True:
            try:
                job = self._inbox.get(timeout=pause_s) if pause_s > 0 else self._inbox.get_nowait()
            except queue.Empty:
                return
            if job is None:
                self._closing = True
            else:
                self._make_room(job)
                if not self._dropped(job):
                    self._accept(job)
            pause_s = self._batcher.wait_s(
                now_s=time.monotonic(), more_coming=self._more_coming() and not self._closing
            )

    def _make_room(self, job: J) -> None:
        with self._room:
            self._waiting_bytes -= _bytes(job)
            self._room.notify_all()

    def _accept(self, job: J) -> None:
        assert job.decoded is not None  # noqa: S101 - the decode stage sets both
        assert job.detector is not None  # noqa: S101
        units = self._units(job, job.decoded, job.detector)
        if units:
            self._batcher.add(id(job.detector), job, units=units, now_s=time.monotonic())
        else:
            self._scored(job)

    def _scored(self, job: J) -> None:
        """Go on with the sound of a video, or pass the job on."""
        if job.failure is None and not job.cancelled and job.next_track():
            self._accept(job)
        else:
            self._on_scored(job)

    def _units(self, job: J, decoded: DecodedMedia, detector: Detector) -> int:
        """Give a job its units and return how many; none if it failed or is not ours any more."""
        started = time.perf_counter()
        self.busy = 1
        try:
            with self.device:
                decoded = units_of(detector, decoded, on_progress=lambda: self._searched(job))
        except Cancelled:
            return 0
        except Exception as exc:  # noqa: BLE001 - torch raises whatever; only this job fails
            self._blame(job, exc)
            return 0
        finally:
            self.busy = 0
        seconds = time.perf_counter() - started
        job.timings_s["inference"] = job.timings_s.get("inference", 0.0) + seconds
        job.decoded = decoded
        job.logits = np.empty(len(decoded.units), dtype=np.float32)
        return len(decoded.units)

    def _searched(self, job: J) -> None:
        self.alive_s = time.monotonic()
        job.check()
        self._on_progress(job)

    def _dropped(self, job: J) -> bool:
        if job.cancelled:
            self._on_scored(job)
        return job.cancelled

    def _score_batch(self, slices: Sequence[Slice[J]]) -> None:
        live = [s for s in slices if not s.job.cancelled and s.job.failure is None]
        self.busy = len(live)
        if live:
            started = time.perf_counter()
            self._score_or_split(live)
            self._share_time(live, time.perf_counter() - started)
        self.busy = 0
        for s in slices:
            s.job.scored += s.stop - s.start
            if s.job.logits is not None and s.job.scored == len(s.job.logits):
                self._scored(s.job)
            else:
                self._on_progress(s.job)

    def _score_or_split(self, slices: Sequence[Slice[J]]) -> None:
        try:
            self._score(slices)
        except Exception as exc:  # noqa: BLE001 - torch raises whatever; the culprit is isolated
            if len(slices) == 1:
                self._blame(slices[0].job, exc)
                return
            middle = len(slices) // 2
            self._score_or_split(slices[:middle])
            self._score_or_split(slices[middle:])

    def _score(self, slices: Sequence[Slice[J]]) -> None:
        detector = slices[0].job.detector
        assert detector is not None  # noqa: S101 - checked in _accept
        parts = [_units(s) for s in slices]
        logits = self._forward(detector, parts[0] if len(parts) == 1 else _joined(parts))
        at = 0
        for s in slices:
            count = s.stop - s.start
            part = logits[at : at + count]
            at += count
            if not np.isfinite(part).all():
                raise ValueError("the detector gave a score that is not finite")
            assert s.job.logits is not None  # noqa: S101 - made in _accept
            s.job.logits[s.start : s.stop] = part

    def _forward(self, detector: Detector, units: Units) -> NDArray[np.float32]:
        self._on_batch(len(units))
        with self.device:
            return detector.logits(units)

    @staticmethod
    def _share_time(slices: Sequence[Slice[J]], seconds: float) -> None:
        total = sum(s.stop - s.start for s in slices)
        for s in slices:
            share = seconds * (s.stop - s.start) / total
            s.job.timings_s["inference"] = s.job.timings_s.get("inference", 0.0) + share

    @staticmethod
    def _blame(job: FileJob, exc: Exception) -> None:
        log.warning("inference failed for %s: %s", job.request_id, exc)
        job.failure = Failure(
            code=ErrorCode.INFERENCE_FAILED, message=f"the detector failed: {type(exc).__name__}"
        )


def _bytes(job: FileJob) -> int:
    assert job.decoded is not None  # noqa: S101 - kept until the job is scored
    sound_bytes = 0 if job.sound is None else job.sound.units.nbytes
    return job.decoded.units.nbytes + sound_bytes


def _units(s: Slice[J]) -> Units:
    assert s.job.decoded is not None  # noqa: S101 - kept until the job is scored
    return s.job.decoded.units[s.start : s.stop]


def _joined(parts: Sequence[Units]) -> Units:
    # All parts of one lane have one dtype; the type checker cannot know.
    return cast("Units", np.concatenate(parts))
