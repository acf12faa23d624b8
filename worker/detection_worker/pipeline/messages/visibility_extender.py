"""Extends the visibility of messages in work, drops lost ones, stops work that hangs."""

import logging
import threading
import time
from collections.abc import Callable, Sequence

from detection_worker.core.messages.leases import Extension
from detection_worker.core.messages.states import Event
from detection_worker.metrics import Metrics
from detection_worker.pipeline.messages.in_flight import InFlight
from detection_worker.pipeline.messages.jobs import Message
from detection_worker.pipeline.messages.log import log_outcome
from detection_worker.pipeline.messages.traces import end_lost
from detection_worker.sources.base import MessageSource, QueueError, VisibilityChange

BATCH = 10
"""Most entries of one SQS batch call."""

log = logging.getLogger(__name__)


class VisibilityExtender:
    """Looks at every lease once in ``tick_s``, from a thread of its own.

    Args:
        source: The queue.
        in_flight: What is leased.
        metrics: Counts extensions and losses.
        tick_s: Pause between two looks.
        stall_s: Seconds without a sign of life after which work is stopped.
        on_stall: Called with each message that hangs.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        source: MessageSource,
        in_flight: InFlight,
        metrics: Metrics,
        *,
        tick_s: float,
        stall_s: float,
        on_stall: Callable[[Message], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source = source
        self._in_flight = in_flight
        self._metrics = metrics
        self._tick_s = tick_s
        self._stall_s = stall_s
        self._on_stall = on_stall
        self._clock = clock
        self._stop = threading.Event()
        self.ticked_s = clock()
        self._thread = threading.Thread(target=self._run, name="leases", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def close(self) -> None:
        """Stop; leases run out by themselves."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(self._tick_s):
            try:
                self.tick()
            except Exception:
                log.exception("extending visibility failed")
            self.ticked_s = self._clock()

    def tick(self) -> None:
        """Look once."""
        due = self._in_flight.due(stall_s=self._stall_s)
        for start in range(0, len(due), BATCH):
            self._extend(due[start : start + BATCH])
        # After the extensions: SQS renews a lease that ran out unless another worker has it.
        overdue = self._in_flight.overdue(stall_s=self._stall_s)
        for message in overdue.expired:
            self._lose(message)
        for message in overdue.stalled:
            self._on_stall(message)

    def _extend(self, batch: Sequence[Extension]) -> None:
        before_s = self._clock()
        changes = [
            VisibilityChange(
                message_id=e.message_id, receipt_handle=e.receipt_handle, seconds=e.seconds
            )
            for e in batch
        ]
        try:
            failures = self._source.change_visibility(changes)
        except QueueError as exc:
            # The next tick tries again; leases are renewed early enough for several failures.
            self._metrics.sqs_requests.labels("ChangeMessageVisibilityBatch", "error").inc()
            log.warning(
                "could not extend %d lease(s): %s",
                len(batch),
                exc,
                extra={"message_ids": [e.message_id for e in batch]},
            )
            return
        self._metrics.sqs_requests.labels("ChangeMessageVisibilityBatch", "ok").inc()
        failed = {f.message_id for f in failures}
        refused = {f.message_id for f in failures if f.lost}
        lost = self._in_flight.extended(
            [e for e in batch if e.message_id not in failed],
            [e for e in batch if e.message_id in refused],
            now_s=before_s,
        )
        for message in lost:
            self._lose(message)

    def _lose(self, message: Message) -> None:
        message.cancel.set()
        if self._in_flight.move(message, Event.LEASE_LOST) is None:
            return
        self._metrics.leases_lost.inc()
        log_outcome(
            f"lost the lease on message {message.message_id}: its work is dropped",
            action="lost",
            about=message,
            level=logging.WARNING,
        )
        end_lost(message)
