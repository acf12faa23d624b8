"""Message bodies to checked detection requests, and the making of messages."""

import hashlib
import json
import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeVar, cast

from detection_contract.aws.s3_urls import InvalidS3Url, S3Location, parse_s3_url, s3_uri
from detection_contract.callback_urls import HIDDEN, MAX_CALLBACK_URL_CHARS, is_callback_url
from detection_contract.error_codes import ErrorCode
from detection_contract.events import BadEvent, CreatedObject, event_contents, unwrapped
from detection_contract.json_text import BadJson, read_object
from detection_contract.notifications import notified_request

DEFAULT_THRESHOLD: Final = 0.5
MAX_REQUEST_ID_CHARS: Final = 256

_UNPRINTABLE: Final = re.compile(f"[{HIDDEN}]")

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectionRequest:
    """One object to analyse, as a message requests it.

    Attributes:
        sqs_to_ml_url: URL as the caller wrote it; for an event the ``s3://bucket/key`` URI. It may
            carry a signed query: log ``redact_url`` of it.
        location: Bucket, key, version and region of the object.
        request_id: The caller's id, 1 to 256 printable characters; None if the message has none
            (then see ``stable_request_id``).
        callback_url: http or https URL that gets the result by POST; None for no callback.
        confidence_threshold: P(fake) from which the label is FAKE, in [0, 1].
        metadata: The caller's object, echoed in the result.
        original_message: The whole message, or the record of the event.
        threshold_given: False means that ``confidence_threshold`` is the default.
    """

    sqs_to_ml_url: str
    location: S3Location
    request_id: str | None
    callback_url: str | None
    confidence_threshold: float
    metadata: dict[str, object] | None
    original_message: dict[str, object]
    threshold_given: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedBody:
    """What a message body asks for.

    Attributes:
        kind: ``plain`` message, ``s3_event`` with new files, or ``test_event``, which is any event
            or notification without new files.
        requests: One for each new file; exactly one if ``plain``, none if ``test_event``.
        skipped: Parts of an event that are not new files, in words.
    """

    kind: Literal["plain", "s3_event", "test_event"]
    requests: tuple[DetectionRequest, ...]
    skipped: tuple[str, ...] = ()

    @property
    def of_event(self) -> bool:
        """An event of S3 asks for these requests, nobody else."""
        return self.kind == "s3_event"


class InvalidMessage(ValueError):  # noqa: N818 - reads as what it says
    """A body breaks a rule; the fields that are valid are kept, so the failure can be reported.

    Attributes:
        code: Which rule.
        message: Human-readable; names the field and contains no signed query.
        request_id: The request id if it was valid, else None.
        callback_url: The callback URL if it was valid, else None.
        sqs_to_ml_url: The URL if it was a string, valid or not, else None.
        original_message: The body if it was a JSON object, else None.
    """

    def __init__(
        self,
        code: ErrorCode,
        message: str,
        *,
        request_id: str | None = None,
        callback_url: str | None = None,
        sqs_to_ml_url: str | None = None,
        original_message: dict[str, object] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.request_id = request_id
        self.callback_url = callback_url
        self.sqs_to_ml_url = sqs_to_ml_url
        self.original_message = original_message


def parse_body(body: str, *, endpoint_hosts: frozenset[str] = frozenset()) -> ParsedBody:
    """Return what the body of an SQS message asks for.

    Accepted are the plain message, S3 event notifications, EventBridge's "Object Created", and
    any of them in an SNS notification; our own notifications are skipped. An optional field that
    is null counts as absent.

    Args:
        body: JSON text.
        endpoint_hosts: As for ``parse_s3_url``.

    Raises:
        InvalidMessage: The body breaks a rule. No body raises anything else.
    """
    try:
        message = unwrapped(read_object(body))
    except BadJson as bad:
        raise InvalidMessage(ErrorCode.BAD_JSON, f"The message cannot be read: {bad}") from None
    if (request_id := notified_request(message)) is not None:
        what = f"the notification about {_UNPRINTABLE.sub('?', request_id)}, which came back"
        return ParsedBody(kind="test_event", requests=(), skipped=(what,))
    if "sqs_to_ml_url" not in message:
        try:
            contents = event_contents(message)
        except BadEvent as bad:
            raise InvalidMessage(bad.code, str(bad), original_message=message) from None
        if contents is not None:
            return ParsedBody(
                kind="s3_event" if contents.created else "test_event",
                requests=tuple(map(_event_request, contents.created)),
                skipped=contents.skipped,
            )
    return ParsedBody(
        kind="plain", requests=(_plain_request(message, endpoint_hosts=endpoint_hosts),)
    )


def create_test_message(
    *,
    sqs_to_ml_url: str,
    callback_url: str | None = None,
    confidence_threshold: float = DEFAULT_THRESHOLD,
    request_id: str | None = None,
    metadata: Mapping[str, object] | None = None,
    endpoint_hosts: frozenset[str] = frozenset(),
) -> dict[str, object]:
    """Return a message for the queue; ``json.dumps`` of it is a valid body.

    Args:
        sqs_to_ml_url: S3 URL of the media to analyse.
        callback_url: http or https URL that gets the result by POST; None for no callback.
        confidence_threshold: P(fake) from which the label is FAKE, in [0, 1].
        request_id: 1 to 256 printable characters; None makes a UUID4.
        metadata: JSON object that the result echoes; None leaves it out.
        endpoint_hosts: Hosts of S3-compatible stores whose URLs are accepted, as for
            ``parse_s3_url``.

    Returns:
        The fields of the message; those that are None are left out.

    Raises:
        InvalidMessage: A worker would reject the message; ``code`` and ``message`` say why.
    """
    message: dict[str, object] = {
        "sqs_to_ml_url": sqs_to_ml_url,
        "callback_url": callback_url,
        "request_id": str(uuid.uuid4()) if request_id is None else request_id,
        "confidence_threshold": confidence_threshold,
        "metadata": None if metadata is None else dict(metadata),
    }
    message = {name: value for name, value in message.items() if value is not None}
    try:
        body = json.dumps(message)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidMessage(
            ErrorCode.WRONG_TYPE, f"The message is not JSON: {error}", original_message=message
        ) from None
    parse_body(body, endpoint_hosts=endpoint_hosts)
    return message


def stable_request_id(message_id: str, index: int) -> str:
    """Return the request id of a job whose caller gave none, in the shape of a UUID4.

    It is derived (SHA-256) instead of drawn, so that a redelivery keeps the id.

    Args:
        message_id: SQS message id.
        index: Position of the job in its message, from 0.
    """
    digest = hashlib.sha256(f"{message_id}/{index}".encode("utf-8", "surrogatepass")).digest()
    return str(uuid.UUID(bytes=digest[:16], version=4))


class _Fault(Exception):  # noqa: N818 - carries one field's fault inside this module only
    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.code = code


def _event_request(created: CreatedObject) -> DetectionRequest:
    return DetectionRequest(
        sqs_to_ml_url=s3_uri(replace(created.location, version_id=None)),
        location=created.location,
        request_id=None,
        callback_url=None,
        confidence_threshold=DEFAULT_THRESHOLD,
        metadata=None,
        original_message=created.record,
        threshold_given=False,
    )


def _plain_request(
    message: dict[str, object], *, endpoint_hosts: frozenset[str]
) -> DetectionRequest:
    faults: list[_Fault] = []
    url = message.get("sqs_to_ml_url")
    location = _collect(lambda: _location(message, endpoint_hosts=endpoint_hosts), faults)
    callback_url = _collect(lambda: _callback_url(message.get("callback_url")), faults)
    request_id = _collect(lambda: _request_id(message.get("request_id")), faults)
    threshold = _collect(lambda: _threshold(message.get("confidence_threshold")), faults)
    metadata = _collect(lambda: _metadata(message.get("metadata")), faults)
    if faults or location is None:
        raise InvalidMessage(
            faults[0].code,
            str(faults[0]),
            request_id=request_id,
            callback_url=callback_url,
            sqs_to_ml_url=url if isinstance(url, str) else None,
            original_message=message,
        )
    return DetectionRequest(
        sqs_to_ml_url=cast("str", url),
        location=location,
        request_id=request_id,
        callback_url=callback_url,
        confidence_threshold=DEFAULT_THRESHOLD if threshold is None else threshold,
        metadata=metadata,
        original_message=message,
        threshold_given=threshold is not None,
    )


def _collect(check: Callable[[], _T], faults: list[_Fault]) -> _T | None:
    """Return the checked field, or None with its fault noted: the other fields still count."""
    try:
        return check()
    except _Fault as fault:
        faults.append(fault)
        return None


def _location(message: dict[str, object], *, endpoint_hosts: frozenset[str]) -> S3Location:
    if "sqs_to_ml_url" not in message:
        raise _Fault(ErrorCode.MISSING_FIELD, "sqs_to_ml_url is missing")
    url = message["sqs_to_ml_url"]
    if not isinstance(url, str):
        raise _wrong_type("sqs_to_ml_url", "a string", url)
    try:
        return parse_s3_url(url, endpoint_hosts=endpoint_hosts)
    except InvalidS3Url as invalid:
        raise _Fault(ErrorCode.BAD_URL, f"sqs_to_ml_url: {invalid}") from None


def _callback_url(value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise _wrong_type("callback_url", "a string", value)
    if not is_callback_url(value):
        # Not echoed: a callback URL may carry a token.
        raise _Fault(
            ErrorCode.BAD_CALLBACK_URL,
            "callback_url must be http:// or https:// with a host and without user information, "
            f"spaces or control characters, at most {MAX_CALLBACK_URL_CHARS} characters",
        )
    return value


def _request_id(value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise _wrong_type("request_id", "a string", value)
    # It becomes a header and a log key, where outer spaces get lost.
    printable = not _UNPRINTABLE.search(value) and value == value.strip(" ")
    if not printable or not 0 < len(value) <= MAX_REQUEST_ID_CHARS:
        raise _Fault(
            ErrorCode.WRONG_TYPE,
            f"request_id must be 1 to {MAX_REQUEST_ID_CHARS} printable characters "
            "without spaces around them",
        )
    return value


def _threshold(value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong_type("confidence_threshold", "a number", value)
    if not 0 <= value <= 1:
        raise _Fault(
            ErrorCode.THRESHOLD_OUT_OF_RANGE, "confidence_threshold must be between 0 and 1"
        )
    return float(value)


def _metadata(value: object) -> dict[str, object] | None:
    if value is not None and not isinstance(value, dict):
        raise _wrong_type("metadata", "an object", value)
    return cast("dict[str, object] | None", value)


_JSON_TYPES: Final[dict[type, str]] = {
    bool: "a boolean",
    dict: "an object",
    **dict.fromkeys((float, int), "a number"),
    list: "an array",
    str: "a string",
    type(None): "null",
}


def _wrong_type(field: str, expected: str, value: object) -> _Fault:
    return _Fault(
        ErrorCode.WRONG_TYPE, f"{field} must be {expected}, not {_JSON_TYPES[type(value)]}"
    )
