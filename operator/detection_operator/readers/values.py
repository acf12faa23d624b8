"""Values read from SQS and from workers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from detection_contract.media_types import MediaKind
from detection_operator.scaling.observation import ReadError


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueSettings:
    """Attributes of a queue that matter to its workers.

    Attributes:
        visibility_timeout_s: The queue's default; workers may use their own.
        retention_s: Message retention period.
        receive_wait_s: Long-poll seconds.
        fifo: It is a FIFO queue.
        max_receive_count: Receives before a message goes to the dead-letter queue; None: never.
        dead_letter_arn: ARN of the dead-letter queue; None without.
    """

    visibility_timeout_s: int = 30
    retention_s: int = 345_600
    receive_wait_s: int = 0
    fifo: bool = False
    max_receive_count: int | None = None
    dead_letter_arn: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueReading:
    """One read of a queue. Counts are those of the last success when ``error`` is set.

    Attributes:
        sampled_at_s: When the counts were read; None before the first success.
        error: Why the newest read failed.
        error_why: What an administrator has to fix; empty if the failure may be temporary.
        visible: Visible messages.
        in_flight: Messages received and not deleted.
        delayed: Delayed messages.
        settings: Attributes of the queue; None before the first success.
        dead_letter: Depth of the dead-letter queue; None when there is none or it is unread.
        dead_letter_retention_s: Its retention; None when unread.
        dead_letter_error: Why it could not be read.
        outbox: Callbacks in the outbox; None when there is none or it is unread.
        outbox_due: Those that are due and that nothing has received; None as above.
        outbox_idle_s: How long every read of the outbox has found callbacks due and none in
            flight: nothing receives them.
    """

    sampled_at_s: float | None = None
    error: ReadError | None = None
    error_why: str = ""
    visible: int = 0
    in_flight: int = 0
    delayed: int = 0
    settings: QueueSettings | None = None
    dead_letter: int | None = None
    dead_letter_retention_s: int | None = None
    dead_letter_error: ReadError | None = None
    outbox: int | None = None
    outbox_due: int | None = None
    outbox_idle_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Work:
    """Finished messages of one kind since a worker started: count, seconds, seconds squared."""

    messages: int
    seconds: float
    squares: float


NO_WORK: Final = Work(0, 0.0, 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerState:
    """The state that a worker reports.

    Attributes:
        busy: It holds a message.
        said_at_s: When it reported this, by its own clock, which may differ from others.
        busy_expires_s: When ``busy`` expires without progress, by its own clock; None if it is not
            busy.
        draining: It receives no more messages.
        drained: It drains, holds no message, and no receive request is under way.
        in_flight: Messages in hand.
        held_seconds: Predicted seconds of work in hand.
        received_age_s: How long the last received message had waited; None unknown.
        started_at_s: When it started; None unknown.
        served: Finished messages by kind.
        received: First receives since it started.
        received_late: First receives later than the objective allows.
        failed: Attempts that failed since it started.
    """

    busy: bool
    said_at_s: float | None = None
    busy_expires_s: float | None = None
    draining: bool = False
    drained: bool = False
    in_flight: int = 0
    held_seconds: float = 0.0
    received_age_s: float | None = None
    started_at_s: float | None = None
    served: Mapping[MediaKind, Work] = field(default_factory=dict)
    received: int = 0
    received_late: int = 0
    failed: int = 0
