"""Small reads and writes of S3 for a third of the CPU that botocore spends on one.

Answering from a cache costs two small reads and storing a result one small write, so most of that
CPU would be spent in botocore: on events, endpoint rules and parsing. Here a request is signed and
sent as botocore's own first request for the bucket was. Anything but a plain answer is left to
botocore, which knows redirects, regions, access points and retries.
"""

import hashlib
import hmac
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote, urlsplit

import boto3
from botocore.awsrequest import AWSPreparedRequest

MAX_BUCKETS: Final = 64
_ALGORITHM: Final = "AWS4-HMAC-SHA256"
_SCHEMES: Final = frozenset({"v4", "s3v4"})
"""Botocore's names of Signature Version 4."""
_UNESCAPED: Final = "/~"
_SIGNED: Final = frozenset({"content-type", "host"})
"""Besides those of Amazon's own."""
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """AWS credentials at one moment."""

    access_key: str
    secret_key: str
    token: str | None = None


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
        # Not public, and only of use as long as it is there.
        self._http = getattr(getattr(client, "_endpoint", None), "http_session", None)
        self._lock = threading.Lock()
        self._places: dict[str, Place] = {}
        for operation in _LEARNED_FROM:
            client.meta.events.register(f"request-created.s3.{operation}", self._learn)

    def get(
        self, bucket: str, key: str, *, version_id: str | None = None, **headers: str
    ) -> Any | None:
        """Return the answer of S3 as botocore's ``AWSResponse``, its body unread.

        Args:
            bucket: As botocore was given it.
            key: Object key.
            version_id: None means the latest.
            headers: Further headers, with ``_`` for ``-``.

        Returns:
            None if it has to be asked by botocore: nothing was sent.

        Raises:
            Exception: One of ``s3_errors.CALL_ERRORS``.
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
    ) -> Any | None:
        """Write an object; return the answer of S3 as botocore's ``AWSResponse``, its body read.

        Args:
            bucket: As botocore was given it.
            key: Object key.
            body: The whole object.
            parameters: Further ones of botocore's ``put_object``, by its names.
            metadata: User metadata.

        Returns:
            None if botocore has to write it: nothing was sent.

        Raises:
            Exception: One of ``s3_errors.CALL_ERRORS``; the object may have been written.
        """
        headers = {_HEADERS[name]: value for name, value in parameters.items()}
        marks = {f"x-amz-meta-{name}": value for name, value in (metadata or {}).items()}
        return self._send("PUT", bucket, quote(key, safe=_UNESCAPED), headers | marks, body=body)

    def _send(
        self,
        method: str,
        bucket: str,
        path: str,
        headers: Mapping[str, str],
        *,
        body: bytes | None = None,
    ) -> Any | None:
        place, found = self._places.get(bucket), self._credentials()
        # Of headers that are not ASCII botocore knows what to say.
        plain = all(value.isascii() for value in headers.values())
        if place is None or found is None or self._http is None or not plain:
            return None
        frozen = found.get_frozen_credentials()
        url = f"{place.base}/{path}"
        signed = sign(
            url,
            {**headers, **self._extra, "user-agent": place.user_agent},
            keys=Keys(
                access_key=frozen.access_key, secret_key=frozen.secret_key, token=frozen.token
            ),
            region=place.region,
            now=datetime.now(tz=UTC),
            method=method,
            body=body or b"",
        )
        # A body that is not read at once keeps its connection.
        request = AWSPreparedRequest(method, url, signed, body, stream_output=body is None)
        return self._http.send(request)

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


def sign(
    url: str,
    headers: Mapping[str, str],
    *,
    keys: Keys,
    region: str,
    now: datetime,
    method: str = "GET",
    body: bytes = b"",
) -> dict[str, str]:
    """Return the headers of a request to S3 with its signature of version 4.

    https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html

    Args:
        url: Percent-encoded once, as S3 wants it, with at most one query parameter.
        headers: In lower case.
        keys: The caller's.
        region: Region of the bucket.
        now: UTC.
        method: HTTP method.
        body: The request's.
    """
    parts, stamp = urlsplit(url), now.strftime("%Y%m%dT%H%M%SZ")
    payload = hashlib.sha256(body).hexdigest()
    all_headers = {
        **headers,
        "host": parts.netloc,
        "x-amz-content-sha256": payload,
        "x-amz-date": stamp,
    }
    if keys.token:
        all_headers["x-amz-security-token"] = keys.token
    names = sorted(name for name in all_headers if name in _SIGNED or name.startswith("x-amz-"))
    listed = "".join(f"{name}:{all_headers[name].strip()}\n" for name in names)
    signed_names = ";".join(names)
    request = "\n".join((method, parts.path, parts.query, listed, signed_names, payload))
    scope = f"{stamp[:8]}/{region}/s3/aws4_request"
    digest = hashlib.sha256(request.encode()).hexdigest()
    text = f"{_ALGORITHM}\n{stamp}\n{scope}\n{digest}"
    key = f"AWS4{keys.secret_key}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(key, text.encode(), "sha256").hex()
    all_headers["authorization"] = (
        f"{_ALGORITHM} Credential={keys.access_key}/{scope}, "
        f"SignedHeaders={signed_names}, Signature={signature}"
    )
    return all_headers
