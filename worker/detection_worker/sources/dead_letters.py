"""The copy of a message in the dead-letter queue, with the reason."""

from collections.abc import Mapping
from typing import Any, Final

from detection_worker.sources.base import MessageAttribute, ReceivedMessage

CODE: Final = "DetectionErrorCode"
REASON: Final = "DetectionErrorReason"
MESSAGE_ID: Final = "DetectionMessageId"
SOURCE_QUEUE: Final = "DetectionSourceQueue"
MAX_ATTRIBUTES: Final = 10
"""SQS developer guide, message metadata."""
MAX_MESSAGE_BYTES: Final = 1024 * 1024
"""Body and attributes together; SQS developer guide, message quotas."""
OLD_MAX_MESSAGE_BYTES: Final = 256 * 1024
"""Limit of queues created before August 2025 whose limit was not raised."""
PLACES: Final = 2
"""Attributes reserved for code and reason."""
MAX_REASON_CHARS: Final = 512


def dead_letter_request(
    message: ReceivedMessage,
    *,
    queue_url: str,
    source_url: str,
    code: str,
    reason: str,
    max_bytes: int = MAX_MESSAGE_BYTES,
) -> dict[str, Any]:
    """Return the parameters of the ``SendMessage`` that copies a message with the reason.

    Body, attributes with their types, group and trace are those of the message, as when SQS moves
    it. SQS allows ten attributes: code and reason always have a place, our others where the sender
    left one. Attributes that would make the message too long are left out, ours first.

    Args:
        message: The message to copy.
        queue_url: URL of the dead-letter queue.
        source_url: URL of the queue that delivered the message.
        code: Error code.
        reason: The same as a sentence.
        max_bytes: Longest message that the dead-letter queue takes; 0 adds no attributes.
    """
    request: dict[str, Any] = {
        "QueueUrl": queue_url,
        "MessageBody": message.body,
        "MessageAttributes": _attributes(
            message,
            {
                CODE: code,
                REASON: _plain(reason),
                MESSAGE_ID: message.message_id,
                SOURCE_QUEUE: source_url,
            },
            max_bytes=max_bytes,
        ),
    }
    if message.trace_header:
        request["MessageSystemAttributes"] = {"AWSTraceHeader": _string(message.trace_header)}
    if message.group_id:  # on a standard queue: the tenant of a fair queue
        request["MessageGroupId"] = message.group_id
    if queue_url.endswith(".fifo"):
        request.setdefault("MessageGroupId", message.message_id)
        # Not the sender's id, which two messages may have had at different times. A worker that
        # dies between copy and delete copies again, and SQS drops the second copy.
        request["MessageDeduplicationId"] = message.message_id
    return request


def redrive_entry(message: ReceivedMessage, *, fifo: bool) -> dict[str, Any]:
    """Return the entry of a ``SendMessageBatch`` that sends a dead letter back to its queue.

    Body, attributes with their types, group and trace are those of the dead letter; the reason is
    left out.

    Args:
        message: The dead letter.
        fifo: The queue is a FIFO queue.
    """
    entry: dict[str, Any] = {
        "MessageBody": message.body,
        "MessageAttributes": {
            name: _wire(attribute)
            for name, attribute in message.attributes.items()
            if name not in (CODE, REASON, MESSAGE_ID, SOURCE_QUEUE)
            and not name.lower().startswith(("aws.", "amazon."))
        },
    }
    if message.trace_header:
        entry["MessageSystemAttributes"] = {"AWSTraceHeader": _string(message.trace_header)}
    if message.group_id:
        entry["MessageGroupId"] = message.group_id
    if fifo:
        entry.setdefault("MessageGroupId", message.message_id)
        # A process that dies between copy and delete copies again, and SQS drops the second copy.
        entry["MessageDeduplicationId"] = message.message_id
    return entry


def _attributes(
    message: ReceivedMessage, ours: Mapping[str, str], *, max_bytes: int
) -> dict[str, dict[str, Any]]:
    theirs = {
        name: _wire(attribute)
        for name, attribute in message.attributes.items()
        # Those of an earlier dead-lettering are replaced; reserved prefixes are refused.
        if name not in ours and not name.lower().startswith(("aws.", "amazon."))
    }
    if not max_bytes:
        return theirs
    left_bytes = max_bytes - len(message.body.encode())
    kept: dict[str, dict[str, Any]] = {}
    for name, value in [
        *list(theirs.items())[: MAX_ATTRIBUTES - PLACES],
        *((name, _string(value)) for name, value in ours.items() if value),
    ]:
        size_bytes = _size_bytes(name, value)
        if len(kept) < MAX_ATTRIBUTES and size_bytes <= left_bytes:
            left_bytes -= size_bytes
            kept[name] = value
    return kept


def _wire(attribute: MessageAttribute) -> dict[str, Any]:
    kind = "BinaryValue" if isinstance(attribute.value, bytes) else "StringValue"
    return {"DataType": attribute.data_type, kind: attribute.value}


def _string(value: str) -> dict[str, Any]:
    return {"DataType": "String", "StringValue": value}


def _size_bytes(name: str, value: Mapping[str, Any]) -> int:
    """Return how much an attribute counts against the limit: name, type and value."""
    return sum(len(t if isinstance(t, bytes) else t.encode()) for t in (name, *value.values()))


def _plain(text: str) -> str:
    """Return ``text``, shortened, with the characters that SQS refuses replaced."""
    return "".join(
        char if char in "\t\n\r" or (char >= " " and _is_xml(char)) else "?"
        for char in text[:MAX_REASON_CHARS]
    )


def _is_xml(char: str) -> bool:
    # SendMessage, MessageBody: #x9 #xA #xD #x20-#xD7FF #xE000-#xFFFD #x10000-#x10FFFF.
    return not ("\ud800" <= char <= "\udfff" or char in "\ufffe\uffff")
