"""Cache entries as objects of S3, or of a store that speaks its protocol."""

import re
import time
from collections.abc import Callable
from contextlib import closing
from http import HTTPStatus
from typing import Final, TypeVar

import boto3
from botocore.exceptions import ClientError
from botocore.response import StreamingBody

from detection_contract.aws.errors import error_code, http_status
from detection_contract.aws.s3_prefixes import S3PrefixLocation
from detection_worker import aws_session
from detection_worker.aws_session import CALL_ERRORS
from detection_worker.cache.base import CacheError, StoredEntry
from detection_worker.cache.codec import MAX_ENTRY_BYTES
from detection_worker.settings import AwsSettings
from detection_worker.storage.s3_quick import QuickCalls

CONNECT_TIMEOUT_S: Final = 1.0
READ_TIMEOUT_S: Final = 2.0
"""A cache that takes longer costs more than it saves."""
BODY_S: Final = 3.0
"""Longest time for all of an entry, however slowly it comes."""
RETRY_WITHIN_S: Final = 0.5
"""A call that fails sooner is made once more: a kept connection may have been closed meanwhile."""
POOL: Final = 32
CHUNK_BYTES: Final = 64 * 1024
_JSON: Final = "application/json"
_LOST: Final = frozenset({409, 412})
"""``If-None-Match`` and ``If-Match`` answer so if another worker writes or wrote the entry."""
_NO_CONDITIONS: Final = frozenset({400, 501})
"""Stores that do not know conditional writes answer so."""
_LIST_MISSING: Final = re.compile(r"not authorized to perform: s3:ListBucket\b")
"""Without this permission S3 denies access to an object that does not exist."""

_NO_KEY: Final = b"<Code>NoSuchKey</Code>"

R = TypeVar("R")


class S3Entries:
    """Entries below a prefix; thread-safe. Needs ``s3:GetObject`` and ``s3:PutObject`` there.

    Args:
        session: Session from ``aws_session.make_session``.
        aws: Region and endpoint.
        place: Bucket and prefix.
        expected_bucket_owner: Account that must own the bucket.
        pool: Connections kept; as many as threads may use at once.
    """

    def __init__(
        self,
        session: boto3.Session,
        aws: AwsSettings,
        place: S3PrefixLocation,
        *,
        expected_bucket_owner: str | None = None,
        pool: int = POOL,
    ) -> None:
        self._client = aws_session.client(
            session,
            "s3",
            aws,
            read_timeout_s=READ_TIMEOUT_S,
            connect_timeout_s=CONNECT_TIMEOUT_S,
            pool=pool,
            attempts=1,
        )
        self._bucket, self._prefix = place.bucket, place.prefix
        self._common = {"Bucket": place.bucket}
        self._quick = QuickCalls(
            session, self._client, expected_bucket_owner=expected_bucket_owner
        )
        if expected_bucket_owner:
            self._common["ExpectedBucketOwner"] = expected_bucket_owner
        self._conditional = True

    def close(self) -> None:
        """Close all connections."""
        self._client.close()

    def get(self, name: str) -> StoredEntry | None:
        """Return an entry; see ``EntryStore.get``."""
        try:
            return _twice(lambda: self._get(name))
        except CALL_ERRORS as exc:
            if _is_absent(exc):
                return None
            # A single entry can be refused: S3 hides what is absent from a role that may not list.
            raise _explained(exc, denial_lasts=False) from exc

    def put(self, name: str, body: bytes, *, replaces: str | None) -> str | None:
        """Write an entry; see ``EntryStore.put``."""
        conditions = {"IfMatch": replaces} if replaces else {"IfNoneMatch": "*"}
        try:
            if self._conditional:
                try:
                    return _twice(lambda: self._put(name, body, **conditions))
                except ClientError as exc:
                    if _is_lost(exc, replaces=replaces):
                        return None
                    if not _may_not_know(exc):
                        raise
            etag = self._put(name, body)
        except CALL_ERRORS as exc:
            raise _explained(exc) from exc
        # What was refused with a condition is accepted without.
        self._conditional = False
        return etag

    def _get(self, name: str) -> StoredEntry | None:
        key = self._prefix + name
        answer = self._quick.get(self._bucket, key)
        if answer is not None:
            if answer.status_code == HTTPStatus.OK:
                stream = StreamingBody(answer, answer.headers.get("content-length"))
                return StoredEntry(body=_read(stream), etag=answer.headers.get("etag"))
            # The whole answer is read, so that its connection can be used again.
            if answer.status_code == HTTPStatus.NOT_FOUND and _NO_KEY in answer.content:
                return None
            answer.close()
        response = self._client.get_object(**self._common, Key=key)
        return StoredEntry(body=_read(response["Body"]), etag=response.get("ETag") or None)

    def _put(self, name: str, body: bytes, **conditions: str) -> str:
        key, parameters = self._prefix + name, {"ContentType": _JSON, **conditions}
        answer = self._quick.put(self._bucket, key, body, parameters=parameters)
        if answer is not None and answer.status_code == HTTPStatus.OK:
            return str(answer.headers.get("etag", ""))
        response = self._client.put_object(**self._common, **parameters, Key=key, Body=body)
        return str(response.get("ETag", ""))


def _read(body: StreamingBody) -> bytes:
    until_s = time.monotonic() + BODY_S
    chunks, size = [], 0
    # Not "with": the stream inside does not notice that it ends early.
    with closing(body) as stream:
        # One byte more than allowed shows that it is too long; the rest is not read.
        while size <= MAX_ENTRY_BYTES and (chunk := stream.read(CHUNK_BYTES)):
            chunks.append(chunk)
            size += len(chunk)
            if time.monotonic() > until_s:
                raise CacheError("an entry comes too slowly")
    return b"".join(chunks)


def _twice(call: Callable[[], R]) -> R:
    """Call once more if the connection failed at once."""
    started_s = time.monotonic()
    try:
        return call()
    except ClientError:
        raise
    except CALL_ERRORS:
        if time.monotonic() - started_s > RETRY_WITHIN_S:
            raise
    return call()


def _is_absent(exc: Exception) -> bool:
    if not isinstance(exc, ClientError):
        return False
    code, status = error_code(exc.response), http_status(exc.response)
    if status == 403:
        return bool(_LIST_MISSING.search(_message(exc)))
    return status == 404 and code != "NoSuchBucket"


def _is_lost(exc: ClientError, *, replaces: str | None) -> bool:
    code, status = error_code(exc.response), http_status(exc.response)
    # 404: what was to be replaced has expired meanwhile.
    gone = replaces is not None and status == 404 and code != "NoSuchBucket"
    return status in _LOST or gone


def _may_not_know(exc: ClientError) -> bool:
    refused = http_status(exc.response) in _NO_CONDITIONS
    return refused and not aws_session.is_credentials_error(exc)


def _message(exc: ClientError) -> str:
    return str(exc.response.get("Error", {}).get("Message", ""))


def _explained(exc: Exception, *, denial_lasts: bool = True) -> CacheError:
    if not isinstance(exc, ClientError):
        return CacheError(f"S3 cannot be reached ({type(exc).__name__})")
    code, status = error_code(exc.response), http_status(exc.response)
    if status == 403 and not aws_session.is_credentials_error(exc):
        return CacheError(f"access is denied ({code})", denied=True, lasts=denial_lasts)
    return CacheError(f"S3 answered {status} ({code})")
