"""Messages, settings and deliveries of a local SQS queue."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NamedTuple

MAX_VISIBILITY_S = 43_200
"""12 hours, in all, from the receive (SQS API reference, ChangeMessageVisibility)."""
MAX_DELAY_S = 900
"""SQS API reference, SendMessage."""
MAX_MESSAGE_BYTES = 1_048_576
"""1 MiB for a message and for a batch (SQS developer guide, quotas related to messages)."""
MAX_RECEIVE = 10
MAX_IN_FLIGHT = 120_000
"""SQS developer guide, quotas related to messages."""
DEDUPLICATION_S = 300.0
"""SQS API reference, SendMessage, MessageDeduplicationId: 5 minutes."""


class State(Enum):
    """Where a message is in its life (SQS developer guide, visibility timeout)."""

    DELAYED = "delayed"
    VISIBLE = "visible"
    IN_FLIGHT = "in flight"
    GONE = "gone"


@dataclass(slots=True, kw_only=True, eq=False)
class Message:
    """One stored message. It belongs to its queue, which alone changes it.

    Attributes:
        message_id: Kept over redeliveries and when it is dead-lettered.
        body: The text.
        body_md5: Hexadecimal MD5 of the body in UTF-8.
        sent_s: Unix seconds.
        sequence: Grows with every message of the queue.
        attributes: Message attributes as sent: name to type and value.
        trace_header: ``AWSTraceHeader``.
        group_id: FIFO message group, or fair-queue tenant.
        deduplication_id: FIFO only.
        source_arn: Queue that dead-lettered it.
        receive_count: Deliveries so far, over all queues.
        first_received_s: Time of the first delivery.
        received_s: Time of the last delivery.
        due_s: End of the delay or of the visibility timeout.
        handle: Receipt handle of the last delivery.
        generation: Changes with every change of state; see ``sqs_order``.
        state: Changed by ``sqs_store`` alone.
    """

    message_id: str
    body: str
    body_md5: str
    sent_s: float
    sequence: int
    attributes: Mapping[str, Any] = field(default_factory=dict)
    trace_header: str | None = None
    group_id: str | None = None
    deduplication_id: str | None = None
    source_arn: str | None = None
    receive_count: int = 0
    first_received_s: float = 0.0
    received_s: float = 0.0
    due_s: float = 0.0
    handle: str = ""
    generation: int = 0
    state: State = State.VISIBLE


class Delivery(NamedTuple):
    """One delivery, frozen at its receive."""

    message: Message
    handle: str
    receive_count: int
    first_received_s: float


class Counts(NamedTuple):
    """Messages of a queue by state."""

    visible: int
    in_flight: int
    delayed: int


class InFlight(NamedTuple):
    """A message that a consumer holds; times in Unix seconds."""

    message_id: str
    received_s: float
    due_s: float
    receive_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Redrive:
    """Dead-letter queue of a message received ``max_receive_count`` times (1 to 1000)."""

    target_arn: str
    max_receive_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueSettings:
    """The attributes of a queue that change its behaviour; defaults as CreateQueue documents."""

    visibility_timeout_s: int = 30
    delay_s: int = 0
    retention_s: int = 345_600
    max_message_bytes: int = MAX_MESSAGE_BYTES
    wait_s: int = 0
    redrive: Redrive | None = None
    fifo: bool = False
    content_deduplication: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Disorder:
    """What a standard queue may do and a tidy fake never does; seeded, so that a run repeats.

    Attributes:
        seed: Seed of the random choices.
        window: A message is delivered up to about this many places out of order.
        duplicate_rate: Share of deliveries, 0 to 1, that are followed by another one of the same
            message while the first is in flight ("at-least-once delivery", SQS developer guide,
            standard queues).
        max_in_flight: OverLimit above this many.
    """

    seed: int = 0
    window: int = 0
    duplicate_rate: float = 0.0
    max_in_flight: int = MAX_IN_FLIGHT


TIDY = Disorder()
