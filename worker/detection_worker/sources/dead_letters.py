"""What a dead-lettered copy of a message carries besides its body."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from detection_worker.sources.base import MessageAttribute, ReceivedMessage

MAX_ATTRIBUTES: Final = 10
"""SQS developer guide, message metadata."""
MAX_MESSAGE_BYTES: Final = 1024 * 1024
"""Body and attributes together; SQS developer guide, message quotas."""
OLD_MAX_MESSAGE_BYTES: Final = 256 * 1024
"""The same for queues from before August 2025 whose limit was not raised."""
PLACES: Final = 2
"""Attributes kept free of the sender's: for code and reason."""
MAX_REASON_CHARS: Final = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class RedrivePolicy:
    """Where SQS moves a message, and after how many receives.

    Attributes:
        max_receive_count: >= 1.
        queue_url: Of the dead-letter queue, on the host of its source.
    """

    max_receive_count: int
    queue_url: str


def parse_redrive_policy(text: str, *, source_url: str) -> RedrivePolicy | None:
    """Return the policy that a queue's ``RedrivePolicy`` attribute holds, None if it holds none.

    A queue and its dead-letter queue share account and region, so the source's URL with another
    name is the dead-letter queue's, on AWS and on emulators, without the right to look it up.
    """
    try:
        policy = json.loads(text)
        arn, count = str(policy["deadLetterTargetArn"]), int(policy["maxReceiveCount"])
    except (ValueError, KeyError, TypeError):
        return None
    _, _, _, _, account, name = arn.split(":", 5) if arn.count(":") == 5 else [""] * 6
    if not name:
        return None
    source = urlsplit(source_url)
    parents = source.path.rstrip("/").split("/")[:-1]
    if parents and parents[-1].isdigit() and account:
        parents[-1] = account
    url = source._replace(path="/".join([*parents, name]), query="", fragment="").geturl()
    return RedrivePolicy(max_receive_count=count, queue_url=url)


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

    Body, attributes with their types, group and trace are those of the message, as where SQS
    itself moves it. Ten attributes are allowed: code and reason always have a place, our others
    where the sender left one. What would make the message too long is left out, ours first.

    Args:
        message: As received.
        queue_url: Of the dead-letter queue.
        source_url: Of the queue that the message came from.
        code: Why.
        reason: The same in a sentence.
        max_bytes: Longest message that the dead-letter queue takes; 0 leaves all of ours out.
    """
    request: dict[str, Any] = {
        "QueueUrl": queue_url,
        "MessageBody": message.body,
        "MessageAttributes": _attributes(
            message,
            {
                "DetectionErrorCode": code,
                "DetectionErrorReason": _plain(reason),
                "DetectionMessageId": message.message_id,
                "DetectionSourceQueue": source_url,
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
        # Not the sender's: two messages may have had the same at different times. A worker that
        # dies after the copy and before the delete copies again, and SQS drops that.
        request["MessageDeduplicationId"] = message.message_id
    return request


def _attributes(
    message: ReceivedMessage, ours: Mapping[str, str], *, max_bytes: int
) -> dict[str, dict[str, Any]]:
    theirs = {
        name: _wire(attribute)
        for name, attribute in message.attributes.items()
        # Those of an earlier death give way; the prefixes are reserved and refused.
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
    """Return what an attribute counts against the limit: its name, type and value."""
    return sum(len(t if isinstance(t, bytes) else t.encode()) for t in (name, *value.values()))


def _plain(text: str) -> str:
    """Return ``text`` with the characters that SQS refuses replaced, and cut."""
    return "".join(
        char if char in "\t\n\r" or (char >= " " and _is_xml(char)) else "?"
        for char in text[:MAX_REASON_CHARS]
    )


def _is_xml(char: str) -> bool:
    # SendMessage, MessageBody: #x9 #xA #xD #x20-#xD7FF #xE000-#xFFFD #x10000-#x10FFFF.
    return not ("\ud800" <= char <= "\udfff" or char in "\ufffe\uffff")
