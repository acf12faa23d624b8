"""Events that AWS sends about new objects: S3 notifications, also through SNS and EventBridge."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, TypeGuard, cast
from urllib.parse import unquote_plus

from detection_contract.aws.s3_urls import InvalidS3Url, S3Location, object_location, s3_uri
from detection_contract.error_codes import ErrorCode
from detection_contract.json_text import BadJson, read_object

_MAX_WRAPPINGS: Final = 3
_MAX_NAME_CHARS: Final = 64
_CLOUDTRAIL: Final = "AWS API Call via CloudTrail"
_CLOUDTRAIL_SOURCE: Final = "s3.amazonaws.com"
_INVENTORY: Final = re.compile(
    r"(?:.*/)?[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}-[0-9]{2}Z/manifest\.(?:json|checksum)", re.DOTALL
)
"""Keys of S3 Inventory manifests; S3 user guide, "Locating your inventory list"."""
_BATCH_REPORT: Final = re.compile(
    r"(?:.*/)?job-[0-9a-f-]{36}/(?:manifest\.json(?:\.md5)?|results/[0-9a-f]+\.csv)", re.DOTALL
)
"""Keys of S3 Batch Operations' completion reports; S3 user guide, "Completion reports"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CreatedObject:
    """One new object that an event reports.

    Attributes:
        location: Bucket, key, version and region.
        record: The event's record (S3) or detail (EventBridge) about it, unchanged.
        size_bytes: Size of the object; None if the event does not say.
    """

    location: S3Location
    record: dict[str, object]
    size_bytes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EventContents:
    """What an event reports.

    Attributes:
        created: New objects that may be media.
        skipped: Everything else in words, each with its object if it names one.
    """

    created: tuple[CreatedObject, ...] = ()
    skipped: tuple[str, ...] = ()


class BadEvent(ValueError):  # noqa: N818 - reads as what it says
    """An event lacks a field, or its object cannot exist in S3.

    Attributes:
        code: ``missing_field``, ``wrong_type`` or ``bad_url``.
    """

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.code = code


def unwrapped(value: dict[str, object]) -> dict[str, object]:
    """Return the message inside up to three SNS notifications, or ``value`` if it is none.

    Raises:
        BadJson: The message of a notification is not acceptable JSON.
    """
    for _ in range(_MAX_WRAPPINGS):
        carried = value.get("Message")
        if value.get("Type") != "Notification" or "sqs_to_ml_url" in value:
            return value
        if not isinstance(carried, str):
            raise BadJson("the Message of an SNS notification is not a string")
        value = read_object(carried)
    return value


def event_contents(value: dict[str, object]) -> EventContents | None:
    """Return what an event reports; None if ``value`` is not an S3 event.

    Only new objects become jobs. Everything else is skipped and named: other events, S3's test
    event, CloudTrail records of API calls, and objects that are not media (folder markers,
    manifests that S3 writes itself).

    Raises:
        BadEvent: A record of a new object lacks its bucket or key, or they cannot exist in S3.
    """
    if value.get("Event") == "s3:TestEvent":
        return EventContents(skipped=(f"the test event of bucket {_name(value.get('Bucket'))}",))
    records = value.get("Records")
    if isinstance(records, list) and any(map(_is_of_s3, records)):
        return _from_records(records)
    if value.get("source") == "aws.s3" and "detail-type" in value:
        return _from_event_bridge(value)
    return None


def _from_records(records: list[object]) -> EventContents:
    created: list[CreatedObject] = []
    skipped: list[str] = []
    for index, record in enumerate(records):
        if _is_s3_record(record) and _is_creation(record):
            created.append(_from_record(record, at=f"Records[{index}]"))
        else:
            skipped.append(_foreign(record))
    return _without_markers(created, skipped)


def _without_markers(created: Iterable[CreatedObject], skipped: Iterable[str]) -> EventContents:
    found = [(each, _no_file(each)) for each in created]
    return EventContents(
        created=tuple(each for each, what in found if what is None),
        skipped=(
            *skipped,
            *(f"{what} {s3_uri(each.location)}" for each, what in found if what is not None),
        ),
    )


def _no_file(created: CreatedObject) -> str | None:
    """Return what a new object is if no user uploaded it as a file."""
    key = created.location.key
    if created.size_bytes in (0, None) and key.endswith("/"):
        return "the folder marker"  # "Create folder" in the console of S3
    if created.size_bytes in (0, None) and key.endswith("_$folder$"):
        return "the folder marker"  # Hadoop and EMR
    if _INVENTORY.fullmatch(key):
        return "the manifest of an inventory"
    if _BATCH_REPORT.fullmatch(key):
        return "the report of a batch operation"
    return None


def _foreign(record: object) -> str:
    """Return in words what a record is that reports no new object."""
    if not isinstance(record, dict):
        return "a record that is no object"
    what = f"{_name(record.get('eventName'))} of {_name(record.get('eventSource'))}"
    if record.get("eventSource") == _CLOUDTRAIL_SOURCE:
        return f"the CloudTrail record {what}"
    return f"the event {what}{_about(record.get('s3'))}"


def _about(part: object) -> str:
    """Return bucket and key that part of an event names, undecoded; empty if it names none."""
    bucket, key = _at(part, "bucket", "name"), _at(part, "object", "key")
    return f" about {_name(bucket)}/{_name(key)}" if bucket and key else ""


def _at(value: object, *path: str) -> object:
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _name(value: object) -> str:
    """Return an untrusted name as one printable, short piece of a log line."""
    if not isinstance(value, str):
        return "unknown"
    shown = "".join(char if char.isprintable() else "?" for char in value)
    return shown if len(shown) <= _MAX_NAME_CHARS else shown[:_MAX_NAME_CHARS] + "…"


def _is_of_s3(record: object) -> TypeGuard[dict[str, object]]:
    return _is_s3_record(record) or (
        isinstance(record, dict) and record.get("eventSource") == _CLOUDTRAIL_SOURCE
    )


def _is_s3_record(record: object) -> TypeGuard[dict[str, object]]:
    return isinstance(record, dict) and ("s3" in record or record.get("eventSource") == "aws:s3")


def _is_creation(record: dict[str, object]) -> bool:
    name = record.get("eventName", "ObjectCreated:")
    return isinstance(name, str) and name.removeprefix("s3:").startswith("ObjectCreated:")


def _from_record(record: dict[str, object], *, at: str) -> CreatedObject:
    s3 = _object(record, "s3", at=at)
    bucket = _object(s3, "bucket", at=f"{at}.s3")
    item = _object(s3, "object", at=f"{at}.s3")
    name = _string(bucket, "name", at=f"{at}.s3.bucket")
    encoded = _string(item, "key", at=f"{at}.s3.object")
    try:
        # S3 form-encodes the keys of its events: a space comes as "+".
        key = unquote_plus(encoded, errors="strict")
    except UnicodeDecodeError:
        raise BadEvent(ErrorCode.BAD_URL, f"{at}.s3.object.key is not UTF-8") from None
    return CreatedObject(
        location=_location(
            bucket=name, key=key, version=item.get("versionId"), region=record.get("awsRegion")
        ),
        record=record,
        size_bytes=_size(item),
    )


def _from_event_bridge(event: dict[str, object]) -> EventContents:
    kind = event["detail-type"]
    if kind == _CLOUDTRAIL:
        what = _name(_at(event, "detail", "eventName"))
        return EventContents(skipped=(f"the CloudTrail record {what} by way of EventBridge",))
    if kind != "Object Created":
        what = f"the event {_name(kind)} of EventBridge{_about(event.get('detail'))}"
        return EventContents(skipped=(what,))
    detail = _object(event, "detail", at="")
    item = _object(detail, "object", at="detail")
    location = _location(
        bucket=_string(_object(detail, "bucket", at="detail"), "name", at="detail.bucket"),
        # Unlike S3's own events, EventBridge's carry keys as they are.
        key=_string(item, "key", at="detail.object"),
        version=item.get("version-id"),
        region=event.get("region"),
    )
    created = CreatedObject(location=location, record=detail, size_bytes=_size(item))
    return _without_markers([created], [])


def _size(item: dict[str, object]) -> int | None:
    size = item.get("size")
    return size if isinstance(size, int) else None


def _location(*, bucket: str, key: str, version: object, region: object) -> S3Location:
    try:
        return object_location(
            bucket=bucket,
            key=key,
            version_id=version if isinstance(version, str) else None,
            region=region if isinstance(region, str) else None,
        )
    except InvalidS3Url as invalid:
        raise BadEvent(ErrorCode.BAD_URL, str(invalid)) from None


def _object(holder: dict[str, object], name: str, *, at: str) -> dict[str, object]:
    value = _present(holder, name, at=at)
    if not isinstance(value, dict):
        raise BadEvent(ErrorCode.WRONG_TYPE, f"{_path(at, name)} must be an object")
    return cast("dict[str, object]", value)


def _string(holder: dict[str, object], name: str, *, at: str) -> str:
    value = _present(holder, name, at=at)
    if not isinstance(value, str):
        raise BadEvent(ErrorCode.WRONG_TYPE, f"{_path(at, name)} must be a string")
    return value


def _present(holder: dict[str, object], name: str, *, at: str) -> object:
    if name not in holder:
        raise BadEvent(ErrorCode.MISSING_FIELD, f"{_path(at, name)} is missing")
    return holder[name]


def _path(at: str, name: str) -> str:
    return f"{at}.{name}" if at else name
