"""Envelopes that are too long for an entry, read back from the store of results."""

from typing import Any, Final

import boto3

from detection_contract.error_codes import ErrorCode
from detection_worker import aws_session
from detection_worker.aws_session import CALL_ERRORS
from detection_worker.errors import JobError
from detection_worker.outbox.entry import StoredBody, sha256_of
from detection_worker.settings import MIB, AwsSettings
from detection_worker.storage.s3_errors import Interrupted, explain

READ_TIMEOUT_S: Final = 10.0
MAX_BYTES: Final = 64 * MIB
"""Far beyond any envelope: an object that was replaced must not fill the memory."""
_GONE: Final = frozenset(
    {ErrorCode.S3_NOT_FOUND, ErrorCode.S3_NO_SUCH_BUCKET, ErrorCode.EMPTY_FILE}
)


class StoredBodies:
    """Reads envelopes; thread-safe. Connects to S3 when the first one is read.

    Args:
        session: Session from ``aws_session.make_session``.
        aws: Region and endpoint.
        bucket_owner: Account that must own the bucket; None allows any.
    """

    def __init__(
        self, session: boto3.Session, aws: AwsSettings, *, bucket_owner: str | None = None
    ) -> None:
        self._session = session
        self._aws = aws
        self._extra = {"ExpectedBucketOwner": bucket_owner} if bucket_owner else {}
        self._client: Any = None

    def close(self) -> None:
        """Close all connections; no call may run."""
        if self._client is not None:
            self._client.close()

    def read(self, stored: StoredBody) -> bytes:
        """Return the bytes that ``sha256`` names: no other may be posted, or signed.

        Raises:
            JobError: ``RESULT_GONE`` if there is no such object or it was replaced,
                ``S3_UNAVAILABLE`` or ``CREDENTIALS`` if it cannot be read for now.
        """
        body = self._fetch(stored)
        if sha256_of(body) != stored.sha256:
            raise JobError(ErrorCode.RESULT_GONE, f"the stored result was replaced: {stored.url}")
        return body

    def _fetch(self, stored: StoredBody) -> bytes:
        location = stored.location
        try:
            answer = self._s3().get_object(Bucket=location.bucket, Key=location.key, **self._extra)
            with answer["Body"] as stream:
                return bytes(stream.read(MAX_BYTES))
        except CALL_ERRORS as exc:
            raise _judged(explain(exc, location), stored) from exc

    def _s3(self) -> Any:
        if self._client is None:
            self._client = aws_session.client(
                self._session, "s3", self._aws, read_timeout_s=READ_TIMEOUT_S
            )
        return self._client


def _judged(exc: Exception, stored: StoredBody) -> JobError:
    """Return what an error of S3 means for the entry: only a missing object is for good."""
    if isinstance(exc, JobError):
        if exc.code in _GONE:
            return JobError(ErrorCode.RESULT_GONE, f"the stored result is gone: {stored.url}")
        if exc.environment:
            return exc
    asked_s = exc.retry_after_s if isinstance(exc, Interrupted) else None
    reason = f"the stored result cannot be read: {exc}"
    return JobError(ErrorCode.S3_UNAVAILABLE, reason, retry_after_s=asked_s)
