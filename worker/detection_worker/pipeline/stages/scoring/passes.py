"""Forward passes under way: gathered by one thread, waited for by another."""

import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from detection_worker.detectors.base import DevicePasses, GatheredUnits, PendingLogits, Units
from detection_worker.pipeline.files.handovers import T
from detection_worker.pipeline.stages.scoring.in_work import ScoringBatch

R = TypeVar("R")


@dataclass(frozen=True, slots=True, eq=False)
class Gathered(Generic[T]):
    """A batch whose units are in a buffer of the device; ``units`` may say why they are not."""

    batch: ScoringBatch[T]
    units: Future[GatheredUnits]


@dataclass(frozen=True, slots=True, eq=False)
class Ended(Generic[T]):
    """A batch whose pass has ended, and the device's time; ``logits`` may say why it failed."""

    batch: ScoringBatch[T]
    logits: Future[NDArray[np.float32]]
    seconds: float


class PassesUnderWay(Generic[T]):
    """Batches from their start to their logits. One thread calls it.

    Args:
        tell: Called from other threads with each step that is done.
        clock_s: Monotonic.
    """

    def __init__(
        self,
        tell: Callable[[Gathered[T] | Ended[T]], None],
        *,
        clock_s: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._tell = tell
        self._clock_s = clock_s
        self._gatherer = _Thread("gather")
        self._waiter = _Thread("results")
        self._count = 0
        self._at_once = 1
        self._ended_s = 0.0

    def __len__(self) -> int:
        """Batches that were started and have not been ended."""
        return self._count

    @property
    def full(self) -> bool:
        """The device has as much before it as it can make use of."""
        return self._count >= self._at_once

    def start(self, batch: ScoringBatch[T], parts: list[Units], passes: DevicePasses) -> None:
        """Gather a batch's units; ``Gathered`` is told."""
        self._count += 1
        self._at_once = passes.at_once

        def gather() -> None:
            self._tell(Gathered(batch, _outcome(lambda: passes.gather(parts))))

        self._gatherer.do(gather)

    def wait_for(self, batch: ScoringBatch[T], pending: PendingLogits) -> None:
        """Wait for a pass that was submitted; ``Ended`` is told."""
        submitted_s = self._clock_s()

        def wait() -> None:
            logits = _outcome(pending.result)
            # A pass that waited behind another one took no time of the device before.
            began_s, self._ended_s = max(submitted_s, self._ended_s), self._clock_s()
            self._tell(Ended(batch, logits, self._ended_s - began_s))

        self._waiter.do(wait)

    def fail(self, batch: ScoringBatch[T], error: Exception) -> None:
        """Tell ``Ended`` of a batch whose pass could not be started."""
        logits: Future[NDArray[np.float32]] = Future()
        logits.set_exception(error)
        self._tell(Ended(batch, logits, 0.0))

    def end(self) -> None:
        """Note that one batch is done with."""
        self._count -= 1

    def close(self) -> None:
        """Stop the threads, after what they have."""
        self._gatherer.close()
        self._waiter.close()


def _outcome(work: Callable[[], R]) -> Future[R]:
    """Do something now; a thread that can try again gets the outcome, or raises the error."""
    done: Future[R] = Future()
    try:
        done.set_result(work())
    except Exception as exc:  # noqa: BLE001 - torch raises whatever
        done.set_exception(exc)
    return done


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
