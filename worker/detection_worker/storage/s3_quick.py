"""Small reads and writes of S3 for a third of the CPU that botocore spends on one.

Answering from a cache costs two small reads and storing a result one small write, so most of that
CPU would be spent in botocore: on events, endpoint rules and parsing. Here a request is signed and
sent as botocore's own first request for the bucket was. Anything but a plain answer is left to
botocore, which knows redirects, regions, access points and retries.
"""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote

import boto3
from botocore.exceptions import ClientError
from botocore.parsers import create_parser
from requests.structures import CaseInsensitiveDict

from detection_contract.aws.quick.answers import CHUNK_BYTES, Answer
from detection_contract.aws.quick.exchange import Connections
from detection_contract.aws.quick.signing import keys_of, sign

MAX_BUCKETS: Final = 64
_SCHEMES: Final = frozenset({"v4", "s3v4"})
"""Botocore's names of Signature Version 4."""
_UNESCAPED: Final = "/~"
_FOLLOWED: Final = frozenset({300, 301, 302, 303, 307, 308, 400})
"""Statuses after which botocore may ask another region, or tells which keys are wrong."""
_LEARNED_FROM: Final = ("GetObject", "PutObject")
_HEADERS: Final = {
    "ChecksumAlgorithm": "x-amz-sdk-checksum-algorithm",
    "ChecksumSHA256": "x-amz-checksum-sha256",
    "ContentType": "content-type",
    "ExpectedBucketOwner": "x-amz-expected-bucket-owner",
    "IfMatch": "if-match",
    "IfNoneMatch": "if-none-match",
    "SSEKMSKeyId": "x-amz-server-side-encryption-aws-kms-key-id",
    "ServerSideEncryption": "x-amz-server-side-encryption",
}
"""Headers of the parameters of PutObject, apart from ``Metadata``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """How the objects of a bucket are asked for.

    Attributes:
        base: URL up to the slash before the key.
        region: Region that requests are signed for.
        user_agent: User agent of the client.
    """

    base: str
    region: str
    user_agent: str


class QuickCalls:
    """Reads and writes objects of buckets that the client has asked before. Thread-safe.

    Args:
        session: With the credentials of ``client``.
        client: A boto3 S3 client; its connections are used.
        expected_bucket_owner: Account that must own the bucket.
    """

    def __init__(
        self, session: boto3.Session, client: Any, *, expected_bucket_owner: str | None = None
    ) -> None:
        self._credentials = session.get_credentials
        owner = expected_bucket_owner
        self._extra = {"x-amz-expected-bucket-owner": owner} if owner else {}
        self._connections = Connections(client)
        model = client.meta.service_model
        self._parser = create_parser(model.metadata["protocol"])
        self._shape = model.operation_model("GetObject").output_shape
        self._lock = threading.Lock()
        self._places: dict[str, Place] = {}
        for operation in _LEARNED_FROM:
            client.meta.events.register(f"request-created.s3.{operation}", self._learn)

    def get(
        self, bucket: str, key: str, *, version_id: str | None = None, **headers: str
    ) -> Answer | None:
        """Return the answer of S3, its body unread.

        Args:
            bucket: As botocore was given it.
            key: Object key.
            version_id: None means the latest.
            headers: Further headers, with ``_`` for ``-``.

        Returns:
            None if it has to be asked by botocore: nothing was sent.

        Raises:
            Exception: One of ``aws_session.CALL_ERRORS``.
        """
        query = "" if version_id is None else f"?versionId={quote(version_id, safe='')}"
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self._send("GET", bucket, f"{quote(key, safe=_UNESCAPED)}{query}", named)

    def put(
        self,
        bucket: str,
        key: str,
        body: bytes,
        *,
        parameters: Mapping[str, str],
        metadata: Mapping[str, str] | None = None,
    ) -> Answer | None:
        """Write an object; return the answer of S3, its body read.

        Args:
            bucket: As botocore was given it.
            key: Object key.
            body: The whole object.
            parameters: Further ones of botocore's ``put_object``, by its names.
            metadata: User metadata.

        Returns:
            None if botocore has to write it: nothing was sent.

        Raises:
            Exception: One of ``aws_session.CALL_ERRORS``; the object may have been written.
        """
        headers = {_HEADERS[name]: value for name, value in parameters.items()}
        marks = {f"x-amz-meta-{name}": value for name, value in (metadata or {}).items()}
        path = quote(key, safe=_UNESCAPED)
        answer = self._send("PUT", bucket, path, headers | marks, body=body)
        if answer is not None:
            with answer:
                answer.read(CHUNK_BYTES)
        return answer

    def error_of(self, answer: Answer) -> ClientError | None:
        """Return what botocore would raise for an answer to a read, which is read and closed.

        Returns:
            None for an answer that botocore might not leave at that.
        """
        with answer:
            if answer.status_code in _FOLLOWED:
                return None
            body = answer.read(CHUNK_BYTES)
        told = {
            "status_code": answer.status_code,
            "headers": CaseInsensitiveDict(answer.headers),
            "body": body,
        }
        return ClientError(self._parser.parse(told, self._shape), "GetObject")

    def _send(
        self,
        method: str,
        bucket: str,
        path: str,
        headers: Mapping[str, str],
        *,
        body: bytes = b"",
    ) -> Answer | None:
        place, found = self._places.get(bucket), self._credentials()
        # Of headers that are not ASCII botocore knows what to say.
        plain = all(value.isascii() and value.isprintable() for value in headers.values())
        if place is None or found is None or not plain:
            return None
        url = f"{place.base}/{path}"
        signed = sign(
            url,
            {**headers, **self._extra, "user-agent": place.user_agent},
            keys=keys_of(found),
            region=place.region,
            now=datetime.now(tz=UTC),
            method=method,
            body=body,
        )
        return self._connections.send(method, url, signed, body)

    def _learn(self, request: Any, **_: Any) -> None:
        """Note how botocore asks for an object of a bucket."""
        place = _place_of(request)
        if place is None:
            return
        bucket, how = place
        with self._lock:
            if bucket in self._places or len(self._places) < MAX_BUCKETS:
                self._places[bucket] = how


def _place_of(request: Any) -> tuple[str, Place] | None:
    """Return bucket and place of a request of botocore's; None for one that is not usual."""
    try:
        context = request.context
        asked, signing = context["s3_redirect"]["params"], context["signing"]
        region, key = signing["region"], asked["Key"]
        usual = context["auth_type"] in _SCHEMES and signing["signing_name"] == "s3"
        user_agent = str(request.headers["User-Agent"])
    except (AttributeError, KeyError, TypeError):
        return None
    url, end = request.url.partition("?")[0], f"/{quote(key, safe=_UNESCAPED)}"
    if not usual or not isinstance(region, str) or not url.endswith(end):
        return None
    place = Place(base=url.removesuffix(end), region=region, user_agent=user_agent)
    return str(asked["Bucket"]), place
