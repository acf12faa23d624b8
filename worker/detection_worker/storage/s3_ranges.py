"""Ranged reads of one S3 object into an open file, resumed after interruptions."""

import os
import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

import urllib3.exceptions
from botocore.exceptions import ClientError

from detection_contract.aws.quick.answers import Answer
from detection_contract.aws.s3_urls import S3Location
from detection_contract.error_codes import ErrorCode
from detection_worker.aws_session import CALL_ERRORS
from detection_worker.errors import Cancelled, JobError
from detection_worker.storage.s3_answers import Head, as_response, not_modified, parse_answer
from detection_worker.storage.s3_clients import Connected
from detection_worker.storage.s3_errors import (
    Home,
    Interrupted,
    ObjectChanged,
    empty,
    explain,
    shown,
)

CHUNK_BYTES: Final = 64 * 1024
"""Most bytes of one read; small, so that progress is reported and cancelling is quick."""
MAX_PAUSE_S: Final = 2.0
"""For a longer wait the message goes back to the queue, which needs no worker for it."""
MIN_RATE_BYTES_S: Final = 16 * 1024
"""A connection below this rate is closed; no link between S3 and a worker is so slow."""
UNKNOWN_CODINGS: Final = frozenset({"br", "zstd", "compress", "x-compress", "dcb", "dcz"})
"""Content codings that the decoder cannot undo. Names that are no coding at all are ignored."""
_HEADERS: Final = {"Range": "range", "IfMatch": "if_match", "IfNoneMatch": "if_none_match"}
_SUCCESSES: Final = frozenset({HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT})
_POLL_S: Final = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Retries:
    """Retries of one range.

    Attributes:
        attempts: Attempts in total, >= 1.
        base_s: Longest first pause, in seconds; doubles with each attempt, with full jitter.
        stall_window_s: Seconds over which the rate of a connection is measured.
    """

    attempts: int = 4
    base_s: float = 0.2
    stall_window_s: float = 20.0


class Progress:
    """Reports progress and checks for cancellation, from several threads at once."""

    def __init__(self, on_progress: Callable[[], None], cancelled: Callable[[], bool]) -> None:
        self._on_progress = on_progress
        self._cancelled = cancelled
        self._lock = threading.Lock()
        self._failure: BaseException | None = None

    def step(self) -> None:
        """Report progress.

        Raises:
            Cancelled: The caller cancelled, or another thread of the same object failed.
        """
        with self._lock:
            self._on_progress()
        self.check()

    def check(self) -> None:
        """Raise ``Cancelled`` if the download is to stop."""
        with self._lock:
            if self._failure is not None or self._cancelled():
                raise Cancelled("the download was cancelled")

    def fail(self, failure: BaseException) -> None:
        """Stop all threads; the first failure counts."""
        with self._lock:
            self._failure = self._failure or failure

    def raise_failure(self) -> None:
        """Raise the first failure of any thread, if there was one."""
        if self._failure is not None:
            raise self._failure


@dataclass(slots=True, kw_only=True)
class _Cursor:
    """Position in a range, kept over interruptions.

    Attributes:
        position: Offset of the next byte.
        stop: Offset after the last byte wanted.
        head: Metadata of the object whose bytes were written; None before the first answer.
    """

    position: int
    stop: int
    head: Head | None

    @property
    def wants_more(self) -> bool:
        return self.head is None or self.position < min(self.stop, self.head.size_bytes)


class RangeReader:
    """Reads ranges of one object into one file; several threads may each read another range."""

    def __init__(
        self,
        connected: Connected,
        location: S3Location,
        *,
        fd: int,
        max_bytes: int,
        extra: dict[str, str],
        home: Home,
        progress: Progress,
        retries: Retries,
        unless_etag: str | None = None,
    ) -> None:
        """Prepare for one object.

        Args:
            connected: How S3 is asked.
            location: The object.
            fd: File descriptor open for writing; the caller closes it.
            max_bytes: Larger objects are refused by the first answer.
            extra: Further parameters of ``get_object``.
            home: The worker's region and endpoint.
            progress: Called after every chunk.
            retries: Retries of each range.
            unless_etag: ETag with quotes of an object that need not be read.
        """
        self._client, self._quick = connected.client, connected.quick
        self._location = location
        self._fd = fd
        self._max_bytes = max_bytes
        self._home = home
        self._progress = progress
        self._retries = retries
        self._unless_etag = unless_etag
        self._request = {"Bucket": location.bucket, "Key": location.key, **extra}
        if location.version_id:
            self._request["VersionId"] = location.version_id

    def read(self, start: int, stop: int, *, expected: Head | None = None) -> tuple[Head, int]:
        """Read the bytes from ``start`` up to ``stop`` or the object's end, to the same offsets.

        Args:
            start: Offset of the first byte.
            stop: Offset after the last byte.
            expected: Metadata from an earlier range of the same object.

        Returns:
            The object's metadata, and the offset after the last byte read, which is beyond
            ``stop`` if the store ignores ranges.

        Raises:
            JobError: The object cannot be read.
            ObjectChanged: The object is not the ``expected`` one.
            NotModified: Nothing was read yet, and the object has the ETag ``unless_etag``.
            Cancelled: The caller cancelled.
        """
        cursor = _Cursor(position=start, stop=stop, head=expected)
        attempt = 1
        while cursor.wants_more:
            self._progress.check()
            try:
                self._read_once(cursor)
            except Interrupted as interrupted:
                self._pause(interrupted, attempt)
                attempt += 1
        assert cursor.head is not None  # noqa: S101 - wants_more said so
        return cursor.head, cursor.position

    def _read_once(self, cursor: _Cursor) -> None:
        parameters = self._parameters(cursor)
        try:
            response = self._quickly(parameters) or self._client.get_object(**parameters)
        except CALL_ERRORS as exc:
            if self._unless_etag and (same := not_modified(exc)):
                raise same from exc
            meaning = explain(exc, self._location, self._home)
            # The object had more bytes before, so it was replaced.
            empty = isinstance(meaning, JobError) and meaning.code is ErrorCode.EMPTY_FILE
            if empty and cursor.position > 0:
                meaning = ObjectChanged()
            raise meaning from exc
        with response["Body"] as stream:
            head, position, length = parse_answer(response)
            if cursor.head not in (None, head):
                raise ObjectChanged
            self._accept(head)
            cursor.head = head
            if position not in (cursor.position, 0) or position + length > head.size_bytes:
                raise Interrupted("S3 answered with another range")
            cursor.position = position  # 0 if the store ignores ranges
            self._copy(stream, cursor, length)

    def _quickly(self, parameters: Mapping[str, str]) -> dict[str, Any] | None:
        """Ask S3 without botocore; None if botocore has to ask.

        Raises:
            ClientError: What botocore would raise.
        """
        headers = {_HEADERS[name]: value for name, value in parameters.items() if name in _HEADERS}
        try:
            answer = self._quick.get(
                self._location.bucket,
                self._location.key,
                version_id=self._location.version_id,
                **headers,
            )
            if answer is None:
                return None
            if answer.status_code not in _SUCCESSES:
                error = self._quick.error_of(answer)
                if error is not None:
                    raise error
                return None
        except ClientError:
            raise
        except CALL_ERRORS:
            return None
        return as_response(answer)

    def _parameters(self, cursor: _Cursor) -> dict[str, str]:
        parameters = {**self._request, "Range": f"bytes={cursor.position}-{cursor.stop - 1}"}
        if cursor.head is not None and cursor.head.etag:
            parameters["IfMatch"] = cursor.head.etag
        if cursor.head is None and self._unless_etag:
            parameters["IfNoneMatch"] = self._unless_etag
        return parameters

    def _accept(self, head: Head) -> None:
        if head.size_bytes == 0:
            raise JobError(ErrorCode.EMPTY_FILE, empty(self._location))
        if head.size_bytes > self._max_bytes:
            raise JobError(
                ErrorCode.TOO_LARGE,
                f"S3 file has {head.size_bytes} bytes, allowed are {self._max_bytes}: "
                f"{shown(self._location)}",
            )

        codings = {name.strip().lower() for name in (head.content_encoding or "").split(",")}
        if unknown := codings & UNKNOWN_CODINGS:
            raise JobError(
                ErrorCode.UNSUPPORTED_TYPE,
                f"S3 file is stored with Content-Encoding {', '.join(sorted(unknown))}, which is "
                f"not supported (gzip and deflate are): {shown(self._location)}",
            )

    def _copy(
        self, stream: urllib3.BaseHTTPResponse | Answer, cursor: _Cursor, length: int
    ) -> None:
        rate = _RateCheck(self._retries.stall_window_s)
        end = cursor.position + length
        while cursor.position < end:
            try:
                chunk = stream.read1(min(CHUNK_BYTES, end - cursor.position))
            except urllib3.exceptions.HTTPError as exc:
                raise Interrupted(f"reading from S3 broke off ({type(exc).__name__})") from exc
            if not chunk:
                raise Interrupted("S3 sent fewer bytes than it announced")
            self._write(chunk, cursor)
            self._progress.step()
            rate.add(len(chunk))

    def _write(self, chunk: bytes, cursor: _Cursor) -> None:
        rest = memoryview(chunk)
        while rest:
            try:
                written = os.pwrite(self._fd, rest, cursor.position)
            except OSError as exc:
                raise disk_error(exc) from exc
            cursor.position += written
            rest = rest[written:]

    def _pause(self, interrupted: Interrupted, attempt: int) -> None:
        asked_s = interrupted.retry_after_s or 0.0
        if attempt == self._retries.attempts or asked_s > MAX_PAUSE_S:
            raise JobError(
                ErrorCode.S3_UNAVAILABLE,
                f"Failed to download S3 file after {attempt} attempt(s): {interrupted}",
                retry_after_s=interrupted.retry_after_s,
                environment=interrupted.environment,
            ) from interrupted
        cap_s = min(MAX_PAUSE_S, self._retries.base_s * 2.0 ** (attempt - 1))
        until_s = time.monotonic() + max(asked_s, random.uniform(0.0, cap_s))  # noqa: S311 - jitter
        while (left_s := until_s - time.monotonic()) > 0:
            self._progress.check()
            time.sleep(min(left_s, _POLL_S))


class _RateCheck:
    """Interrupts a connection that is too slow."""

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._since_s = time.monotonic()
        self._received_bytes = 0

    def add(self, received_bytes: int) -> None:
        self._received_bytes += received_bytes
        elapsed_s = time.monotonic() - self._since_s
        if elapsed_s < self._window_s:
            return
        if self._received_bytes < MIN_RATE_BYTES_S * elapsed_s:
            raise Interrupted(f"S3 sent under {MIN_RATE_BYTES_S} bytes a second")
        self._since_s, self._received_bytes = time.monotonic(), 0


def disk_error(exc: OSError) -> JobError:
    """Return the transient error for a local disk that cannot be written to."""
    reason = exc.strerror or type(exc).__name__
    return JobError(
        ErrorCode.S3_UNAVAILABLE,
        f"The download could not be written to the local disk: {reason}",
        environment=True,
    )
