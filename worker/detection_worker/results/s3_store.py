"""Results as objects in S3."""

import hashlib
import logging
import threading
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

import boto3
from botocore.exceptions import ClientError

from detection_contract.aws.errors import error_code, http_status
from detection_contract.aws.s3_prefixes import S3PrefixLocation
from detection_contract.aws.s3_urls import S3Location, s3_uri
from detection_contract.result_keys import (
    DEFAULT_TEMPLATE,
    INDEX,
    MESSAGE_ID,
    SHA256,
    encoded,
    page_key,
    result_key,
)
from detection_worker import aws_session
from detection_worker.aws_session import CALL_ERRORS
from detection_worker.errors import JobError
from detection_worker.results.base import ResultId, StoredResult
from detection_worker.results.s3_store_errors import Bucket, explain_store
from detection_worker.settings import MIB, AwsSettings
from detection_worker.storage.s3_errors import missing_permission
from detection_worker.storage.s3_quick import QuickCalls

POOL: Final = 32
READ_TIMEOUT_S: Final = 10.0
MAX_READ_BYTES: Final = 64 * MIB
"""No envelope is larger; a larger object is not one of ours."""
JSON: Final = "application/json"
HTML: Final = "text/html; charset=utf-8"
_TRIES: Final = 3
"""Conditional writes, each after another writer came first."""
_LOST_RACES: Final = frozenset({HTTPStatus.CONFLICT, HTTPStatus.PRECONDITION_FAILED})
_UNUSABLE: Final = frozenset({"InvalidObjectState", "InvalidRequest"})
"""An object that is archived, or encrypted with a key of the uploader's."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class _There:
    """An object under the key of a result.

    Attributes:
        etag: With its quotes.
        body: The envelope; None if the object is another's, or damaged.
    """

    etag: str
    body: bytes | None


class S3ResultStore:
    """Keeps envelopes in one bucket; thread-safe. See ``ResultStore``.

    A first delivery costs one ``PutObject``, which creates the object or fails; only then the one
    that is there is read, and kept if it answers the same message.
    """

    def __init__(
        self,
        session: boto3.Session,
        aws: AwsSettings,
        *,
        prefix: S3PrefixLocation,
        template: str = DEFAULT_TEMPLATE,
        kms_key_id: str | None = None,
        bucket_owner: str | None = None,
        read_timeout_s: float = READ_TIMEOUT_S,
        pool: int = POOL,
    ) -> None:
        """Connect to nothing yet.

        Args:
            session: Session from ``aws_session.make_session``.
            aws: Region and endpoint; botocore follows a bucket to another region.
            prefix: Where results lie.
            template: Key below the prefix, one that ``is_key_template`` accepts.
            kms_key_id: KMS key for SSE-KMS; None leaves encryption to the bucket.
            bucket_owner: Account that must own the bucket.
            read_timeout_s: Longest pause between two reads of a connection.
            pool: Connections kept; as many as threads may store at once.
        """
        self._bucket = Bucket(name=prefix.bucket, kms_key_id=kms_key_id, owner=bucket_owner)
        self._prefix = prefix.prefix
        self._template = template
        self._client = aws_session.client(
            session, "s3", aws, read_timeout_s=read_timeout_s, pool=pool
        )
        self._quick = QuickCalls(session, self._client, expected_bucket_owner=bucket_owner)
        self._conditional = True
        self._warn_lock = threading.Lock()
        self._warned = False

    def close(self) -> None:
        """Close all connections; no call may run."""
        self._client.close()

    def put(self, result_id: ResultId, body: bytes) -> StoredResult:
        """Store an envelope; see ``ResultStore.put``."""
        key = self._key(result_id)
        with self._explained():
            condition = {"IfNoneMatch": "*"} if self._conditional else {}
            for _ in range(_TRIES):
                if self._written(key, result_id, body, condition):
                    return self._stored(key, body)
                there = self._get(key, result_id)
                if there is not None and there.body is not None:
                    return self._stored(key, there.body)
                condition = {"IfMatch": there.etag} if there else {}
            self._write(key, result_id, body, {})
        return self._stored(key, body)

    def put_page(self, result_id: ResultId, page: bytes, *, only_if_missing: bool) -> None:
        """Store a page; see ``PageStore.put_page``."""
        if only_if_missing and not self._conditional:
            return
        condition = {"IfNoneMatch": "*"} if only_if_missing else {}
        with self._explained():
            try:
                self._write(
                    page_key(self._key(result_id)), result_id, page, condition, content_type=HTML
                )
            except ClientError as exc:
                status = http_status(exc.response)
                if not condition or status not in {*_LOST_RACES, HTTPStatus.NOT_IMPLEMENTED}:
                    raise

    def find(self, result_id: ResultId) -> StoredResult | None:
        """Return what an earlier delivery stored; see ``ResultStore.find``."""
        key = self._key(result_id)
        with self._explained():
            there = self._get(key, result_id)
        if there is None or there.body is None:
            return None
        return self._stored(key, there.body)

    def _key(self, result_id: ResultId) -> str:
        media = result_id.media
        return result_key(
            self._template,
            prefix=self._prefix,
            request_id=result_id.request_id,
            message_id=result_id.message_id,
            index=result_id.index,
            sent_at_s=result_id.sent_at_s,
            media=None if media is None else (media.bucket, media.key),
        )

    def _stored(self, key: str, body: bytes) -> StoredResult:
        return StoredResult(url=s3_uri(S3Location(bucket=self._bucket.name, key=key)), body=body)

    def _written(
        self, key: str, result_id: ResultId, body: bytes, condition: Mapping[str, str]
    ) -> bool:
        """Write under a condition; False if it does not hold."""
        try:
            self._write(key, result_id, body, condition)
        except ClientError as exc:
            code, status = error_code(exc.response), http_status(exc.response)
            if condition and status == HTTPStatus.NOT_IMPLEMENTED:
                self._conditional = False
                self._write(key, result_id, body, {})
                return True
            gone = "IfMatch" in condition and code == "NoSuchKey"
            if not condition or not (gone or status in _LOST_RACES):
                raise
            return False
        return True

    def _write(
        self,
        key: str,
        result_id: ResultId,
        body: bytes,
        condition: Mapping[str, str],
        *,
        content_type: str = JSON,
    ) -> None:
        digest = hashlib.sha256(body)
        metadata = {**_marks(result_id), SHA256: digest.hexdigest()}
        parameters = {
            "ContentType": content_type,
            # Given, not left to botocore, which would send it after the body: other stores than
            # S3 do not know trailers.
            "ChecksumAlgorithm": "SHA256",
            "ChecksumSHA256": b64encode(digest.digest()).decode(),
            **self._bucket.encryption,
            **condition,
        }
        if not self._quickly(key, body, metadata, parameters):
            self._client.put_object(
                **self._object(key), **parameters, Body=body, Metadata=metadata
            )

    def _quickly(
        self, key: str, body: bytes, metadata: Mapping[str, str], parameters: Mapping[str, str]
    ) -> bool:
        """Write without botocore; False if it has to say what is wrong, and what helps.

        A write whose answer is lost is found by the condition of the next.
        """
        try:
            answer = self._quick.put(
                self._bucket.name, key, body, parameters=parameters, metadata=metadata
            )
        except CALL_ERRORS:
            return False
        return answer is not None and answer.status_code == HTTPStatus.OK

    def _get(self, key: str, result_id: ResultId) -> _There | None:
        try:
            answer = self._client.get_object(**self._object(key))
        except ClientError as exc:
            if not self._means_nothing(exc):
                raise
            return None
        with answer["Body"] as stream:
            metadata: Mapping[str, str] = answer.get("Metadata", {})
            body = stream.read() if _is_ours(answer, metadata, result_id) else None
        if body is not None and hashlib.sha256(body).hexdigest() != metadata.get(SHA256):
            log.warning("the stored result %s is damaged and will be replaced", key)
            body = None
        return _There(etag=str(answer.get("ETag", "")), body=body)

    def _means_nothing(self, exc: ClientError) -> bool:
        """Return whether an answer to a read stands for no object, or for one of no use."""
        code, status = error_code(exc.response), http_status(exc.response)
        if status == HTTPStatus.NOT_FOUND and code != "NoSuchBucket":
            return True
        if code == "AccessDenied":
            self._warn_denied(missing_permission(exc))
            return True
        return code in _UNUSABLE

    def _warn_denied(self, missing: str | None) -> None:
        with self._warn_lock:
            if self._warned:
                return
            self._warned = True
        log.warning(
            "stored results in %s cannot be read (%s), so redelivered messages are analysed "
            "again; allow s3:GetObject on them and s3:ListBucket on the bucket, without which S3 "
            "denies objects that do not exist",
            self._bucket.name,
            f"{missing} is not allowed" if missing else "Access Denied",
        )

    def _object(self, key: str) -> dict[str, str]:
        return {"Bucket": self._bucket.name, "Key": key, **self._bucket.ownership}

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn errors of calls into ``JobError``; other exceptions are bugs and pass."""
        try:
            yield
        except JobError:
            raise
        except CALL_ERRORS as exc:
            raise explain_store(exc, self._bucket) from exc


def _marks(result_id: ResultId) -> dict[str, str]:
    # Metadata travels in headers, which are ASCII.
    return {MESSAGE_ID: encoded(result_id.message_id), INDEX: str(result_id.index)}


def _is_ours(answer: Mapping[str, Any], metadata: Mapping[str, str], result_id: ResultId) -> bool:
    small = int(answer.get("ContentLength", 0)) <= MAX_READ_BYTES
    return small and _marks(result_id).items() <= metadata.items()
