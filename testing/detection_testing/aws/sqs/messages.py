"""Rules for what a message and a batch may contain, and the digests that SQS returns."""

import base64
import binascii
import hashlib
import re
import struct
from collections.abc import Mapping, Sequence
from typing import Any

from detection_testing.aws.sqs.errors import SqsError
from detection_testing.aws.sqs.values import Delivery

MAX_ATTRIBUTES = 10
"""SQS developer guide, quotas related to messages."""
MAX_ENTRIES = 10
"""SQS API reference, TooManyEntriesInBatchRequest."""

# SQS API reference, SendMessage: #x9 | #xA | #xD | #x20 to #xD7FF | #xE000 to #xFFFD | #x10000 to
# #x10FFFF; anything else is InvalidMessageContents.
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
# SQS API reference, SendMessageBatchRequestEntry: alphanumeric, hyphen, underscore; up to 80.
_ENTRY_ID = re.compile(r"[A-Za-z0-9_-]{1,80}")
# SQS API reference, MessageAttributeValue and SQS developer guide, message attributes.
_ATTRIBUTE_NAME = re.compile(
    r"(?!aws\.|amazon\.)(?!\.)(?!.*\.\.)[\w.-]{1,256}(?<!\.)", re.I | re.A
)
_DATA_TYPE = re.compile(r"(String|Number|Binary)(\..{1,256})?")


def check_message(body: object, attributes: Mapping[str, Any], *, max_bytes: int) -> int:
    """Check one message to send; return its size in bytes, attributes included.

    Raises:
        SqsError: ``MissingParameter``, ``InvalidMessageContents`` or ``InvalidParameterValue``.
    """
    if not isinstance(body, str) or not body:
        raise SqsError("MissingParameter", "The request must contain the parameter MessageBody.")
    if _FORBIDDEN.search(body):
        text = "Invalid binary character was found in the message body."
        raise SqsError("InvalidMessageContents", text)
    size = len(body.encode())
    if attributes:
        size += _check_attributes(attributes)
    if size > max_bytes:
        text = "One or more parameters are invalid. Reason: Message must be shorter than "
        text += f"{max_bytes} bytes."
        raise SqsError("InvalidParameterValue", text)
    return size


def message_bytes(entry: Mapping[str, Any]) -> int:
    """Return the size of a message to send, its attributes included."""
    size = len(str(entry.get("MessageBody", "")).encode())
    for name, value in (entry.get("MessageAttributes") or {}).items():
        data_type = str(value.get("DataType", ""))
        content = _attribute_content(value, binary=data_type.startswith("Binary"))
        size += len(name.encode()) + len(data_type.encode()) + len(content)
    return size


def check_batch(entries: object) -> list[dict[str, Any]]:
    """Check the entries of a batch request as a whole and return them.

    SQS API reference, the errors of the batch actions: 1 to 10 entries, their ids distinct and of
    1 to 80 letters, digits, hyphens and underscores.
    """
    if not isinstance(entries, list) or not entries:
        raise SqsError("EmptyBatchRequest", "There should be at least one entry in the request.")
    if len(entries) > MAX_ENTRIES:
        text = f"Maximum number of entries per request are 10. You have sent {len(entries)}."
        raise SqsError("TooManyEntriesInBatchRequest", text)
    ids = [str(e.get("Id", "")) for e in entries]
    for entry_id in ids:
        if not _ENTRY_ID.fullmatch(entry_id):
            text = "A batch entry id can only contain alphanumeric characters, hyphens and "
            text += "underscores. It can be at most 80 letters long."
            raise SqsError("InvalidBatchEntryId", text)
    if len(set(ids)) < len(ids):
        repeated = next(i for i in ids if ids.count(i) > 1)
        raise SqsError("BatchEntryIdsNotDistinct", f"Id {repeated} repeated.")
    return entries


def attributes_md5(attributes: Mapping[str, Any]) -> str:
    """Return the MD5 of message attributes (SQS developer guide, calculating the MD5 digest).

    Sorted by name; of each: length and name, length and data type, one byte for the transport
    type (1 text, 2 binary), length and value; lengths are 4 bytes, big-endian.
    """
    digest = hashlib.md5(usedforsecurity=False)
    for name in sorted(attributes):
        value = attributes[name]
        digest.update(_counted(name.encode()) + _counted(value["DataType"].encode()))
        if value["DataType"].startswith("Binary"):
            digest.update(b"\x02" + _counted(base64.b64decode(value["BinaryValue"])))
        else:
            digest.update(b"\x01" + _counted(value["StringValue"].encode()))
    return digest.hexdigest()


def render(
    delivery: Delivery, *, system_names: Sequence[str], attribute_names: Sequence[str]
) -> dict[str, Any]:
    """Return a delivery as ReceiveMessage shows it, with the attributes that were asked for."""
    message = delivery.message
    shown: dict[str, Any] = {
        "MessageId": message.message_id,
        "ReceiptHandle": delivery.handle,
        "MD5OfBody": message.body_md5,
        "Body": message.body,
    }
    if system_names:
        system = _system_attributes(delivery)
        if "All" not in system_names:
            system = {n: v for n, v in system.items() if n in system_names}
        if system:
            shown["Attributes"] = system
    if attribute_names and message.attributes:
        chosen = {n: v for n, v in message.attributes.items() if _wanted(n, attribute_names)}
        if chosen:
            shown["MessageAttributes"] = chosen
            shown["MD5OfMessageAttributes"] = attributes_md5(chosen)
    return shown


def _system_attributes(delivery: Delivery) -> dict[str, str]:
    message = delivery.message
    system = {
        "SenderId": "AIDALOCALTESTING",
        "SentTimestamp": str(int(message.sent_s * 1000)),
        "ApproximateReceiveCount": str(delivery.receive_count),
        "ApproximateFirstReceiveTimestamp": str(int(delivery.first_received_s * 1000)),
    }
    optional = {
        "AWSTraceHeader": message.trace_header,
        "MessageGroupId": message.group_id,
        "MessageDeduplicationId": message.deduplication_id,
        "DeadLetterQueueSourceArn": message.source_arn,
    }
    system |= {name: value for name, value in optional.items() if value is not None}
    if message.deduplication_id is not None:
        system["SequenceNumber"] = f"{message.sequence:020}"
    return system


def _wanted(name: str, patterns: Sequence[str]) -> bool:
    # SQS API reference, ReceiveMessage: All or .* for all, prefix.* for those that start so.
    return any(
        p in ("All", ".*", name) or (p.endswith(".*") and name.startswith(p[:-2]))
        for p in patterns
    )


def _check_attributes(attributes: Mapping[str, Any]) -> int:
    if len(attributes) > MAX_ATTRIBUTES:
        text = f"Number of message attributes [{len(attributes)}] exceeds the maximum [10]."
        raise SqsError("InvalidParameterValue", text)
    return sum(_attribute_bytes(name, value) for name, value in attributes.items())


def _attribute_bytes(name: str, value: Mapping[str, Any]) -> int:
    if not _ATTRIBUTE_NAME.fullmatch(name):
        raise SqsError("InvalidParameterValue", f"The message attribute name {name!r} is invalid.")
    data_type = str(value.get("DataType", ""))
    if not _DATA_TYPE.fullmatch(data_type):
        text = f"The type of message (user) attribute '{name}' is invalid. You must use only the "
        text += "following supported type prefixes: Binary, Number, String."
        raise SqsError("InvalidParameterValue", text)
    content = _attribute_content(value, binary=data_type.startswith("Binary"))
    if not content:
        text = f"The message attribute '{name}' must contain a non-empty value of its type."
        raise SqsError("InvalidParameterValue", text)
    return len(name.encode()) + len(data_type.encode()) + len(content)


def _attribute_content(value: Mapping[str, Any], *, binary: bool) -> bytes:
    if not binary:
        return str(value.get("StringValue") or "").encode()
    try:
        return base64.b64decode(value.get("BinaryValue") or "", validate=True)
    except (binascii.Error, TypeError, ValueError):
        return b""


def _counted(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data
