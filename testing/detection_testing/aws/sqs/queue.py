"""One queue in memory with the rules of Amazon SQS. Pure: every time is passed in by the caller.

"API" in the comments is https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/ and
"guide" is https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/.
"""

import hashlib
import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import count
from random import Random
from typing import Any

from detection_testing.aws.journal import JournalEvent, Kind
from detection_testing.aws.sqs.errors import SqsError, bad_value
from detection_testing.aws.sqs.handles import Handles
from detection_testing.aws.sqs.order import Deduplication, FifoOrder, StandardOrder
from detection_testing.aws.sqs.store import MessageStore
from detection_testing.aws.sqs.values import (
    MAX_DELAY_S,
    MAX_RECEIVE,
    MAX_VISIBILITY_S,
    TIDY,
    Counts,
    Delivery,
    Disorder,
    InFlight,
    Message,
    QueueSettings,
    State,
)

_NOT_AVAILABLE = "Message does not exist or is not available for visibility timeout change."


class SqsQueue:
    """A standard or FIFO queue. Not thread-safe: its owner serialises the calls.

    Args:
        name: Queue name; FIFO names end in ``.fifo``.
        arn: Queue ARN.
        settings: Behaviour; may be replaced later by assigning ``settings``.
        find_queue: Looks up a queue by ARN, for the redrive policy.
        journal: Gets every event; None keeps none.
        disorder: Out-of-order and duplicate deliveries of a standard queue.
    """

    def __init__(
        self,
        *,
        name: str,
        arn: str,
        settings: QueueSettings,
        find_queue: Callable[[str], "SqsQueue | None"] = lambda _: None,
        journal: list[JournalEvent] | None = None,
        disorder: Disorder = TIDY,
    ) -> None:
        self.name = name
        self.arn = arn
        self.settings = settings
        self._find_queue = find_queue
        self._journal = journal
        self._disorder = disorder
        self._random = Random(disorder.seed)  # noqa: S311 - disorder must repeat, not be secret
        standard = StandardOrder(window=disorder.window, random=self._random)
        self._store = MessageStore(FifoOrder() if settings.fifo else standard)
        self._deduplication = Deduplication()
        self._sequence = count(1)
        self._handles = Handles()
        self._owners: dict[str, Message] = {}

    def send(
        self,
        body: str,
        *,
        now_s: float,
        delay_s: int | None = None,
        attributes: Mapping[str, Any] | None = None,
        group_id: str | None = None,
        deduplication_id: str | None = None,
        trace_header: str | None = None,
    ) -> Message:
        """Store a message; it becomes visible after its delay.

        API SendMessage: a delay of 0 to 900 s, by default the queue's. A FIFO message with a
        deduplication id of the last five minutes is accepted but not stored again.
        """
        self.advance(now_s)
        delay_s = self._delay(delay_s)
        if self.settings.fifo:
            deduplication_id = self._deduplication_id(body, group_id, deduplication_id)
            known = self._deduplication.find(deduplication_id, now_s=now_s)
            if known is not None:
                return known
        message = Message(
            message_id=str(uuid.uuid4()),
            body=body,
            body_md5=hashlib.md5(body.encode(), usedforsecurity=False).hexdigest(),
            sent_s=now_s,
            sequence=next(self._sequence),
            attributes=attributes or {},
            trace_header=trace_header,
            group_id=group_id,
            deduplication_id=deduplication_id,
        )
        self._deduplication.add(message)
        self._note(now_s, "sent", message, body)
        self._store.add(message, due_s=now_s + delay_s if delay_s else None)
        return message

    def receive(
        self, *, now_s: float, max_messages: int = 1, visibility_s: int | None = None
    ) -> list[Delivery]:
        """Deliver up to ``max_messages`` (1 to 10) visible messages.

        API ReceiveMessage: each is hidden for ``visibility_s`` (0 to 43,200), by default the
        queue's timeout, and each delivery has its own receipt handle. A message that was already
        received ``max_receive_count`` times goes to the dead-letter queue instead (guide,
        dead-letter queues).

        Raises:
            SqsError: ``InvalidParameterValue``; ``OverLimit`` when a standard queue has 120,000
                messages in flight (a FIFO queue then delivers nothing).
        """
        self.advance(now_s)
        if not 1 <= max_messages <= MAX_RECEIVE:
            raise bad_value("MaxNumberOfMessages", max_messages, "Must be between 1 and 10.")
        timeout_s = self.settings.visibility_timeout_s if visibility_s is None else visibility_s
        _check_visibility(timeout_s)
        room = self._disorder.max_in_flight - len(self._store.in_flight)
        if room <= 0 and not self.settings.fifo:
            raise SqsError("OverLimit", "Too many messages in flight.")
        limit = min(max_messages, max(room, 0))
        deliveries: list[Delivery] = []
        while len(deliveries) < limit:
            taken = self._store.take(limit - len(deliveries))
            if not taken:
                break
            deliveries += [
                self._deliver(message, now_s=now_s, timeout_s=timeout_s)
                for message in taken
                if not self._dead_letter(message, now_s=now_s)
            ]
        for delivery in deliveries:
            if self._echoes():
                self._store.echo(delivery.message)
        return deliveries

    def delete(self, handle: str, *, now_s: float) -> None:
        """Delete the message that ``handle`` received.

        API DeleteMessage: deleting twice succeeds. A handle from before the newest delivery
        succeeds too, "but the message might not be deleted": here it never is. A standard queue
        deletes by an expired handle if nobody received the message since; a FIFO queue refuses.

        Raises:
            SqsError: ``ReceiptHandleIsInvalid`` for what is no handle of this queue;
                ``InvalidParameterValue`` for an expired handle of a FIFO queue.
        """
        self.advance(now_s)
        message = self._owners.get(handle)
        if message is None:
            known = self._store.get(self._handles.message_id(handle))
            if known is not None:
                self._note(now_s, "stale_delete", known)
            return
        if self.settings.fifo and message.state is not State.IN_FLIGHT:
            raise bad_value("ReceiptHandle", handle, "The receipt handle has expired.")
        self._note(now_s, "deleted", message)
        self._remove(message)

    def change_visibility(self, handle: str, seconds: int, *, now_s: float) -> None:
        """Hide the message for ``seconds`` (0 to 43,200) from now on; 0 shows it at once.

        API ChangeMessageVisibility: the new timeout counts from the call, may not end later than
        12 hours after the receive (an error, never shortened), and is not remembered for the next
        receive. A handle from before the newest delivery holds nothing.

        Raises:
            SqsError: ``InvalidParameterValue``, ``MessageNotInflight`` or
                ``ReceiptHandleIsInvalid``.
        """
        self.advance(now_s)
        _check_visibility(seconds)
        message = self._owners.get(handle)
        if message is None:
            self._handles.message_id(handle)
            raise bad_value("ReceiptHandle", handle, _NOT_AVAILABLE)
        if message.state is not State.IN_FLIGHT:
            raise SqsError("MessageNotInflight", "The specified message isn't in flight.")
        if now_s - message.received_s + seconds > MAX_VISIBILITY_S:
            reason = "Total VisibilityTimeout for the message is beyond the limit [43200 seconds]"
            raise bad_value("VisibilityTimeout", seconds, reason)
        if seconds == 0:
            self._note(now_s, "released", message)
            self._store.land(message)
            return
        self._note(now_s, "extended", message, str(seconds))
        self._store.schedule(message, due_s=now_s + seconds)

    def purge(self, *, now_s: float) -> int:
        """Delete every message, in flight too (API PurgeQueue); return how many."""
        self.advance(now_s)
        messages = self._store.messages()
        for message in messages:
            self._note(now_s, "purged", message)
            self._remove(message)
        return len(messages)

    def move(
        self, find_target: Callable[[Message], "SqsQueue | None"], *, limit: int, now_s: float
    ) -> int:
        """Move visible messages to their targets, up to ``limit``; return how many.

        Guide, dead-letter queue redrive: they arrive as new messages with a new id and send time.

        Raises:
            LookupError: A message has no target; it stays where it is.
        """
        self.advance(now_s)
        for moved in range(limit):
            taken = self._store.take(1)
            if not taken:
                return moved
            target = find_target(taken[0])
            if target is None:
                self._store.echo(taken[0])
                raise LookupError(taken[0].message_id)
            self._move(taken[0], target, now_s=now_s)
        return limit

    def counts(self, *, now_s: float) -> Counts:
        """Return the messages by state; exact, where SQS's are approximate."""
        self.advance(now_s)
        return self._store.counts()

    def in_flight(self, *, now_s: float) -> list[InFlight]:
        """Return the messages that consumers hold now, the oldest receive first."""
        self.advance(now_s)
        return [
            InFlight(m.message_id, m.received_s, m.due_s, m.receive_count)
            for m in self._store.in_flight.values()
        ]

    def next_event_s(self) -> float | None:
        """Return when a delay or a visibility timeout next ends, or None."""
        return self._store.next_event_s()

    def advance(self, now_s: float) -> None:
        """Do what is due by ``now_s``: end delays, visibility timeouts and retention periods."""
        for message, at_s in self._store.ended(now_s):
            self._note(at_s, "expired", message)
        for message in self._store.retired(sent_before_s=now_s - self.settings.retention_s):
            self._note(now_s, "retired", message)
            self._remove(message)

    def adopt(self, message: Message, *, source_arn: str, now_s: float) -> None:
        """Take a message that ``source_arn`` dead-lettered.

        Guide, dead-letter queues: id, body, attributes and receive count stay. The retention of a
        standard queue counts from the first sending, that of a FIFO queue starts again.
        """
        self.advance(now_s)
        moved = replace(
            message,
            sent_s=now_s if self.settings.fifo else message.sent_s,
            sequence=next(self._sequence),
            source_arn=source_arn,
            handle="",
        )
        self._store.add(moved, due_s=None)

    def _delay(self, delay_s: int | None) -> int:
        if delay_s is None:
            return self.settings.delay_s
        if not 0 <= delay_s <= MAX_DELAY_S:
            raise bad_value("DelaySeconds", delay_s, "DelaySeconds must be >= 0 and <= 900.")
        if self.settings.fifo and delay_s:
            reason = "The request include parameter that is not valid for this queue type."
            raise bad_value("DelaySeconds", delay_s, reason)
        return delay_s

    def _deduplication_id(self, body: str, group_id: str | None, given: str | None) -> str:
        if group_id is None:
            raise SqsError("MissingParameter", "The request must contain MessageGroupId.")
        if given is not None:
            return given
        if not self.settings.content_deduplication:
            raise bad_value("MessageDeduplicationId", given, "The queue needs one.")
        return hashlib.sha256(body.encode()).hexdigest()

    def _deliver(self, message: Message, *, now_s: float, timeout_s: int) -> Delivery:
        self._owners.pop(message.handle, None)
        message.receive_count += 1
        message.received_s = now_s
        if message.receive_count == 1:
            message.first_received_s = now_s
        message.handle = self._handles.make(message.message_id)
        self._owners[message.handle] = message
        self._note(now_s, "received", message, str(message.receive_count))
        self._store.hide(message, due_s=now_s + timeout_s)
        return Delivery(message, message.handle, message.receive_count, message.first_received_s)

    def _echoes(self) -> bool:
        rate = self._disorder.duplicate_rate
        return rate > 0 and not self.settings.fifo and self._random.random() < rate

    def _dead_letter(self, message: Message, *, now_s: float) -> bool:
        redrive = self.settings.redrive
        if redrive is None or message.receive_count < redrive.max_receive_count:
            return False
        target = self._find_queue(redrive.target_arn)
        if target is None:
            return False
        if message.state is State.IN_FLIGHT:
            return True  # a second delivery on purpose is no reason to dead-letter: skip it
        self._note(now_s, "dead_lettered", message, target.name)
        self._owners.pop(message.handle, None)
        self._store.drop_taken(message)
        target.adopt(message, source_arn=self.arn, now_s=now_s)
        return True

    def _move(self, message: Message, target: "SqsQueue", *, now_s: float) -> None:
        self._note(now_s, "moved", message, target.name)
        self._owners.pop(message.handle, None)
        self._store.drop_taken(message)
        target.send(
            message.body,
            now_s=now_s,
            attributes=message.attributes,
            group_id=message.group_id,
            deduplication_id=uuid.uuid4().hex if target.settings.fifo else None,
            trace_header=message.trace_header,
        )

    def _remove(self, message: Message) -> None:
        self._owners.pop(message.handle, None)
        self._store.remove(message)

    def _note(self, at_s: float, kind: Kind, message: Message, detail: str = "") -> None:
        if self._journal is not None:
            self._journal.append(JournalEvent(at_s, kind, self.name, message.message_id, detail))


def _check_visibility(seconds: int) -> None:
    if not 0 <= seconds <= MAX_VISIBILITY_S:
        raise bad_value("VisibilityTimeout", seconds, "Must be between 0 and 43200.")
