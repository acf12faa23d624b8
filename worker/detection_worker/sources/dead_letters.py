"""What a dead-lettered copy of a message carries besides its body."""

import json
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from detection_worker.sources.base import ReceivedMessage

MAX_ATTRIBUTES: Final = 10
"""SQS developer guide, message metadata."""
MAX_MESSAGE_BYTES: Final = 1024 * 1024
"""Body and attributes together; SQS developer guide, message quotas."""
MAX_REASON_CHARS: Final = 512
_OURS: Final = "Detection"


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
    message: ReceivedMessage, *, queue_url: str, source_url: str, code: str, reason: str
) -> dict[str, Any]:
    """Return the parameters of the ``SendMessage`` that copies a message with the reason.

    The body is never touched. Attributes that would break SQS's limits are left out, the sender's
    surplus first, then ours from the last to the first.
    """
    ours = {
        "DetectionErrorCode": code,
        "DetectionErrorReason": _plain(reason),
        "DetectionMessageId": message.message_id,
        "DetectionSourceQueue": source_url,
    }
    theirs = {
        name: value
        for name, value in message.attributes.items()
        if not name.startswith(_OURS) and not name.lower().startswith(("aws.", "amazon."))
    }
    request: dict[str, Any] = {
        "QueueUrl": queue_url,
        "MessageBody": message.body,
        "MessageAttributes": _fitting({**ours, **theirs}, taken_bytes=len(message.body.encode())),
    }
    if message.trace_header:
        request["MessageSystemAttributes"] = {"AWSTraceHeader": _string(message.trace_header)}
    if queue_url.endswith(".fifo"):
        request["MessageGroupId"] = message.group_id or message.message_id
        # A worker that dies after the copy and before the delete copies again: SQS drops that.
        request["MessageDeduplicationId"] = message.message_id
    return request


def _fitting(attributes: dict[str, str], *, taken_bytes: int) -> dict[str, dict[str, str]]:
    fitting: dict[str, dict[str, str]] = {}
    for name, value in attributes.items():
        size_bytes = len(name.encode()) + len(value.encode()) + len("String")
        small_enough = taken_bytes + size_bytes <= MAX_MESSAGE_BYTES
        if value and small_enough and len(fitting) < MAX_ATTRIBUTES:
            fitting[name] = _string(value)
            taken_bytes += size_bytes
    return fitting


def _string(value: str) -> dict[str, str]:
    return {"DataType": "String", "StringValue": value}


def _plain(text: str) -> str:
    """Return ``text`` with the characters that SQS refuses replaced, and cut."""
    return "".join(
        char if char in "\t\n\r" or (char >= " " and _is_xml(char)) else "?"
        for char in text[:MAX_REASON_CHARS]
    )


def _is_xml(char: str) -> bool:
    # SendMessage, MessageBody: #x9 #xA #xD #x20-#xD7FF #xE000-#xFFFD #x10000-#x10FFFF.
    return not ("\ud800" <= char <= "\udfff" or char in "\ufffe\uffff")
