"""Queue attributes as text, as CreateQueue and SetQueueAttributes take them."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from detection_testing.aws.sqs.errors import SqsError
from detection_testing.aws.sqs.values import MAX_MESSAGE_BYTES, QueueSettings, Redrive

# Field and range of each number: SQS API reference, CreateQueue.
_NUMBERS = {
    "VisibilityTimeout": ("visibility_timeout_s", 0, 43_200),
    "DelaySeconds": ("delay_s", 0, 900),
    "MessageRetentionPeriod": ("retention_s", 60, 1_209_600),
    "MaximumMessageSize": ("max_message_bytes", 1024, MAX_MESSAGE_BYTES),
    "ReceiveMessageWaitTimeSeconds": ("wait_s", 0, 20),
}
_FLAGS = {"FifoQueue": "fifo", "ContentBasedDeduplication": "content_deduplication"}
# Accepted and returned, without effect here.
_KEPT = frozenset(
    {
        "Policy",
        "RedriveAllowPolicy",
        "KmsMasterKeyId",
        "KmsDataKeyReusePeriodSeconds",
        "SqsManagedSseEnabled",
        "DeduplicationScope",
        "FifoThroughputLimit",
    }
)


def apply_attributes(settings: QueueSettings, attributes: Mapping[str, str]) -> QueueSettings:
    """Return ``settings`` with ``attributes`` applied.

    Raises:
        SqsError: ``InvalidAttributeName`` or ``InvalidAttributeValue``.
    """
    changes: dict[str, Any] = {}
    for name, text in attributes.items():
        if name in _NUMBERS:
            field, low, high = _NUMBERS[name]
            changes[field] = _number(name, text, low=low, high=high)
        elif name in _FLAGS:
            changes[_FLAGS[name]] = _flag(name, text)
        elif name == "RedrivePolicy":
            changes["redrive"] = _redrive(text)
        elif name not in _KEPT:
            raise SqsError("InvalidAttributeName", f"Unknown Attribute {name}.")
    return replace(settings, **changes)


def kept_attributes(attributes: Mapping[str, str]) -> dict[str, str]:
    """Return the attributes that only need to be remembered."""
    return {name: text for name, text in attributes.items() if name in _KEPT}


def show_settings(settings: QueueSettings) -> dict[str, str]:
    """Return settings as GetQueueAttributes shows them."""
    shown = {name: str(getattr(settings, field)) for name, (field, _, _) in _NUMBERS.items()}
    if settings.fifo:
        shown["FifoQueue"] = "true"
        shown["ContentBasedDeduplication"] = str(settings.content_deduplication).lower()
    if settings.redrive is not None:
        policy = {
            "deadLetterTargetArn": settings.redrive.target_arn,
            "maxReceiveCount": settings.redrive.max_receive_count,
        }
        shown["RedrivePolicy"] = json.dumps(policy, separators=(",", ":"))
    return shown


def _number(name: str, text: object, *, low: int, high: int) -> int:
    digits = str(text)
    if digits.isascii() and digits.isdigit() and low <= int(digits) <= high:
        return int(digits)
    raise _invalid(name, text)


def _flag(name: str, text: object) -> bool:
    if text in ("true", "false"):
        return text == "true"
    raise _invalid(name, text)


def _redrive(text: str) -> Redrive | None:
    if not text:
        return None  # SQS: an empty policy removes it
    try:
        policy = json.loads(text)
        target, times = str(policy["deadLetterTargetArn"]), int(policy["maxReceiveCount"])
    except (KeyError, TypeError, ValueError):
        raise _invalid("RedrivePolicy", text) from None
    if not 1 <= times <= 1000 or not target.startswith("arn:"):
        raise _invalid("RedrivePolicy", text)
    return Redrive(target_arn=target, max_receive_count=times)


def _invalid(name: str, text: object) -> SqsError:
    return SqsError("InvalidAttributeValue", f"Invalid value for the parameter {name}: {text}")
