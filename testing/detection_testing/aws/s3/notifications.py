"""Event notifications of buckets to queues: their configuration and the events. Pure.

S3 user guide, "Amazon S3 Event Notifications" and "Event message structure".
"""

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any, Final
from urllib.parse import quote_plus
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from detection_testing.aws.s3.errors import invalid_argument, not_implemented
from detection_testing.aws.s3.store import StoredObject
from detection_testing.aws.sqs.registry import ACCOUNT_ID, REGION

_CREATED: Final = ("Put", "Post", "Copy", "CompleteMultipartUpload")
_REMOVED: Final = ("Delete", "DeleteMarkerCreated")
EVENTS: Final = frozenset(
    {"s3:ObjectCreated:*", "s3:ObjectRemoved:*"}
    | {f"s3:ObjectCreated:{name}" for name in _CREATED}
    | {f"s3:ObjectRemoved:{name}" for name in _REMOVED}
)
"""Events that a queue can be told of here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueNotification:
    """Which events of a bucket a queue is told of.

    Attributes:
        id: Name of this configuration.
        queue_arn: The queue.
        events: Names with ``s3:``; ``*`` at the end for all of a kind.
        prefix: Keys start with it.
        suffix: Keys end with it.
    """

    id: str
    queue_arn: str
    events: tuple[str, ...]
    prefix: str = ""
    suffix: str = ""

    def wants(self, event: str, key: str) -> bool:
        """Say whether the queue is told of ``ObjectCreated:Put``, for example, of this key."""
        named = any(fnmatchcase(f"s3:{event}", pattern) for pattern in self.events)
        return named and key.startswith(self.prefix) and key.endswith(self.suffix)


def notifications_of(
    body: bytes, *, is_standard: Callable[[str], bool]
) -> list[QueueNotification]:
    """Read the document of PutBucketNotificationConfiguration.

    Args:
        body: XML.
        is_standard: Says whether an ARN is that of a queue that exists and is not FIFO.

    Raises:
        S3Error: ``InvalidArgument``; ``NotImplemented`` for topics, functions and EventBridge.
    """
    found: list[QueueNotification] = []
    for element in ElementTree.fromstring(body or b"<a/>"):  # noqa: S314 - from this machine
        if _name(element) != "QueueConfiguration":
            raise not_implemented(_name(element))
        made = _notification(element)
        if not set(made.events) <= EVENTS or not made.events:
            text = "A specified event is not supported for notifications"
            raise invalid_argument(text, name="Event", value=",".join(made.events))
        if not is_standard(made.queue_arn):
            text = "Unable to validate the following destination configurations"
            raise invalid_argument(text, name=made.queue_arn, value="The destination queue")
        found.append(made)
    return found


def render(notifications: list[QueueNotification]) -> str:
    """Return the configuration as GetBucketNotificationConfiguration shows it."""
    shown = []
    for each in notifications:
        events = "".join(f"<Event>{event}</Event>" for event in each.events)
        rules = "".join(
            f"<FilterRule><Name>{name}</Name><Value>{escape(value)}</Value></FilterRule>"
            for name, value in (("Prefix", each.prefix), ("Suffix", each.suffix))
            if value
        )
        chosen = f"<Filter><S3Key>{rules}</S3Key></Filter>" if rules else ""
        shown.append(
            f"<QueueConfiguration><Id>{escape(each.id)}</Id><Queue>{escape(each.queue_arn)}"
            f"</Queue>{events}{chosen}</QueueConfiguration>"
        )
    return "".join(shown)


def setup_event(bucket: str, *, now_s: float) -> dict[str, str]:
    """Return what a queue gets when notifications to it are set up."""
    return {
        "Service": "Amazon S3",
        "Event": "s3:TestEvent",
        "Time": _time(now_s),
        "Bucket": bucket,
        "RequestId": _request_id(),
        "HostId": uuid.uuid4().hex,
    }


def event_of(
    event: str,
    notification: QueueNotification,
    *,
    bucket: str,
    key: str,
    stored: StoredObject | None,
    sequence: int,
    now_s: float,
) -> dict[str, Any]:
    """Return the message about one change of an object.

    Args:
        event: ``ObjectCreated:Put``.
        notification: Whose queue is told.
        bucket: Name of the bucket.
        key: The object's.
        stored: The object; None if it is gone for good.
        sequence: Grows with the changes of a key.
        now_s: Unix seconds.
    """
    told: dict[str, Any] = {"key": quote_plus(key, safe="/*-_.")}
    if stored is not None and not stored.deleted:
        told |= {"size": stored.size_bytes, "eTag": stored.etag}
    elif stored is not None:
        told |= {"eTag": "d41d8cd98f00b204e9800998ecf8427e"}
    if stored is not None and stored.version_id is not None:
        told["versionId"] = stored.version_id
    record = {
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "awsRegion": REGION,
        "eventTime": _time(now_s),
        "eventName": event,
        "userIdentity": {"principalId": "AWS:AIDALOCALTESTING"},
        "requestParameters": {"sourceIPAddress": "127.0.0.1"},
        "responseElements": {"x-amz-request-id": _request_id(), "x-amz-id-2": uuid.uuid4().hex},
        "s3": {
            "s3SchemaVersion": "1.0",
            "configurationId": notification.id,
            "bucket": {
                "name": bucket,
                "ownerIdentity": {"principalId": ACCOUNT_ID},
                "arn": f"arn:aws:s3:::{bucket}",
            },
            "object": {**told, "sequencer": f"{sequence:018X}"},
        },
    }
    return {"Records": [record]}


def _notification(element: ElementTree.Element) -> QueueNotification:
    texts = [(_name(child), child.text or "") for child in element]
    rules = [e for e in element.iter() if _name(e) == "FilterRule"]
    chosen = dict(
        [(e.text or "" if _name(e) == "Value" else (e.text or "").lower()) for e in rule]
        for rule in rules
    )
    return QueueNotification(
        id=next((text for name, text in texts if name == "Id"), "") or uuid.uuid4().hex,
        queue_arn=next((text for name, text in texts if name == "Queue"), ""),
        events=tuple(text for name, text in texts if name == "Event"),
        prefix=chosen.get("prefix", ""),
        suffix=chosen.get("suffix", ""),
    )


def _name(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]


def _time(now_s: float) -> str:
    at = datetime.fromtimestamp(now_s, UTC).isoformat(timespec="milliseconds")
    return at.replace("+00:00", "Z")


def _request_id() -> str:
    return uuid.uuid4().hex[:16].upper()
