"""The span of an attempt from the outbox: it goes on with the trace that the entry carries."""

from contextlib import AbstractContextManager

from detection_tracing.port import Span, Tracing, within
from detection_worker.outbox.entry import Entry


def delivery_span(tracing: Tracing | None, entry: Entry) -> AbstractContextManager[Span | None]:
    """Return the span of an attempt, to be used in a ``with``; nothing without tracing."""
    if tracing is None:
        return within(None, "")
    about: dict[str, str | int] = {
        "messaging.system": "aws_sqs",
        "messaging.operation.name": "deliver",
        "messaging.operation.type": "process",
        "detection_queue.request_id": entry.request_id,
        "detection_queue.attempts": entry.course.attempts,
    }
    return tracing.start("deliver from outbox", "consumer", about, parent=entry.carrier)
