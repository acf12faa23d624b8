"""Conditional requests of S3. Pure: from headers and the object that is there.

S3 user guide, "Add preconditions to S3 operations with conditional requests", and RFC 9110, 13.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from detection_testing.aws.s3.errors import S3Error, not_implemented, precondition_failed
from detection_testing.aws.s3.store import StoredObject


def is_unchanged(headers: Mapping[str, str], stored: StoredObject) -> bool:
    """Say whether a read is answered with 304.

    An ETag outranks a date: ``If-Match`` that holds makes ``If-Unmodified-Since`` void, and
    ``If-None-Match`` makes ``If-Modified-Since`` void if it names another ETag.

    Raises:
        S3Error: ``PreconditionFailed``.
    """
    if_match = headers.get("if-match")
    if if_match is not None:
        if not _listed(if_match, stored.etag):
            raise precondition_failed("If-Match")
    elif _is_later(stored, headers.get("if-unmodified-since"), otherwise=False):
        raise precondition_failed("If-Unmodified-Since")
    if_none_match = headers.get("if-none-match")
    if if_none_match is not None:
        return _listed(if_none_match, stored.etag)
    return not _is_later(stored, headers.get("if-modified-since"), otherwise=True)


def check_write(headers: Mapping[str, str], current: StoredObject | None) -> None:
    """Check the conditions of an upload against the object that it would replace.

    Raises:
        S3Error: ``PreconditionFailed``; ``NoSuchKey`` for ``If-Match`` without an object;
            ``NotImplemented`` for ``If-None-Match`` with an ETag, as S3 takes only ``*``.
    """
    if_match, if_none_match = headers.get("if-match"), headers.get("if-none-match")
    if if_none_match is not None and (if_none_match.strip() != "*" or if_match is not None):
        raise not_implemented("If-None-Match")
    if if_none_match is not None and current is not None:
        raise precondition_failed("If-None-Match")
    if if_match is None:
        return
    if current is None:
        raise S3Error("NoSuchKey", "The specified key does not exist.", status=404)
    if not _listed(if_match, current.etag):
        raise precondition_failed("If-Match")


def _listed(header: str, etag: str) -> bool:
    tags = (tag.strip().removeprefix("W/").strip('"') for tag in header.split(","))
    return any(tag in ("*", etag) for tag in tags)


def _is_later(stored: StoredObject, date: str | None, *, otherwise: bool) -> bool:
    """Say whether the object is from after a date; a date that is none is ignored."""
    try:
        then = parsedate_to_datetime(date or "")
    except ValueError:
        return otherwise
    return datetime.fromtimestamp(int(stored.modified_s), UTC) > then.replace(tzinfo=UTC)
