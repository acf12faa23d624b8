"""What answers of ``get_object`` say of an object."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, Final

from botocore.exceptions import ClientError

from detection_contract.aws.errors import http_status
from detection_contract.aws.quick.answers import Answer
from detection_contract.result_keys import MARKS
from detection_worker.storage.s3_errors import Interrupted

_METADATA: Final = "x-amz-meta-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """Metadata that every answer about one object must agree on.

    Attributes:
        size_bytes: Size of the whole object.
        etag: ETag with its quotes; None if the store sends none.
        content_type: Content-Type header.
        last_modified: Time of the upload, UTC.
        content_encoding: Content-Encoding header; None for most objects.
        is_result: Its user metadata are those of a stored result.
    """

    size_bytes: int
    etag: str | None
    content_type: str | None
    last_modified: datetime | None
    content_encoding: str | None = None
    is_result: bool = False


class NotModified(Exception):  # noqa: N818 - an answer, not an error
    """The object still has the ETag that the caller knows.

    Attributes:
        last_modified: Time of its upload, UTC; None if the store did not say.
    """

    def __init__(self, last_modified: datetime | None) -> None:
        super().__init__()
        self.last_modified = last_modified


def not_modified(exc: Exception) -> NotModified | None:
    """Return what it means if S3 refused to send an object that the request already knows.

    Args:
        exc: What the call raised; None is returned for any other reason.
    """
    if not isinstance(exc, ClientError) or http_status(exc.response) != HTTPStatus.NOT_MODIFIED:
        return None
    return NotModified(uploaded(exc.response["ResponseMetadata"].get("HTTPHeaders", {})))


def uploaded(headers: Mapping[str, str]) -> datetime | None:
    """Return when an object was uploaded, UTC; None if the headers do not say.

    Args:
        headers: With names in lower case, or a mapping that ignores case.
    """
    try:
        return parsedate_to_datetime(headers["last-modified"]).astimezone(UTC)
    except (KeyError, ValueError):
        return None


def as_response(answer: Answer) -> dict[str, Any] | None:
    """Return a quick answer as botocore's to ``get_object``, as far as ``parse_answer`` reads it.

    Returns:
        None for one that botocore has to judge; it is closed.
    """
    headers = answer.headers
    modified = uploaded(headers)
    if modified is None and "last-modified" in headers:
        answer.close()
        return None
    return {
        "ResponseMetadata": {"HTTPStatusCode": answer.status_code},
        "Body": answer,
        "ContentLength": headers.get("content-length"),
        "ContentRange": headers.get("content-range", ""),
        "ETag": headers.get("etag"),
        "ContentType": headers.get("content-type"),
        "LastModified": modified,
        "ContentEncoding": headers.get("content-encoding"),
        "Metadata": {
            name.removeprefix(_METADATA): value
            for name, value in headers.items()
            if name.startswith(_METADATA)
        },
    }


def parse_answer(response: dict[str, Any]) -> tuple[Head, int, int]:
    """Return the head, the offset of the first byte and the number of bytes of an answer."""
    start, length = 0, response.get("ContentLength")
    if length is None:
        raise Interrupted("S3 did not say how long its answer is")
    size = int(length)
    if response["ResponseMetadata"]["HTTPStatusCode"] == HTTPStatus.PARTIAL_CONTENT:
        start, size = _parse_content_range(str(response.get("ContentRange", "")))
    modified = response.get("LastModified")
    head = Head(
        size_bytes=size,
        etag=response.get("ETag") or None,
        content_type=response.get("ContentType"),
        last_modified=modified.astimezone(UTC) if modified else None,
        content_encoding=response.get("ContentEncoding"),
        is_result=response.get("Metadata", {}).keys() >= set(MARKS),
    )
    return head, start, int(length)


def _parse_content_range(value: str) -> tuple[int, int]:
    """Return first byte and whole size of ``bytes 0-9/100``."""
    try:
        span, _, size = value.removeprefix("bytes ").partition("/")
        return int(span.partition("-")[0]), int(size)
    except ValueError:
        raise Interrupted("S3 did not say which range it sent") from None
