"""What happened to every message, and what that amounts to. Pure: no clock, no I/O."""

from typing import Literal, NamedTuple

DEAD_LETTER_SUFFIX = "-dlq"
"""Of the names of dead-letter queues that ``LocalAws`` makes."""

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
        message_id: Of the message.
        detail: The body for ``sent``, the target queue for ``dead_lettered`` and ``moved``, the
            receive count for ``received``, seconds for ``extended``; else empty.
    """

    at_s: float
    kind: Kind
    queue: str
    message_id: str
    detail: str = ""
