"""What AWS itself sends about new objects: S3 events, also by way of SNS and EventBridge."""

from dataclasses import dataclass
from typing import Final, cast
from urllib.parse import unquote_plus

from detection_contract.error_codes import ErrorCode
from detection_contract.json_text import BadJson, read_object
from detection_contract.s3_urls import InvalidS3Url, S3Location, object_location

_MAX_WRAPPINGS: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class CreatedObject:
    """One new object that an event tells of.

    Attributes:
        location: Where it is.
        record: The event's record (S3) or detail (EventBridge) about it, as it came.
    """

    location: S3Location
    record: dict[str, object]


class BadEvent(ValueError):  # noqa: N818 - reads as what it says
    """An event lacks what it must have.

    Attributes:
        code: Why, as in a result.
    """

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.code = code


def unwrapped(value: dict[str, object]) -> dict[str, object]:
    """Return what SNS notifications carry, or ``value`` itself if it is none.

    Raises:
        BadJson: The text that a notification carries is not acceptable JSON.
    """
    for _ in range(_MAX_WRAPPINGS):
        carried = value.get("Message")
        if value.get("Type") != "Notification" or "sqs_to_ml_url" in value:
            return value
        if not isinstance(carried, str):
            raise BadJson("the Message of an SNS notification is not a string")
        value = read_object(carried)
    return value


def created_objects(value: dict[str, object]) -> tuple[CreatedObject, ...] | None:
    """Return the new objects that an event tells of; None if ``value`` is no event.

    Events about anything but the creation of an object, S3's test event among them, tell of
    none.

    Raises:
        BadEvent: A record lacks its bucket or key, or they cannot exist in S3.
    """
    if value.get("Event") == "s3:TestEvent":
        return ()
    records = value.get("Records")
    if isinstance(records, list) and records and all(_is_s3_record(r) for r in records):
        indexed = enumerate(cast("list[dict[str, object]]", records))
        return tuple(_from_record(r, at=f"Records[{i}]") for i, r in indexed if _is_creation(r))
    if value.get("source") == "aws.s3" and "detail-type" in value:
        return _from_event_bridge(value)
    return None


def _is_s3_record(record: object) -> bool:
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
    )


def _from_event_bridge(event: dict[str, object]) -> tuple[CreatedObject, ...]:
    if event["detail-type"] != "Object Created":
        return ()
    detail = _object(event, "detail", at="")
    item = _object(detail, "object", at="detail")
    location = _location(
        bucket=_string(_object(detail, "bucket", at="detail"), "name", at="detail.bucket"),
        # Unlike S3's own events, EventBridge's carry keys as they are.
        key=_string(item, "key", at="detail.object"),
        version=item.get("version-id"),
        region=event.get("region"),
    )
    return (CreatedObject(location=location, record=detail),)


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
