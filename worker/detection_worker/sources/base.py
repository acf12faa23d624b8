"""What the pipeline knows of a message queue."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageAttribute:
    """What a sender attached to a message under one name.

    Attributes:
        data_type: ``String``, ``Number`` or ``Binary``, maybe with a label of the sender's own:
            ``String.UUID``.
        value: Bytes if binary, else text.
    """

    data_type: str
    value: str | bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedMessage:
    """One delivery of a message.

    Attributes:
        message_id: Stays the same over redeliveries.
        receipt_handle: Of this delivery; only the newest one of a message can delete it.
        body: The message text.
        receive_count: Deliveries so far, this one included, >= 1; approximate.
        sent_at_s: Unix seconds of its first sending; None if SQS did not say.
        attributes: What its sender attached, by name; kept when the message is dead-lettered.
        group_id: FIFO message group, or tenant of a fair queue.
        trace_header: ``AWSTraceHeader`` (X-Ray).
    """

    message_id: str
    receipt_handle: str
    body: str
    receive_count: int
    sent_at_s: float | None
    attributes: Mapping[str, MessageAttribute]
    group_id: str | None = None
    trace_header: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VisibilityChange:
    """Make a message visible again after ``seconds`` from now; 0 means at once."""

    message_id: str
    receipt_handle: str
    seconds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryFailure:
    """Why one entry of a batch failed.

    Attributes:
        message_id: Of the entry.
        code: SQS error code.
        lost: The receipt handle no longer holds the message: retrying is useless.
    """

    message_id: str
    code: str
    lost: bool


class QueueError(Exception):
    """A call to the queue failed as a whole.

    Attributes:
        fatal: The queue is gone or access is denied: only a person can mend it.
    """

    def __init__(self, message: str, *, code: str, fatal: bool) -> None:
        super().__init__(message)
        self.code = code
        self.fatal = fatal


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueFacts:
    """What the worker reads about its queue at the start.

    Attributes:
        visibility_timeout_s: The queue's own default.
        max_receive_count: Of the redrive policy; None without one.
        dead_letter_queue_url: Derived from the redrive policy; None without one.
        visible: Approximate messages waiting.
        in_flight: Approximate messages held by consumers.
        delayed: Approximate messages not yet visible for the first time.
        fifo: The queue keeps order within message groups.
    """

    visibility_timeout_s: int
    max_receive_count: int | None
    dead_letter_queue_url: str | None
    visible: int
    in_flight: int
    delayed: int
    fifo: bool


class MessageSource(Protocol):
    """A queue; thread-safe. Every method raises ``QueueError`` when the call fails as a whole."""

    def facts(self) -> QueueFacts:
        """Read the queue's attributes."""
        ...

    def receive(
        self, *, max_messages: int, wait_s: int, visibility_s: int
    ) -> list[ReceivedMessage]:
        """Long-poll once. ``max_messages`` 1 to 10, ``wait_s`` 0 to 20."""
        ...

    def delete(self, handles: Sequence[tuple[str, str]]) -> list[EntryFailure]:
        """Delete up to 10 messages, given as (message id, receipt handle)."""
        ...

    def change_visibility(self, changes: Sequence[VisibilityChange]) -> list[EntryFailure]:
        """Extend or release up to 10 messages."""
        ...

    def dead_letter(
        self, message: ReceivedMessage, *, queue_url: str, code: str, reason: str
    ) -> None:
        """Copy a message to the dead-letter queue with the reason as message attributes."""
        ...
