"""Listings of S3 buckets, page by page, and small objects read whole."""

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any, BinaryIO, Final

import boto3
from botocore.exceptions import ClientError

from detection_contract.aws.errors import error_code, http_status
from detection_contract.aws.s3_urls import S3Location
from detection_contract.error_codes import ErrorCode
from detection_worker import aws_session
from detection_worker.aws_session import CALL_ERRORS
from detection_worker.core.batch.objects import StoredObject
from detection_worker.errors import JobError
from detection_worker.settings import AwsSettings
from detection_worker.storage.s3_errors import explain

PAGE: Final = 1000
"""Most keys of one ListObjectsV2."""
ATTEMPTS: Final = 6
"""A long listing meets throttling and lost connections now and then."""
READ_TIMEOUT_S: Final = 30.0
CHUNK_BYTES: Final = 1 << 20
_ARCHIVES: Final = frozenset({"GLACIER", "DEEP_ARCHIVE"})


class S3Listing:
    """Lists prefixes and reads objects into memory; thread-safe.

    Args:
        session: Session from ``aws_session.make_session``.
        aws: Region, endpoint, allowed buckets and their owner.
        pool: Connections kept; at least the number of threads that read at once.
    """

    def __init__(self, session: boto3.Session, aws: AwsSettings, *, pool: int = 10) -> None:
        self._allowed = aws.allowed_buckets
        owner = aws.expected_bucket_owner
        self._extra = {"ExpectedBucketOwner": owner} if owner else {}
        self._s3 = aws_session.client(
            session, "s3", aws, read_timeout_s=READ_TIMEOUT_S, pool=pool, attempts=ATTEMPTS
        )

    def close(self) -> None:
        """Close all connections; no call may run."""
        self._s3.close()

    def objects(
        self, bucket: str, prefix: str, *, after: str | None = None
    ) -> Iterator[StoredObject]:
        """Yield the objects below a prefix in the order of their keys, a page in memory at a time.

        Args:
            bucket: Bucket name.
            prefix: What every key begins with; empty for all.
            after: Only keys behind this one in S3's order (UTF-8 bytes).

        Raises:
            JobError: ``S3_*`` or ``CREDENTIALS``: the listing failed, perhaps in its middle.
        """
        self._check_allowed(bucket)
        request = {"Bucket": bucket, "Prefix": prefix, "MaxKeys": PAGE, **self._extra}
        request["OptionalObjectAttributes"] = ["RestoreStatus"]
        if after is not None:
            request["StartAfter"] = after
        while True:
            page = self._page(request)
            for entry in page.get("Contents", ()):
                yield _object(bucket, entry)
            if not page.get("IsTruncated"):
                return
            request["ContinuationToken"] = page["NextContinuationToken"]

    def read(self, location: S3Location, *, max_bytes: int) -> bytes:
        """Return the bytes of a small object.

        Raises:
            JobError: As for ``Storage.fetch``; ``TOO_LARGE`` above ``max_bytes``.
        """
        try:
            with self._get(location)["Body"] as body:
                data = bytes(body.read(max_bytes + 1))
        except CALL_ERRORS as exc:
            raise _as_job_error(exc, location) from exc
        if len(data) > max_bytes:
            raise JobError(ErrorCode.TOO_LARGE, f"the object is longer than {max_bytes} bytes")
        return data

    def copy_to(self, location: S3Location, file: BinaryIO) -> None:
        """Write the bytes of an object to a file.

        Raises:
            JobError: As for ``Storage.fetch``.
            OSError: The file cannot be written.
        """
        for chunk in self._chunks(location):
            file.write(chunk)

    def _chunks(self, location: S3Location) -> Iterator[bytes]:
        # The consumer's own errors, such as a full disk, do not pass through here.
        try:
            with self._get(location)["Body"] as body:
                while chunk := body.read(CHUNK_BYTES):
                    yield chunk
        except CALL_ERRORS as exc:
            raise _as_job_error(exc, location) from exc

    def _get(self, location: S3Location) -> Mapping[str, Any]:
        self._check_allowed(location.bucket)
        request = {"Bucket": location.bucket, "Key": location.key, **self._extra}
        if location.version_id:
            request["VersionId"] = location.version_id
        answer: Mapping[str, Any] = self._s3.get_object(**request)
        return answer

    def _page(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        try:
            page: Mapping[str, Any] = self._s3.list_objects_v2(**request)
        except CALL_ERRORS as exc:
            raise _listing_failed(exc, str(request["Bucket"]), str(request["Prefix"])) from exc
        return page

    def _check_allowed(self, bucket: str) -> None:
        if self._allowed and not any(fnmatchcase(bucket, p) for p in self._allowed):
            raise JobError(
                ErrorCode.S3_FORBIDDEN, f"The bucket is not on the allow-list: {bucket}"
            )


def _object(bucket: str, entry: Mapping[str, Any]) -> StoredObject:
    restored = entry.get("RestoreStatus", {}).get("RestoreExpiryDate") is not None
    return StoredObject(
        bucket=bucket,
        key=str(entry["Key"]),
        etag=str(entry.get("ETag", "")).strip('"') or None,
        size_bytes=entry.get("Size"),
        last_modified=entry.get("LastModified"),
        archived=entry.get("StorageClass") in _ARCHIVES and not restored,
    )


def _listing_failed(exc: Exception, bucket: str, prefix: str) -> JobError:
    where = f"s3://{bucket}/{prefix}"
    if isinstance(exc, ClientError) and not aws_session.is_credentials_error(exc):
        code, status = error_code(exc.response), http_status(exc.response)
        if status == 403 or code == "AccessDenied":
            return JobError(
                ErrorCode.S3_FORBIDDEN,
                f"Listing is denied: {where} (s3:ListBucket is needed on the bucket)",
            )
    return _as_job_error(exc, S3Location(bucket=bucket, key=prefix or "/"))


def _as_job_error(exc: Exception, location: S3Location) -> JobError:
    found = explain(exc, location)
    if isinstance(found, JobError):
        return found
    return JobError(ErrorCode.S3_UNAVAILABLE, str(found) or "S3 gave no answer")
