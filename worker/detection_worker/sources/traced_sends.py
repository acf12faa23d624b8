"""Messages that are sent with the context of a span of their own."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from detection_tracing.port import Span, Tracing
from detection_worker.sources.sqs_batches import BatchSender, Refusal
from detection_worker.sources.traced import messaging, queue_name


def send_span(tracing: Tracing, queue_url: str) -> Span:
    """Begin the span of one message that is sent: what its processing goes on from."""
    queue = queue_name(queue_url)
    about = {
        **messaging(queue),
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
    }
    return tracing.start(f"send {queue}", "producer", about)


def carried(entry: Mapping[str, Any], span: Span) -> dict[str, Any]:
    """Return the parameters of a message with the context of a span as message attributes."""
    attributes = {
        name: {"DataType": "String", "StringValue": value} for name, value in span.carrier.items()
    }
    return {**entry, "MessageAttributes": attributes}


@contextmanager
def tracing_one(
    tracing: Tracing | None, queue_url: str, entry: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    """Yield the parameters to send a message with; the span ends with the block."""
    if tracing is None:
        yield entry
        return
    with send_span(tracing, queue_url) as span:
        yield carried(entry, span)


class TracedSender(BatchSender):
    """A ``BatchSender`` whose messages have a span each.

    Args:
        client: As for ``BatchSender``.
        queue_url: As for ``BatchSender``.
        tracing: Begins the spans.
    """

    def __init__(self, client: Any, queue_url: str, *, tracing: Tracing) -> None:
        super().__init__(client, queue_url)
        self._url, self._tracing = queue_url, tracing

    def send(self, entries: Sequence[Mapping[str, Any]]) -> tuple[dict[int, str], list[Refusal]]:
        """Send up to ten messages; see ``BatchSender.send``."""
        spans = [send_span(self._tracing, self._url) for _ in entries]
        try:
            sent, refusals = super().send(
                [carried(entry, span) for entry, span in zip(entries, spans, strict=True)]
            )
            for index, message_id in sent.items():
                spans[index].set({"messaging.message.id": message_id})
            for refusal in refusals:
                spans[refusal.index].fail("refused")
        except Exception as exc:
            for span in spans:
                span.fail(str(getattr(exc, "code", type(exc).__name__)))
            raise
        finally:
            for span in spans:
                span.end()
        return sent, refusals
