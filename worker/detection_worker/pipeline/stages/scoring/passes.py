"""Work of a device under way: units are searched for, gathered and waited for by other threads."""

import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from detection_worker.detectors.base import DevicePasses, GatheredUnits, PendingLogits, Units
from detection_worker.errors import Cancelled
from detection_worker.media.values import DecodedMedia
from detection_worker.pipeline.files.analysis import units_of
from detection_worker.pipeline.files.handovers import DecodedTrack, T
from detection_worker.pipeline.stages.scoring.in_work import FileInWork, ScoringBatch

R = TypeVar("R")


class Outcome(Generic[R]):
    """What work gave, or the error that it raised: for a thread that can try again.

    A ``Future`` without its lock, for one is made for each file.

    Args:
        work: Done now.
    """

    __slots__ = ("_error", "_value")

    def __init__(self, work: Callable[[], R]) -> None:
        self._error: Exception | None = None
        try:
            self._value = work()
        except Exception as exc:  # noqa: BLE001 - torch raises whatever
            self._error = exc

    def result(self) -> R:
        """Return the value, or raise the error."""
        if self._error is not None:
            raise self._error
        return self._value


@dataclass(frozen=True, slots=True, eq=False)
class Gathered(Generic[T]):
    """A batch whose units are in a buffer of the device; ``units`` may say why they are not."""

    batch: ScoringBatch[T]
    units: Outcome[GatheredUnits]


@dataclass(frozen=True, slots=True, eq=False)
class Ended(Generic[T]):
    """A batch whose pass has ended, and the device's time; ``logits`` may say why it failed."""

    batch: ScoringBatch[T]
    logits: Outcome[NDArray[np.float32]]
    seconds: float


@dataclass(frozen=True, slots=True, eq=False)
class Searched(Generic[T]):
    """A track whose units were looked for, and how long; ``media`` may say why there are none."""

    file: FileInWork[T]
    track: DecodedTrack
    media: Outcome[DecodedMedia]
    seconds: float


@dataclass(frozen=True, slots=True, eq=False)
class GotAhead(Generic[T]):
    """A sign of life of the search in a file."""

    ticket: T


@dataclass(frozen=True, slots=True)
class Close:
    """Nothing more will be put in."""


News = Gathered[T] | Ended[T] | Searched[T] | GotAhead[T] | Close


class PassesUnderWay(Generic[T]):
    """Batches from their start to their logits, and searches for units. One thread calls it.

    Args:
        tell: Called from other threads with each step that is done.
        clock_s: Monotonic.
    """

    def __init__(
        self,
        tell: Callable[[News[T]], None],
        *,
        clock_s: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._tell = tell
        self._clock_s = clock_s
        self._gatherer = _Thread("gather")
        self._waiter = _Thread("results")
        self._searcher = _Thread("search")
        self._count = 0
        self._searches = 0
        self._at_once = 1
        self._ended_s = 0.0

    def __len__(self) -> int:
        """Batches and searches that were started and have not been ended."""
        return self._count + self._searches

    @property
    def searching(self) -> int:
        """Searches that were started and have not been ended."""
        return self._searches

    @property
    def full(self) -> bool:
        """The device has as much before it as it can make use of."""
        return self._count >= self._at_once

    def start(self, batch: ScoringBatch[T], parts: list[Units], passes: DevicePasses) -> None:
        """Gather a batch's units; ``Gathered`` is told."""
        self._count += 1
        self._at_once = passes.at_once

        def gather() -> None:
            self._tell(Gathered(batch, Outcome(lambda: passes.gather(parts))))

        self._gatherer.do(gather)

    def search(self, file: FileInWork[T], track: DecodedTrack) -> None:
        """Look for the units of a track; ``Searched`` is told, and ``GotAhead`` on the way."""
        self._searches += 1

        def on_progress() -> None:
            if file.ticket.cancelled:
                raise Cancelled
            self._tell(GotAhead(file.ticket))

        def search() -> None:
            began_s = self._clock_s()
            media = Outcome(lambda: units_of(track.detector, track.media, on_progress=on_progress))
            self._tell(Searched(file, track, media, self._clock_s() - began_s))

        self._searcher.do(search)

    def end_search(self) -> None:
        """Note that one search is done with."""
        self._searches -= 1

    def wait_for(self, batch: ScoringBatch[T], pending: PendingLogits) -> None:
        """Wait for a pass that was submitted; ``Ended`` is told."""
        submitted_s = self._clock_s()

        def wait() -> None:
            logits = Outcome(pending.result)
            # A pass that waited behind another one took no time of the device before.
            began_s, self._ended_s = max(submitted_s, self._ended_s), self._clock_s()
            self._tell(Ended(batch, logits, self._ended_s - began_s))

        self._waiter.do(wait)

    def fail(self, batch: ScoringBatch[T], error: Exception) -> None:
        """Tell ``Ended`` of a batch whose pass could not be started."""

        def failed() -> NDArray[np.float32]:
            raise error

        self._tell(Ended(batch, Outcome(failed), 0.0))

    def end(self) -> None:
        """Note that one batch is done with."""
        self._count -= 1

    def close(self) -> None:
        """Stop the threads, after what they have."""
        for thread in (self._searcher, self._gatherer, self._waiter):
            thread.close()


class _Thread:
    """Does one thing after the other; starts with the first."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._tasks: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def do(self, task: Callable[[], None]) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()
        self._tasks.put(task)

    def close(self) -> None:
        if self._thread is not None:
            self._tasks.put(None)
            self._thread.join()

    def _run(self) -> None:
        while (task := self._tasks.get()) is not None:
            task()
            # It holds units, which can be large, until the next one comes.
            del task
