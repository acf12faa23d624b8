"""Rows of manifests as objects."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from urllib.parse import unquote_plus

from detection_contract.aws.s3_urls import InvalidS3Url, parse_s3_url
from detection_worker.core.batch.objects import StoredObject

_URLS: Final = ("url", "sqstomlurl", "s3url", "s3uri")
_NAMES: Final = frozenset({"key", *_URLS})
"""A first row with one of these is a header."""
_ARCHIVES: Final = frozenset({"GLACIER", "DEEP_ARCHIVE"})


class BadRow(ValueError):  # noqa: N818 - reads as what it says
    """A row names no object; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowReader:
    """Makes objects of rows.

    Attributes:
        bucket: Bucket of rows that name none; None if each must.
        encoded: Keys are URL-encoded, as in S3 Inventory and S3 Batch Operations.
        endpoint_hosts: As for ``parse_s3_url``.
    """

    bucket: str | None = None
    encoded: bool = False
    endpoint_hosts: frozenset[str] = frozenset()

    def object_of(self, row: Mapping[str, str]) -> StoredObject:
        """Return the object of a row, whose columns have the names of ``column``.

        Raises:
            BadRow: It names none, or a value cannot be read.
        """
        bucket, key, version_id = self._named(row)
        return StoredObject(
            bucket=bucket,
            key=key,
            version_id=version_id,
            etag=row.get("etag", "").strip('"') or None,
            size_bytes=_size(row.get("size", "")),
            last_modified=_moment(row.get("lastmodifieddate") or row.get("lastmodified") or ""),
            archived=row.get("storageclass", "").upper() in _ARCHIVES,
            removed=_is(row, "isdeletemarker", "true") or _is(row, "islatest", "false"),
        )

    def _named(self, row: Mapping[str, str]) -> tuple[str, str, str | None]:
        for name in _URLS:
            if url := row.get(name, ""):
                return self._of_url(url)
        bucket, key = row.get("bucket") or self.bucket, row.get("key", "")
        if not bucket or not key:
            raise BadRow("it names no bucket" if key else "it names no key")
        return bucket, unquote_plus(key) if self.encoded else key, row.get("versionid") or None

    def _of_url(self, url: str) -> tuple[str, str, str | None]:
        try:
            found = parse_s3_url(url, endpoint_hosts=self.endpoint_hosts)
        except InvalidS3Url as exc:
            raise BadRow(str(exc)) from None
        return found.bucket, found.key, found.version_id


def column(name: str) -> str:
    """Return the name of a column as it is compared: ``Version_ID`` is ``versionid``."""
    return "".join(c for c in name.lower() if c.isalnum())


def columns_of(first: Sequence[str]) -> list[str] | None:
    """Return the columns that a first row names; None if it is a row like any other."""
    names = [column(cell) for cell in first]
    return names if _NAMES & set(names) else None


def positional(cells: Sequence[str]) -> dict[str, str]:
    """Return the values of a row without a header: bucket, key, version; or one URL."""
    if len(cells) == 1:
        return {"url": cells[0]} if "://" in cells[0] else {"key": cells[0]}
    return dict(zip(("bucket", "key", "versionid"), cells, strict=False))


def moment(text: str) -> datetime:
    """Return a date or a time in ISO 8601, in UTC if it names no zone.

    Raises:
        ValueError: It is neither.
    """
    found = datetime.fromisoformat(text)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _moment(text: str) -> datetime | None:
    try:
        return moment(text) if text else None
    except ValueError:
        raise BadRow(f"{text!r} is no time") from None


def _size(text: str) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdigit()):
        raise BadRow(f"{text!r} is no size")
    return int(text)


def _is(row: Mapping[str, str], name: str, word: str) -> bool:
    return row.get(name, "").lower() == word
