"""Extends the visibility of messages in work, drops lost ones, stops work that hangs."""

import logging
import threading
import time
from collections.abc import Callable, Sequence

from detection_worker.core.messages.leases import Extension
from detection_worker.metrics import Metrics
from detection_worker.pipeline.messages.in_flight import InFlight
from detection_worker.pipeline.messages.jobs import Message
from detection_worker.sources.base import MessageSource, QueueError, VisibilityChange

BATCH = 10
"""Most entries of one SQS batch call."""

log = logging.getLogger(__name__)


class VisibilityExtender:
    """A thread that looks at every lease once in ``tick_s``.

    Args:
        source: The queue.
        in_flight: What is held.
        metrics: Counts extensions and losses.
        tick_s: Pause between two looks.
        stall_s: Work without a sign of life for so long is stopped.
        on_stall: Told which message hangs; ends it.
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
    ) -> None:
        self._source = source
        self._in_flight = in_flight
        self._metrics = metrics
        self._tick_s = tick_s
        self._stall_s = stall_s
        self._on_stall = on_stall
        self._stop = threading.Event()
        self.ticked_s = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="leases", daemon=True)
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
                log.exception("keeping leases failed")
            self.ticked_s = time.monotonic()

    def tick(self) -> None:
        """Look once."""
        due = self._in_flight.due(stall_s=self._stall_s)
        for start in range(0, len(due), BATCH):
            self._extend(due[start : start + BATCH])
        for message in self._in_flight.expired():
            self._lose(message)
        for message in self._in_flight.stalled(stall_s=self._stall_s):
            self._on_stall(message)

    def _extend(self, batch: Sequence[Extension]) -> None:
        before_s = time.monotonic()
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
            log.warning("could not extend %d lease(s): %s", len(batch), exc)
            return
        self._metrics.sqs_requests.labels("ChangeMessageVisibilityBatch", "ok").inc()
        failed = {f.message_id: f for f in failures}
        self._in_flight.extended([e for e in batch if e.message_id not in failed], now_s=before_s)
        for extension in batch:
            failure = failed.get(extension.message_id)
            if failure is not None and failure.lost:
                self._refused(extension)

    def _refused(self, extension: Extension) -> None:
        message = self._in_flight.find(extension.message_id)
        # A newer handle may have arrived, or the message's end may have been decided, while the
        # call was under way; only the refusal of the newest handle of open work is a loss.
        handle = self._in_flight.open_handle(extension.message_id)
        if message and handle == extension.receipt_handle:
            self._lose(message)

    def _lose(self, message: Message) -> None:
        log.warning("lost the lease on message %s: its work is dropped", message.message_id)
        self._metrics.leases_lost.inc()
        message.cancel.set()
        self._in_flight.drop(message)
