"""Objects in S3 and in stores that speak its protocol."""

import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from fnmatch import fnmatchcase
from http import HTTPStatus
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import boto3

from detection_contract.aws.s3_urls import S3Location, is_amazon_s3
from detection_contract.error_codes import ErrorCode
from detection_worker.aws_session import CALL_ERRORS
from detection_worker.errors import JobError
from detection_worker.settings import MIB, AwsSettings
from detection_worker.storage.base import FetchedObject, ObjectFacts
from detection_worker.storage.s3_answers import Head, NotModified, uploaded
from detection_worker.storage.s3_clients import RegionClients
from detection_worker.storage.s3_errors import Home, ObjectChanged, PermissionMissing
from detection_worker.storage.s3_ranges import (
    Progress,
    RangeReader,
    Retries,
    disk_error,
)

FIRST_RANGE_BYTES: Final = 8 * MIB
"""One request returns size, type and ETag, and all of most images and short clips."""
READ_TIMEOUT_S: Final = 10.0
MAX_BUCKETS: Final = 64
PROBE_BYTES: Final = 16 * MIB
"""Room on the disk that a probe needs; with less, downloads would soon fail again."""
_FETCHES: Final = 2
"""Fetches of an object that is replaced while it is read."""


class S3Storage:
    """Fetches objects with ``GetObject`` alone; thread-safe.

    An object of up to ``first_range_bytes`` costs one call. A larger one is read on in ranges of
    that size, a few at once, each bound to the first answer's ETag.
    """

    def __init__(
        self,
        session: boto3.Session,
        aws: AwsSettings,
        *,
        expected_bucket_owner: str | None = None,
        allowed_buckets: frozenset[str] = frozenset(),
        first_range_bytes: int = FIRST_RANGE_BYTES,
        range_threads: int = 4,
        read_timeout_s: float = READ_TIMEOUT_S,
        retries: Retries | None = None,
    ) -> None:
        """Connect to nothing yet.

        Args:
            session: Session from ``aws_session.make_session``.
            aws: Region of buckets whose URL does not name one, and the endpoint.
            expected_bucket_owner: Account that must own the bucket; S3 refuses any other.
            allowed_buckets: Bucket names, with ``*`` and ``?``; empty allows all.
            first_range_bytes: Length of each range.
            range_threads: Threads that help with large objects, shared by all of them; >= 1.
            read_timeout_s: Longest pause between two reads of a connection.
            retries: Retries of each range.
        """
        self._aws = aws
        self._extra = (
            {"ExpectedBucketOwner": expected_bucket_owner} if expected_bucket_owner else {}
        )
        self._allowed_buckets = allowed_buckets
        self._range_bytes = first_range_bytes
        self._range_threads = range_threads
        self._retries = retries or Retries()
        self._helpers = ThreadPoolExecutor(range_threads, thread_name_prefix="s3-range")
        self._readable = _LastRead()
        self._clients = RegionClients(
            session,
            aws,
            read_timeout_s=read_timeout_s,
            expected_bucket_owner=expected_bucket_owner,
        )

    def close(self) -> None:
        """End the helping threads and close all connections; no fetch may run."""
        self._helpers.shutdown()
        self._clients.close()

    def fetch(
        self,
        location: S3Location,
        target: Path,
        *,
        max_bytes: int,
        on_progress: Callable[[], None],
        cancelled: Callable[[], bool],
    ) -> FetchedObject:
        """Write the object to ``target``; see ``Storage.fetch``."""
        return self._fetch(location, target, max_bytes, lambda: Progress(on_progress, cancelled))

    def fetch_unless(
        self,
        location: S3Location,
        known: ObjectFacts,
        target: Path,
        *,
        max_bytes: int,
        on_progress: Callable[[], None],
        cancelled: Callable[[], bool],
    ) -> FetchedObject | None:
        """Write the object to ``target`` unless it is known; see ``Storage.fetch_unless``."""
        etag = f'"{known.etag}"' if known.etag else None
        if etag and self._is_still(location, known, etag, cancelled):
            return None

        def progress() -> Progress:
            return Progress(on_progress, cancelled)

        try:
            return self._fetch(location, target, max_bytes, progress, unless_etag=etag)
        except NotModified as same:
            self._readable.put(location.bucket, location)
            if same.last_modified in (None, known.last_modified):
                return None
        # The ETag of a small object is its MD5, and two files of one MD5 can be made. Uploaded at
        # another time it is another object.
        return self._fetch(location, target, max_bytes, progress)

    def _is_still(
        self, location: S3Location, known: ObjectFacts, etag: str, cancelled: Callable[[], bool]
    ) -> bool:
        """Return whether S3 says at once that an object is the known one."""
        self._check_allowed(location.bucket)
        if cancelled():
            return False
        quick = self._clients.of(location.region).quick
        with suppress(*CALL_ERRORS):
            answer = quick.get(
                location.bucket,
                location.key,
                version_id=location.version_id,
                if_none_match=etag,
                range="bytes=0-0",
            )
            if answer is not None and answer.status_code == HTTPStatus.NOT_MODIFIED:
                answer.close()
                self._readable.put(location.bucket, location)
                return uploaded(answer.headers) in {None, known.last_modified}
            if answer is not None:
                answer.close()
        return False

    def _fetch(
        self,
        location: S3Location,
        target: Path,
        max_bytes: int,
        new_progress: Callable[[], Progress],
        *,
        unless_etag: str | None = None,
    ) -> FetchedObject:
        self._check_allowed(location.bucket)
        for _ in range(_FETCHES):
            with suppress(ObjectChanged), self._judged(location, target), _new_file(target) as fd:
                progress = new_progress()
                reader = self._reader(
                    location,
                    fd,
                    max_bytes=max_bytes,
                    progress=progress,
                    retries=self._retries,
                    unless_etag=unless_etag,
                )
                head, position = reader.read(0, self._range_bytes)
                self._read_rest(reader, head, start=position, fd=fd, progress=progress)
                self._readable.put(location.bucket, location)
                return _fetched(target, head)
        raise JobError(
            ErrorCode.S3_UNAVAILABLE, "The S3 file was replaced again while it was downloaded"
        )

    def probe(self, location: S3Location, target: Path) -> None:
        """Fetch one byte and make room for more; see ``Storage.probe``."""
        with self._judged(location, target):
            self._probe(location, target)

    @contextmanager
    def _judged(self, location: S3Location, target: Path) -> Iterator[None]:
        """Distinguish a permission that the worker lost from one that it never had.

        It is lost if an object of the same bucket that was readable before is refused now.
        """
        try:
            yield
        except PermissionMissing as exc:
            before = self._readable.get(location.bucket)
            if before is not None:
                try:
                    self._probe(before, target)
                except PermissionMissing:
                    exc.environment = True
                except JobError:
                    pass  # that object is not refused, so only this one is
            raise

    def _probe(self, location: S3Location, target: Path) -> None:
        progress = Progress(lambda: None, lambda: False)
        once = Retries(attempts=1)
        with suppress(ObjectChanged), _new_file(target) as fd:
            _reserve(fd, PROBE_BYTES)
            reader = self._reader(
                location, fd, max_bytes=sys.maxsize, progress=progress, retries=once
            )
            reader.read(0, 1)
        target.unlink(missing_ok=True)

    def _reader(
        self,
        location: S3Location,
        fd: int,
        *,
        max_bytes: int,
        progress: Progress,
        retries: Retries,
        unless_etag: str | None = None,
    ) -> RangeReader:
        return RangeReader(
            self._clients.of(location.region),
            location,
            fd=fd,
            max_bytes=max_bytes,
            extra=self._extra,
            home=self._home(),
            progress=progress,
            retries=retries,
            unless_etag=unless_etag,
        )

    def _home(self) -> Home:
        endpoint_url = str(self._clients.of(None).client.meta.endpoint_url)
        own = is_amazon_s3(endpoint_url)
        return Home(region=self._aws.region if own else None, host=urlsplit(endpoint_url).netloc)

    def _read_rest(
        self, reader: RangeReader, head: Head, *, start: int, fd: int, progress: Progress
    ) -> None:
        starts = deque(range(start, head.size_bytes, self._range_bytes))
        if not starts:
            return
        _reserve(fd, head.size_bytes)

        def work() -> None:
            # This thread works too, so a fetch proceeds even when all helpers are busy.
            try:
                while starts:
                    with suppress(IndexError):
                        at = starts.popleft()
                        reader.read(at, at + self._range_bytes, expected=head)
            except BaseException as exc:  # noqa: BLE001 - raised again by raise_failure
                progress.fail(exc)

        helpers: list[Future[None]] = [
            self._helpers.submit(work) for _ in range(min(self._range_threads, len(starts) - 1))
        ]
        work()
        wait([helper for helper in helpers if not helper.cancel()])
        progress.raise_failure()

    def _check_allowed(self, bucket: str) -> None:
        allowed = self._allowed_buckets
        if allowed and not any(fnmatchcase(bucket, pattern) for pattern in allowed):
            raise JobError(
                ErrorCode.S3_FORBIDDEN, f"The bucket is not on the allow-list: {bucket}"
            )


class _LastRead:
    """The object last read from each of the most recent buckets; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_bucket: dict[str, S3Location] = {}

    def put(self, bucket: str, location: S3Location) -> None:
        with self._lock:
            self._by_bucket.pop(bucket, None)
            self._by_bucket[bucket] = location
            if len(self._by_bucket) > MAX_BUCKETS:
                del self._by_bucket[next(iter(self._by_bucket))]

    def get(self, bucket: str) -> S3Location | None:
        with self._lock:
            return self._by_bucket.get(bucket)


@contextmanager
def _new_file(target: Path) -> Iterator[int]:
    """Create ``target``, readable by its owner only; remove it after an error."""
    try:
        fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as exc:
        raise disk_error(exc) from exc
    try:
        yield fd
    except BaseException:
        target.unlink(missing_ok=True)
        raise
    finally:
        os.close(fd)


def _reserve(fd: int, size_bytes: int) -> None:
    """Fail early if the disk has no room for the file."""
    try:
        os.posix_fallocate(fd, 0, size_bytes)
    except OSError as exc:
        raise disk_error(exc) from exc


def _fetched(target: Path, head: Head) -> FetchedObject:
    return FetchedObject(
        path=target,
        size_bytes=head.size_bytes,
        content_type=head.content_type,
        last_modified=head.last_modified,
        etag=head.etag.removeprefix("W/").strip('"') if head.etag else None,
        is_result=head.is_result,
    )
