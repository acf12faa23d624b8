"""A source whose polls and messages are spans.

A poll that brought messages is a span with a link to each message's producer. Each message begins
a span that goes on from its producer, or a trace of its own: a poll mixes messages of many traces.
Empty polls are none.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from detection_contract.json_text import BadJson, read_object
from detection_tracing.contexts import (
    TRACEPARENT,
    Carrier,
    carrier_of,
    carrier_of_xray,
)
from detection_tracing.port import Attributes, Span, Tracing
from detection_worker.sources.base import (
    EntryFailure,
    MessageSource,
    QueueError,
    QueueFacts,
    ReceivedMessage,
    VisibilityChange,
)

SYSTEM: Final = "aws_sqs"
"""``messaging.system`` in the semantic conventions."""


class TracedSource:
    """A ``MessageSource`` whose received messages have a span each.

    Args:
        source: The queue.
        tracing: Begins the spans.
        queue_url: Names it.
    """

    def __init__(self, source: MessageSource, tracing: Tracing, queue_url: str) -> None:
        self._source = source
        self._tracing = tracing
        self._queue = queue_name(queue_url)
        self._about: Attributes = messaging(self._queue)

    def facts(self) -> QueueFacts:
        """Read the queue's attributes."""
        return self._source.facts()

    def receive(
        self, *, max_messages: int, wait_s: int, visibility_s: int
    ) -> list[ReceivedMessage]:
        """Long-poll once."""
        began_ns = time.time_ns()
        try:
            received = self._source.receive(
                max_messages=max_messages, wait_s=wait_s, visibility_s=visibility_s
            )
        except QueueError as exc:
            with self._receive_span(began_ns, ()) as span:
                span.fail(exc.code)
            raise
        if not received:
            return []
        origins = [origin_of(message) for message in received]
        with self._receive_span(began_ns, [o for o in origins if o is not None]) as span:
            span.set({"messaging.batch.message_count": len(received)})
        link = (span.carrier,)
        return [
            replace(message, trace=self._process_span(message, origin, link))
            for message, origin in zip(received, origins, strict=True)
        ]

    def delete(self, handles: Sequence[tuple[str, str]]) -> list[EntryFailure]:
        """Delete up to 10 messages."""
        return self._source.delete(handles)

    def change_visibility(self, changes: Sequence[VisibilityChange]) -> list[EntryFailure]:
        """Extend or release up to 10 messages."""
        return self._source.change_visibility(changes)

    def dead_letter(
        self, message: ReceivedMessage, *, queue_url: str, code: str, reason: str
    ) -> None:
        """Copy a message to the dead-letter queue."""
        self._source.dead_letter(message, queue_url=queue_url, code=code, reason=reason)

    def _receive_span(self, began_ns: int, links: Sequence[Carrier]) -> Span:
        about = {
            **self._about,
            "messaging.operation.name": "receive",
            "messaging.operation.type": "receive",
        }
        return self._tracing.start(
            f"receive {self._queue}", "client", about, links=links, began_ns=began_ns
        )

    def _process_span(
        self, message: ReceivedMessage, origin: Carrier | None, links: Sequence[Carrier]
    ) -> Span:
        about = {
            **self._about,
            "messaging.operation.name": "process",
            "messaging.operation.type": "process",
            "messaging.message.id": message.message_id,
            "messaging.message.body.size": len(message.body),
            "detection_queue.receive_count": message.receive_count,
        }
        return self._tracing.start(
            f"process {self._queue}", "consumer", about, parent=origin, links=links
        )


def queue_name(queue_url: str) -> str:
    """Return the last part of a queue's URL."""
    return queue_url.rstrip("/").rpartition("/")[2]


def messaging(queue: str) -> dict[str, str]:
    """Return what every span about a queue has."""
    return {"messaging.system": SYSTEM, "messaging.destination.name": queue}


def origin_of(message: ReceivedMessage) -> Carrier | None:
    """Return the context that the sender of a message gave with it; malformed ones are none.

    W3C's in the message's attributes goes first, then in those of an SNS notification that is its
    body, then X-Ray's header, which SQS has for senders that X-Ray traces, and EventBridge for
    events with a ``TraceHeader``.
    """
    attributes = {name: value.value for name, value in message.attributes.items()}
    found = carrier_of(attributes) or _of_notification(message.body)
    if found is None and message.trace_header is not None:
        found = carrier_of_xray(message.trace_header)
    return found


def _of_notification(body: str) -> Carrier | None:
    # Few bodies have one: others are not read twice.
    if f'"{TRACEPARENT}"' not in body or '"MessageAttributes"' not in body:
        return None
    try:
        attributes = read_object(body).get("MessageAttributes")
    except BadJson:
        return None
    if not isinstance(attributes, Mapping):
        return None
    return carrier_of(
        {name: each.get("Value") for name, each in attributes.items() if isinstance(each, Mapping)}
    )
