"""Entries of the outbox as JSON: ``outbox-entry.schema.json`` in ``detection_contract``."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from detection_contract import signing
from detection_contract.aws.s3_urls import InvalidS3Url, S3Location, parse_s3_url
from detection_contract.error_codes import ErrorCode
from detection_contract.json_text import BadJson, read_object
from detection_contract.results import iso_of
from detection_tracing.contexts import TRACEPARENT, Carrier, carrier_of, parse_traceparent
from detection_worker.core.messages.outcome import Failure
from detection_worker.core.outbox.fate import Course
from detection_worker.outbox.base import PendingCallback

VERSION: Final = 1
INLINE_BYTES: Final = 128 * 1024
"""Longer envelopes stay in the store of results, if there is one: an entry may pass through the
queue hundreds of times."""
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


class DamagedEntry(ValueError):  # noqa: N818 - reads as what it says
    """A message is no entry; the text says why and quotes nothing."""


class ForeignMessage(DamagedEntry):
    """A message is of another kind, such as a work message: it may be wanted where it is."""


class NewerEntry(Exception):  # noqa: N818 - not an error: others understand it
    """An entry was written by a later version of this package."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredBody:
    """An envelope in the store of results.

    Attributes:
        url: Its ``s3://`` URL.
        sha256: SHA-256 of its bytes, in hexadecimal.
    """

    url: str
    sha256: str

    @property
    def location(self) -> S3Location:
        """Bucket and key."""
        return parse_s3_url(self.url)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A callback that waits for its next attempt.

    Attributes:
        url: The callback URL.
        webhook_id: The same for every attempt.
        request_id: Request id of the result.
        message_id: SQS message id of the work message.
        content: The bytes of the envelope, or where they are.
        course: How far it has come.
        not_before_s: When it may be tried again, in Unix seconds; None for at once.
        last: Why the last attempt failed.
        carrier: The trace that it belongs to; None without one.
    """

    url: str
    webhook_id: str
    request_id: str
    message_id: str
    content: bytes | StoredBody
    course: Course
    not_before_s: float | None
    last: Failure
    carrier: Carrier | None = None

    @property
    def facts(self) -> dict[str, object]:
        """Fields of every log line about it."""
        facts: dict[str, object] = {
            "message_id": self.message_id,
            "request_id": self.request_id,
            "attempts": self.course.attempts,
        }
        ids = parse_traceparent((self.carrier or {}).get(TRACEPARENT, ""))
        return facts if ids is None else facts | {"trace_id": f"{ids.trace_id:032x}"}


def entry_of(callback: PendingCallback, *, course: Course, not_before_s: float) -> Entry:
    """Return the entry for a callback that failed in the worker."""
    return Entry(
        url=callback.url,
        webhook_id=callback.webhook_id,
        request_id=callback.request_id,
        message_id=callback.message_id,
        content=_content(callback),
        course=course,
        not_before_s=not_before_s,
        last=Failure(code=callback.code, message=callback.reason),
        carrier=callback.carrier,
    )


def _content(callback: PendingCallback) -> bytes | StoredBody:
    if callback.result_url is None or len(callback.body) <= INLINE_BYTES:
        return callback.body
    return StoredBody(url=callback.result_url, sha256=sha256_of(callback.body))


def sha256_of(body: bytes) -> str:
    """Return the digest of an envelope in hexadecimal."""
    return hashlib.sha256(body).hexdigest()


def encode(entry: Entry) -> str:
    """Return an entry as JSON, in ASCII: SQS refuses some characters.

    Raises:
        UnicodeDecodeError: The envelope is not UTF-8.
    """
    content = entry.content
    where: dict[str, object] = (
        {"body": content.decode()}
        if isinstance(content, bytes)
        else {"result_url": content.url, "sha256": content.sha256}
    )
    fields = {
        "version": VERSION,
        "request_id": entry.request_id,
        "message_id": entry.message_id,
        "webhook_id": entry.webhook_id,
        "url": entry.url,
        "attempts": entry.course.attempts,
        "first_tried_at": _iso(entry.course.first_tried_s),
        "not_before": _iso(entry.not_before_s),
        "code": entry.last.code.value,
        "reason": entry.last.message,
        **where,
        **(entry.carrier or {}),
    }
    return json.dumps(fields, separators=(",", ":"))


def decode(text: str) -> Entry:
    """Return the entry that a message holds; fields that are not known are ignored.

    Raises:
        ForeignMessage: It is no entry at all.
        DamagedEntry: It holds none that is whole.
        NewerEntry: A later version wrote it.
    """
    try:
        fields = read_object(text)
    except BadJson as exc:
        raise ForeignMessage(str(exc)) from None
    if "version" not in fields:
        raise ForeignMessage("it has no version")
    _check_version(fields)
    return Entry(
        url=_text(fields, "url"),
        webhook_id=_webhook_id(fields),
        request_id=_text(fields, "request_id"),
        message_id=_text(fields, "message_id", empty=True),
        content=_content_of(fields),
        course=Course(attempts=_attempts(fields), first_tried_s=_moment(fields, "first_tried_at")),
        not_before_s=_moment(fields, "not_before"),
        last=_last(fields),
        carrier=carrier_of(fields),
    )


def _check_version(fields: Mapping[str, object]) -> None:
    version = fields.get("version")
    if isinstance(version, bool) or not isinstance(version, int) or version < VERSION:
        raise DamagedEntry("version is no version of an entry")
    if version > VERSION:
        raise NewerEntry


def _content_of(fields: Mapping[str, object]) -> bytes | StoredBody:
    names = {"body", "result_url", "sha256"} & fields.keys()
    if names == {"body"}:
        return _text(fields, "body", empty=True).encode()
    if names != {"result_url", "sha256"}:
        raise DamagedEntry("it holds neither a body nor a result_url with its sha256")
    stored = StoredBody(url=_text(fields, "result_url"), sha256=_text(fields, "sha256"))
    try:
        readable = stored.url.startswith("s3://") and stored.location
    except InvalidS3Url:
        readable = False
    if not readable:
        raise DamagedEntry("result_url is no s3:// URL")
    if not _SHA256.fullmatch(stored.sha256):
        raise DamagedEntry("sha256 is no SHA-256 digest")
    return stored


def _webhook_id(fields: Mapping[str, object]) -> str:
    value = _text(fields, "webhook_id")
    if not signing.is_webhook_id(value):
        raise DamagedEntry("webhook_id cannot be signed")
    return value


def _attempts(fields: Mapping[str, object]) -> int:
    value = fields.get("attempts")
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise DamagedEntry("attempts is no count")
    return value


def _last(fields: Mapping[str, object]) -> Failure:
    code, known = _text(fields, "code", empty=True), set(ErrorCode)
    # Only shown: a code that this version lacks ends no entry.
    shown = ErrorCode(code) if code in known else ErrorCode.CALLBACK_UNREACHABLE
    return Failure(code=shown, message=_text(fields, "reason", empty=True))


def _text(fields: Mapping[str, Any], name: str, *, empty: bool = False) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or not (value or empty):
        raise DamagedEntry(f"{name} is no text")
    return value


def _moment(fields: Mapping[str, object], name: str) -> float | None:
    value = fields.get(name, "")
    if value is None:
        return None
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError:
        raise DamagedEntry(f"{name} is no time") from None
    if moment.tzinfo is None:
        raise DamagedEntry(f"{name} has no time zone")
    try:
        return moment.astimezone(UTC).timestamp()
    except OverflowError:
        raise DamagedEntry(f"{name} is no year of UTC") from None


def _iso(unix_s: float | None) -> str | None:
    return None if unix_s is None else iso_of(unix_s)
