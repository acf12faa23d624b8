"""A message queue as the pipeline sees it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from detection_tracing.port import Span


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageAttribute:
    """Value of one SQS message attribute.

    Attributes:
        data_type: ``String``, ``Number`` or ``Binary``, possibly with a custom label, as in
            ``String.UUID``.
        value: Bytes if binary, else text.
    """

    data_type: str
    value: str | bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedMessage:
    """One delivery of a message.

    Attributes:
        message_id: SQS message id, the same for every delivery.
        receipt_handle: Handle of this delivery; only the latest one can delete the message.
        body: The message text.
        receive_count: Deliveries so far, this one included, >= 1; approximate.
        sent_at_s: When it was sent, in Unix seconds; None if SQS did not say.
        attributes: Message attributes by name; kept when the message is dead-lettered.
        group_id: FIFO message group, or tenant of a fair queue; None without one.
        trace_header: ``AWSTraceHeader`` (X-Ray); None without one.
        trace: The span of its processing, which its settlement ends; None without tracing.
    """

    message_id: str
    receipt_handle: str
    body: str
    receive_count: int
    sent_at_s: float | None
    attributes: Mapping[str, MessageAttribute]
    group_id: str | None = None
    trace_header: str | None = None
    trace: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class VisibilityChange:
    """Make a message visible again in ``seconds``, 0 to 43,200; 0 means at once."""

    message_id: str
    receipt_handle: str
    seconds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryFailure:
    """Why one entry of a batch failed.

    Attributes:
        message_id: SQS message id of the entry.
        code: SQS error code.
        lost: The receipt handle has expired, so a retry cannot succeed.
    """

    message_id: str
    code: str
    lost: bool


class QueueError(Exception):
    """A call to the queue failed as a whole.

    Attributes:
        code: SQS error code, or the name of the exception.
        fatal: The queue does not exist or access is denied: a human must fix it.
    """

    def __init__(self, message: str, *, code: str, fatal: bool) -> None:
        super().__init__(message)
        self.code = code
        self.fatal = fatal


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueFacts:
    """Attributes of a queue that the worker reads at start-up.

    Attributes:
        visibility_timeout_s: The queue's default visibility timeout.
        max_receive_count: Deliveries after which SQS dead-letters a message; None without a
            redrive policy.
        dead_letter_queue_url: Derived from the redrive policy; None without one.
        visible: Messages waiting, approximately.
        in_flight: Messages received and not yet deleted, approximately.
        delayed: Messages whose delay has not passed yet, approximately.
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
        """Long-poll once.

        Args:
            max_messages: 1 to 10.
            wait_s: Longest wait for a message, 0 to 20 seconds.
            visibility_s: Visibility timeout of the received messages, 0 to 43,200 seconds.
        """
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
