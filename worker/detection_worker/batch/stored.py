"""Stored results read back: envelopes of a prefix, many at once, in the order of their keys."""

import json
import math
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from detection_contract.aws.s3_urls import S3Location, s3_uri
from detection_contract.error_codes import ErrorCode
from detection_contract.result_types import DetectionResult
from detection_worker.core.batch.objects import S3Pattern, StoredObject
from detection_worker.errors import JobError
from detection_worker.storage.s3_listing import S3Listing

READERS: Final = 16
MAX_BYTES: Final = 32 << 20
"""Longest envelope that is read. An hour of video has some hundred kilobytes of segments; a
message, which the envelope echoes, has at most one mebibyte."""
_SUFFIX: Final = ".json"
_FIELDS: Final = tuple(DetectionResult.__annotations__)
_MODEL: Final = frozenset({"name", "version"})
_STATUSES: Final = ("finished", "failed")
_FATAL: Final = frozenset({ErrorCode.CREDENTIALS, ErrorCode.S3_NO_SUCH_BUCKET})


@dataclass(frozen=True, slots=True)
class Damaged:
    """An object below the prefix that is no result.

    Attributes:
        url: Its ``s3://`` URL.
        why: What is wrong with it.
    """

    url: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which results are read.

    Attributes:
        within: The objects; without a wildcard only those whose keys end with ``.json``.
        since: Only results that were stored then or later; with a time zone.
        until: Only results that were stored before; with a time zone.
    """

    within: S3Pattern
    since: datetime | None = None
    until: datetime | None = None

    def holds(self, item: StoredObject) -> bool:
        """Return whether an object is read, by its name and time."""
        if self.within.keys is None and not item.key.endswith(_SUFFIX):
            return False
        if not self.within.holds(bucket=item.bucket, key=item.key):
            return False
        stored = item.last_modified
        if stored is None:
            return True
        late = self.until is not None and stored >= self.until
        return not late and (self.since is None or stored >= self.since)


def read_results(listing: S3Listing, wanted: Wanted) -> Iterator[dict[str, object] | Damaged]:
    """Yield envelopes in the order of their keys; at most twice ``READERS`` are in memory.

    Args:
        listing: S3 client.
        wanted: Which results.

    Raises:
        JobError: The listing failed, or credentials do not work.
    """
    waiting: deque[Future[dict[str, object] | Damaged]] = deque()
    pool = ThreadPoolExecutor(READERS, thread_name_prefix="results")
    try:
        for item in listing.objects(wanted.within.bucket, wanted.within.prefix):
            if not wanted.holds(item):
                continue
            waiting.append(pool.submit(_read, listing, item))
            if len(waiting) >= 2 * READERS:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _read(listing: S3Listing, item: StoredObject) -> dict[str, object] | Damaged:
    location = S3Location(bucket=item.bucket, key=item.key)
    try:
        return envelope_of(listing.read(location, max_bytes=MAX_BYTES))
    except NoResult as exc:
        return Damaged(s3_uri(location), str(exc))
    except JobError as exc:
        if exc.code in _FATAL:
            raise
        return Damaged(s3_uri(location), exc.message)


class NoResult(ValueError):  # noqa: N818 - reads as what it says
    """An object is no result; the message says why."""


def envelope_of(body: bytes) -> dict[str, object]:
    """Return the envelope in an object, as it is there.

    Raises:
        NoResult: It is none.
    """
    try:
        envelope = json.loads(
            body.decode("utf-8-sig"), parse_constant=_number, parse_float=_number, parse_int=_int
        )
        if b"\\u" in body:  # half a surrogate pair cannot be written
            json.dumps(envelope, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        raise NoResult("it is not JSON") from None
    if (
        not isinstance(envelope, dict)
        or not isinstance(envelope.get("request_id"), str)
        or envelope.get("status") not in _STATUSES
        or not _is_model(envelope.get("model"))
    ):
        raise NoResult("it is JSON, but no result")
    if isinstance(envelope.get("error"), dict) != (envelope["status"] == "failed"):
        raise NoResult("its status and its error contradict each other")
    return envelope


def _is_model(value: object) -> bool:
    return value is None or (isinstance(value, dict) and value.keys() >= _MODEL)


def _number(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(digits)
    return number


def _int(digits: str) -> int:
    number = int(digits)
    if abs(number) >= 1 << 63:  # no field of a result comes near it, and Parquet has no room
        raise ValueError(digits)
    return number


def filled(envelope: Mapping[str, object]) -> dict[str, object]:
    """Return an envelope with every field; those that its version lacks are null."""
    return {**dict.fromkeys(_FIELDS), **envelope}
