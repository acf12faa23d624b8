"""Messages of the outbox sent on, dead-lettered and deleted.

A message is sent on before it is deleted, so a crash in between gives a second one with the same
webhook-id, never none.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from detection_worker.core.messages.outcome import Failure
from detection_worker.metrics import OutboxMetrics
from detection_worker.outbox.queue import BATCH, OutboxQueue, Outgoing
from detection_worker.outbox.recent import Recent
from detection_worker.sources.base import QueueError, ReceivedMessage

_UNDELIVERED: Final = frozenset({"retried", "deferred", "dead_lettered", "kept"})
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Move:
    """A message that goes back to the queue in another form.

    Attributes:
        message: What is deleted once the other was sent.
        body: The text to send.
        delay_s: Seconds until it is visible.
        result: For the metric.
    """

    message: ReceivedMessage
    body: str
    delay_s: int
    result: str


What = Move | bool
"""What to do with a message: True deletes it, False leaves it."""


class Moves:
    """Carries out what is to be done with messages. Thread-safe.

    Args:
        queue: The outbox.
        metrics: Counts what became of entries.

    Attributes:
        settled: Ids of messages that are not needed any more, whether SQS has deleted them or not.
        all_delivered: No entry that was due has been left undelivered so far.
    """

    def __init__(self, queue: OutboxQueue, metrics: OutboxMetrics) -> None:
        self._queue = queue
        self._metrics = metrics
        self.settled = Recent()
        self.all_delivered = True

    def carry_out(self, found: Sequence[tuple[ReceivedMessage, What]]) -> bool:
        """Send on and delete; return whether no message is needed any more."""
        moves = [what for _, what in found if isinstance(what, Move)]
        sent = self._queue.send([Outgoing(body=m.body, delay_s=m.delay_s) for m in moves])
        done = [message for message, what in found if what is True]
        for move, failure in zip(moves, sent, strict=True):
            if failure is None:
                self.settled.add(move.message.message_id)
                self.count(move.result)
                done.append(move.message)
            else:
                log.warning("entry %s was not sent on: %s", move.message.message_id, failure)
                self._note(move.result)
        for message, error in zip(done, self._queue.delete(done), strict=True):
            self.settled.add(message.message_id)
            if error is not None:
                log.warning("entry %s was not deleted: %s", message.message_id, error)
        return len(done) == len(found)

    def dead_letter(
        self, message: ReceivedMessage, body: str, failure: Failure, *, otherwise: Move
    ) -> What:
        """Copy a message to the dead-letter queue; return what is to be done with it now.

        Args:
            message: What was received.
            body: The text to send.
            failure: The reason.
            otherwise: What is done with it if that queue is absent, gone or denied.
        """
        try:
            url = self._queue.dead_letter_url()
            if url is None:
                log.error("entry %s stays: the outbox has no redrive policy", message.message_id)
                return otherwise
            self._queue.dead_letter(
                message,
                body=body,
                queue_url=url,
                code=failure.code.value,
                reason=failure.message,
            )
        except QueueError as exc:
            log.error("entry %s could not be dead-lettered: %s", message.message_id, exc)  # noqa: TRY400 - no bug
            self.all_delivered = False
            # Where that queue is gone or denied, another attempt a minute helps nobody.
            return otherwise if exc.fatal else False
        self.settled.add(message.message_id)
        self.count("dead_lettered")
        return True

    def give_back(self, messages: Sequence[ReceivedMessage]) -> None:
        """Make a few messages visible at once; if that fails they are when their time ends."""
        if not messages:
            return
        try:
            self._queue.hide(messages[:BATCH], seconds=0)
        except QueueError as exc:
            log.warning("could not give back %d entries: %s", len(messages), exc)

    def count(self, result: str) -> None:
        """Count what became of an entry."""
        self._metrics.entries.labels(result).inc()
        self._note(result)

    def _note(self, result: str) -> None:
        if result in _UNDELIVERED:
            self.all_delivered = False
