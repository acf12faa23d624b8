"""Records of every message, S3 request and callback."""

from typing import Literal, NamedTuple

DEAD_LETTER_SUFFIX = "-dlq"
"""Suffix of the names of the dead-letter queues that ``LocalAws`` makes."""

Kind = Literal[
    "sent",
    "received",
    "extended",
    "released",
    "expired",
    "deleted",
    "stale_delete",
    "dead_lettered",
    "retired",
    "purged",
    "moved",
]


class JournalEvent(NamedTuple):
    """One thing that happened to a message.

    Attributes:
        at_s: Unix seconds on the server's clock; for ``expired`` the end of the timeout.
        kind: ``expired`` is the visibility timeout, ``retired`` the retention period.
        queue: Name of the queue.
        message_id: The message's ``MessageId``.
        detail: The body for ``sent``, the target queue for ``dead_lettered`` and ``moved``, the
            receive count for ``received``, seconds for ``extended``; else empty.
    """

    at_s: float
    kind: Kind
    queue: str
    message_id: str
    detail: str = ""


class S3Access(NamedTuple):
    """One request for an object.

    Attributes:
        at_s: When it was carried out, Unix seconds on the server's clock.
        operation: As S3 names it: ``GetObject``.
        bucket: Name of the bucket.
        key: Key of the object; empty for requests about a bucket.
        status: What was answered; 304 for an object that the client has already.
    """

    at_s: float
    operation: str
    bucket: str
    key: str
    status: int


class RecordedCallback(NamedTuple):
    """One POST that arrived at the callback receiver.

    Attributes:
        at_s: When it was complete, Unix seconds on the server's clock.
        path: Behaviour and what follows, without the receiver's prefix; ``/ok``.
        headers: Names in lower case.
        body: As it came.
        status: What was answered; 0 for no answer.
    """

    at_s: float
    path: str
    headers: dict[str, str]
    body: bytes
    status: int

    @property
    def accepted(self) -> bool:
        """The answer was a success."""
        return 200 <= self.status < 300


class RecordedPublish(NamedTuple):
    """One message published to a topic.

    Attributes:
        at_s: When, Unix seconds on the server's clock.
        topic: Name of the topic.
        message_id: As SNS answered; that of the first if it was a duplicate.
        message: The text.
        attributes: Message attributes that are text.
        deduplication_id: FIFO only; else empty.
        queues: Names of the queues that got it; none for a duplicate.
    """

    at_s: float
    topic: str
    message_id: str
    message: str
    attributes: dict[str, str]
    deduplication_id: str
    queues: list[str]


class RecordedEvent(NamedTuple):
    """One event put on an event bus.

    Attributes:
        at_s: When, Unix seconds on the server's clock.
        bus: Name of the bus; empty if there is none such: EventBridge then drops the event.
        event_id: As EventBridge answered.
        source: The event's.
        detail_type: The event's.
        detail: JSON, as it came.
        resources: ARNs.
        queues: Names of the queues that rules sent it to.
        trace_header: X-Ray's, as it came; empty without one.
    """

    at_s: float
    bus: str
    event_id: str
    source: str
    detail_type: str
    detail: str
    resources: list[str]
    queues: list[str]
    trace_header: str = ""
