"""Notifications: what SNS topics, SQS queues and EventBridge buses are told of a result.

``schemas/notification.schema.json`` says the same. A body holds the whole result where it fits,
otherwise the URL of the stored one, or what is left without its long parts.
"""

import json
import re
from collections.abc import Mapping
from typing import Final

from detection_contract.results import encode_result

SCHEMA_VERSION: Final = 1
MAX_BYTES: Final = 256 * 1024
"""Largest message of SNS, event of EventBridge, and message of an SQS queue whose limit nobody
raised, attributes included; also the largest batch of them."""
MAX_BODY_BYTES: Final = MAX_BYTES - 8 * 1024
"""The rest is for attributes, and for source, type and resources of an event."""
MAX_ATTRIBUTES: Final = 10
"""More than ten, and SNS drops a message on its way to a queue with raw delivery."""
SOURCE: Final = "detection-queue"
"""``source`` of events."""
DETAIL_TYPES: Final[Mapping[str, str]] = {
    "finished": "Detection Finished",
    "failed": "Detection Failed",
}
"""``detail-type`` of events, by the result's status."""

_COPIED: Final = (
    "request_id",
    "status",
    "label",
    "verdict",
    "prediction_score",
    "file_type",
    "sqs_to_ml_url",
    "queue_url",
    "processed_at",
    "error",
)
_LONG: Final = ("segments", "tracks", "original_message", "metadata")
"""Fields of a result that have no bound of their own."""
_MAX_TEXT_CHARS: Final = 2048
"""Limit of each text in the shortest form: a bad message may hold a URL of any length."""
_MAX_ATTRIBUTE_CHARS: Final = 256
_NOT_XML: Final = re.compile("[^\\t\\n\\r\\x20-\\ud7ff\\ue000-\\ufffd\\U00010000-\\U0010ffff]")
"""Characters that SNS and SQS refuse: SendMessage, MessageBody."""
_MARKS: Final = frozenset({"schema_version", "id", "result_url", "result", "truncated"})
"""Fields that no message of a user has together."""
_ATTRIBUTES: Final = ("label", "verdict", "file_type", "status", "request_id")


def notification_body(
    result: Mapping[str, object],
    *,
    notification_id: str,
    result_url: str | None,
    max_bytes: int = MAX_BODY_BYTES,
    encoded: bytes | None = None,
) -> str:
    """Return the body of a notification as JSON text of at most ``max_bytes`` in UTF-8.

    Args:
        result: A result envelope.
        notification_id: The same for every notification of the same result.
        result_url: ``s3://`` URL of the stored envelope; None without a store.
        max_bytes: At least 64 KiB, so that the shortest form fits.
        encoded: ``result`` as ``encode_result`` has encoded it, which need not be done again.
    """
    head: dict[str, object] = {
        "schema_version": SCHEMA_VERSION,
        "id": notification_id,
        **{name: result.get(name) for name in _COPIED},
        "result_url": result_url,
    }
    whole = _with_result(head, encode_result(result) if encoded is None else encoded)
    if _fits(whole, max_bytes):
        return whole
    shorter = {**result, **dict.fromkeys(_LONG), "segments": []}
    bodies = (
        {**head, "truncated": True, "result": None if result_url else shorter},
        {**head, "truncated": True, "result": None},
        {**_clipped(head), "truncated": True, "result": None},
    )
    return next(text for text in map(_encoded, bodies) if _fits(text, max_bytes))


def without_result(body: str) -> str:
    """Return the body of a notification in its shortest form, for a queue that takes no more."""
    head: dict[str, object] = json.loads(body)
    return _encoded({**_clipped(head), "truncated": True, "result": None})


def notification_attributes(
    result: Mapping[str, object], *, queue_url: str | None
) -> dict[str, str]:
    """Return strings that subscribers of SNS and consumers of SQS can filter by.

    What is unknown is absent: neither service takes empty values. Characters that they refuse
    become ``?``.

    Args:
        result: A result envelope.
        queue_url: Queue that delivered the message; its name becomes ``queue``.
    """
    named = {name: result.get(name) for name in _ATTRIBUTES}
    named["queue"] = (queue_url or "").rstrip("/").rpartition("/")[2]
    return {
        name: _plain(value)[:_MAX_ATTRIBUTE_CHARS]
        for name, value in named.items()
        if isinstance(value, str) and value
    }


def notified_request(message: Mapping[str, object]) -> str | None:
    """Return the request id of a notification that came back as a message; None if it is none.

    It names the media like a request does. A topic or bus that leads back to the queue of the
    worker would otherwise have the same file analysed for ever.

    Args:
        message: A message, without the envelope of SNS but with that of EventBridge.
    """
    told = message.get("detail") if message.get("source") == SOURCE else message
    if not isinstance(told, Mapping) or not told.keys() >= _MARKS:
        return None
    return str(told.get("request_id"))


def _with_result(head: Mapping[str, object], result: bytes) -> str:
    start = encode_result({**head, "truncated": False}).removesuffix(b"}")
    return _as_xml(b'%s,"result":%s}' % (start, result))


def _encoded(body: Mapping[str, object]) -> str:
    return _as_xml(encode_result(body))


def _as_xml(body: bytes) -> str:
    text = body.decode()
    if text.isprintable():
        return text  # a look at every character, but ten times as fast
    # A character that is no XML occurs in strings only, where JSON can escape it.
    return _NOT_XML.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _fits(text: str, max_bytes: int) -> bool:
    return 4 * len(text) <= max_bytes or len(text.encode()) <= max_bytes


def _clipped(head: Mapping[str, object]) -> dict[str, object]:
    return {
        name: _clipped(value) if isinstance(value, dict) else _clip(value)
        for name, value in head.items()
    }


def _clip(value: object) -> object:
    return value[:_MAX_TEXT_CHARS] if isinstance(value, str) else value


def _plain(text: str) -> str:
    return _NOT_XML.sub("?", text)
