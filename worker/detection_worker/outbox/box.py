"""Puts callbacks that failed for now on the outbox queue."""

import random
import time
from collections.abc import Callable

from detection_contract.error_codes import ErrorCode
from detection_worker.core.outbox.fate import Course
from detection_worker.core.outbox.schedule import hop_s, pause_s
from detection_worker.errors import JobError
from detection_worker.metrics import OutboxMetrics
from detection_worker.outbox.base import PendingCallback
from detection_worker.outbox.entry import encode, entry_of
from detection_worker.outbox.queue import OutboxQueue, Outgoing


class SqsOutbox:
    """The outbox as the pipeline sees it; thread-safe.

    Args:
        queue: Where entries go.
        metrics: Counts them.
        wall_clock: Returns Unix seconds.
        random01: Returns a uniform random number in [0, 1).
    """

    def __init__(
        self,
        queue: OutboxQueue,
        metrics: OutboxMetrics,
        *,
        wall_clock: Callable[[], float] = time.time,
        random01: Callable[[], float] = random.random,
    ) -> None:
        self._queue = queue
        self._metrics = metrics
        self._wall_clock = wall_clock
        self._random01 = random01

    def put(self, callback: PendingCallback) -> None:
        """Keep a callback until it is delivered; see ``Outbox.put``."""
        try:
            outgoing = self._outgoing(callback)
        except UnicodeDecodeError as exc:
            raise self._not_taken(callback, "its result is not UTF-8") from exc
        (failure,) = self._queue.send([outgoing])
        if failure is not None:
            raise self._not_taken(callback, str(failure)) from failure
        self._metrics.entries.labels("queued").inc()

    def _outgoing(self, callback: PendingCallback) -> Outgoing:
        now_s = self._wall_clock()
        wait_s = pause_s(0, retry_after_s=callback.retry_after_s, random01=self._random01())
        not_before_s = now_s + (wait_s or 0.0)
        entry = entry_of(callback, course=Course(first_tried_s=now_s), not_before_s=not_before_s)
        return Outgoing(body=encode(entry), delay_s=hop_s(not_before_s, now_s=now_s) or 0)

    def _not_taken(self, callback: PendingCallback, why: str) -> JobError:
        self._metrics.entries.labels("refused").inc()
        return JobError(
            ErrorCode.CALLBACK_UNREACHABLE,
            f"{callback.reason}; the outbox did not take it: {why}",
            retry_after_s=callback.retry_after_s,
        )
