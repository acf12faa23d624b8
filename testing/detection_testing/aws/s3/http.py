"""Amazon S3 over HTTP: objects by path style and by virtual host, errors in XML."""

import re
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import formatdate
from typing import NamedTuple
from urllib.parse import quote, unquote
from xml.sax.saxutils import escape

from detection_testing.aws.clock import ServerClock
from detection_testing.aws.s3.store import S3Error, S3Store, StoredObject
from detection_testing.aws.s3.upload import read_upload
from detection_testing.aws.sqs.registry import ACCOUNT_ID, REGION
from detection_testing.http.values import FileSlice, Request, Response

_NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
_METADATA_PREFIX = "x-amz-meta-"
_LIST_LIMIT = 1000
# BUCKET.s3.amazonaws.com, BUCKET.s3.REGION.amazonaws.com, BUCKET.localhost.
_VIRTUAL_HOST = re.compile(r"(?P<bucket>.+?)\.(?:s3[.-].+|localhost)")
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


class S3Target(NamedTuple):
    """What a request is about."""

    operation: str
    bucket: str
    key: str


def target_of(request: Request) -> S3Target:
    """Return the operation, bucket and key of a request, in either style of address."""
    host = request.headers.get("host", "").partition(":")[0]
    virtual = _VIRTUAL_HOST.fullmatch(host)
    path = request.path[1:]
    bucket, key = (virtual["bucket"], path) if virtual else path.partition("/")[::2]
    bucket, key = unquote(bucket), unquote(key)
    parameters = request.parameters()
    if key:
        name = "Unknown" if "uploads" in parameters or "uploadId" in parameters else "Object"
    elif bucket:
        name = next((n for p, n in _SUBRESOURCES.items() if p in parameters), "Bucket")
    else:
        name = "Buckets"
    return S3Target(_OPERATIONS.get((request.method, name), "Unknown"), bucket, key)


_SUBRESOURCES = {"list-type": "List", "versioning": "Versioning", "location": "Location"}
_OPERATIONS = {
    ("GET", "Object"): "GetObject",
    ("HEAD", "Object"): "HeadObject",
    ("PUT", "Object"): "PutObject",
    ("DELETE", "Object"): "DeleteObject",
    ("PUT", "Bucket"): "CreateBucket",
    ("HEAD", "Bucket"): "HeadBucket",
    ("DELETE", "Bucket"): "DeleteBucket",
    ("GET", "List"): "ListObjectsV2",
    ("PUT", "Versioning"): "PutBucketVersioning",
    ("GET", "Location"): "GetBucketLocation",
    ("GET", "Buckets"): "ListBuckets",
}


class S3Http:
    """Answers S3 requests.

    Args:
        store: The objects.
        clock: The server's.
    """

    def __init__(self, *, store: S3Store, clock: ServerClock) -> None:
        self._store = store
        self._clock = clock
        self._actions: dict[str, Callable[[S3Target, Request], Response]] = {
            "GetObject": self._get,
            "HeadObject": self._get,
            "PutObject": self._put,
            "DeleteObject": self._delete,
            "CreateBucket": self._create_bucket,
            "HeadBucket": self._head_bucket,
            "DeleteBucket": self._delete_bucket,
            "ListObjectsV2": self._list,
            "PutBucketVersioning": self._versioning,
            "GetBucketLocation": self._location,
            "ListBuckets": self._buckets,
        }

    def handle(self, target: S3Target, request: Request) -> Response:
        """Carry out one request."""
        try:
            action = self._actions.get(target.operation, _unknown)
            _check_owner(request)
            response = action(target, request)
        except S3Error as exc:
            response = render_error(exc, resource=request.path)
        response.headers["x-amz-request-id"] = uuid.uuid4().hex[:16].upper()
        return response

    def _get(self, target: S3Target, request: Request) -> Response:
        version_id = request.parameters().get("versionId")
        stored = self._store.get(target.bucket, target.key, version_id=version_id)
        headers = _object_headers(stored)
        if _tag_listed(request.headers.get("if-none-match"), stored.etag):
            return Response(status=304, headers=headers)
        if_match = request.headers.get("if-match")
        if if_match is not None and not _tag_listed(if_match, stored.etag):
            text = "At least one of the pre-conditions you specified did not hold"
            raise S3Error("PreconditionFailed", text, status=412)
        part = _range(request.headers.get("range"), stored.size_bytes)
        if part is None:
            if request.headers.get("x-amz-checksum-mode", "").upper() == "ENABLED":
                headers |= stored.checksums
            return Response(headers=headers, body=_body(stored, 0, stored.size_bytes))
        first, last = part
        headers["Content-Range"] = f"bytes {first}-{last}/{stored.size_bytes}"
        return Response(status=206, headers=headers, body=_body(stored, first, last - first + 1))

    def _put(self, target: S3Target, request: Request) -> Response:
        if "x-amz-copy-source" in request.headers:
            return _unknown(target, request)
        body, checksums = read_upload(request)
        stored = self._store.put(
            target.bucket,
            target.key,
            body,
            now_s=self._clock.now_s(),
            content_type=request.headers.get("content-type"),
            content_encoding=_stored_coding(request.headers.get("content-encoding", "")),
            metadata={
                name.removeprefix(_METADATA_PREFIX): value
                for name, value in request.headers.items()
                if name.startswith(_METADATA_PREFIX)
            },
            checksums=checksums,
        )
        return Response(
            headers={"ETag": f'"{stored.etag}"', **_version_header(stored), **checksums}
        )

    def _delete(self, target: S3Target, request: Request) -> Response:
        if "versionId" in request.parameters():
            return _unknown(target, request)
        marker = self._store.delete(target.bucket, target.key, now_s=self._clock.now_s())
        headers = {} if marker is None else {"x-amz-delete-marker": "true"}
        return Response(status=204, headers=headers | (_version_header(marker) if marker else {}))

    def _create_bucket(self, target: S3Target, request: Request) -> Response:
        del request
        self._store.create_bucket(target.bucket)
        return Response(headers={"Location": f"/{quote(target.bucket)}"})

    def _head_bucket(self, target: S3Target, request: Request) -> Response:
        del request
        if not self._store.has_bucket(target.bucket):
            raise S3Error("NoSuchBucket", "The specified bucket does not exist", status=404)
        return Response(headers={"x-amz-bucket-region": REGION})

    def _delete_bucket(self, target: S3Target, request: Request) -> Response:
        del request
        self._store.delete_bucket(target.bucket)
        return Response(status=204)

    def _versioning(self, target: S3Target, request: Request) -> Response:
        enabled = b"<Status>Enabled</Status>" in request.body
        self._store.set_versioning(target.bucket, enabled=enabled)
        return Response()

    def _location(self, target: S3Target, request: Request) -> Response:
        self._head_bucket(target, request)
        return _xml(f'<LocationConstraint xmlns="{_NAMESPACE}"/>')

    def _buckets(self, target: S3Target, request: Request) -> Response:
        del target, request
        names = "".join(
            f"<Bucket><Name>{escape(n)}</Name></Bucket>" for n in self._store.bucket_names()
        )
        return _xml(
            f'<ListAllMyBucketsResult xmlns="{_NAMESPACE}"><Owner><ID>local</ID></Owner>'
            f"<Buckets>{names}</Buckets></ListAllMyBucketsResult>"
        )

    def _list(self, target: S3Target, request: Request) -> Response:
        parameters = request.parameters()
        limit = min(int(parameters.get("max-keys", _LIST_LIMIT)), _LIST_LIMIT)
        after = parameters.get("continuation-token") or parameters.get("start-after", "")
        keys = self._store.keys(target.bucket, prefix=parameters.get("prefix", ""))
        keys = [k for k in keys if k > after]
        shown = keys[:limit]
        entries = "".join(self._entry(target.bucket, key) for key in shown)
        more = len(keys) > limit
        token = (
            f"<NextContinuationToken>{escape(shown[-1])}</NextContinuationToken>" if more else ""
        )
        return _xml(
            f'<ListBucketResult xmlns="{_NAMESPACE}"><Name>{escape(target.bucket)}</Name>'
            f"<KeyCount>{len(shown)}</KeyCount><MaxKeys>{limit}</MaxKeys>"
            f"<IsTruncated>{str(more).lower()}</IsTruncated>{token}{entries}</ListBucketResult>"
        )

    def _entry(self, bucket: str, key: str) -> str:
        stored = self._store.get(bucket, key)
        modified = datetime.fromtimestamp(stored.modified_s, UTC).strftime(
            "%Y-%m-%dT%H:%M:%S.000Z"
        )
        return (
            f"<Contents><Key>{escape(key)}</Key><LastModified>{modified}</LastModified>"
            f"<ETag>&quot;{stored.etag}&quot;</ETag><Size>{stored.size_bytes}</Size>"
            "<StorageClass>STANDARD</StorageClass></Contents>"
        )


def render_error(error: S3Error, *, resource: str) -> Response:
    """Return an error as S3 sends it; the server leaves the body away for HEAD, as S3 does."""
    body = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f"<Error><Code>{error.code}</Code><Message>{escape(str(error))}</Message>"
        f"<Resource>{escape(resource)}</Resource></Error>"
    )
    headers = {"Content-Type": "application/xml"}
    if isinstance(error, RangeError):
        headers["Content-Range"] = f"bytes */{error.size_bytes}"
    return Response(status=error.status, headers=headers, body=body.encode())


class RangeError(S3Error):
    """A range that holds no byte of the object.

    Attributes:
        size_bytes: Size of the object.
    """

    def __init__(self, size_bytes: int) -> None:
        super().__init__("InvalidRange", "The requested range is not satisfiable", status=416)
        self.size_bytes = size_bytes


def _range(header: str | None, size: int) -> tuple[int, int] | None:
    """Return the first and last byte asked for (RFC 9110, 14.1.2), or None for the whole."""
    match = _RANGE.fullmatch(header or "")
    if match is None or match.groups() == ("", ""):
        return None
    first_text, last_text = match.groups()
    if not first_text:
        first, last = max(0, size - int(last_text)), size - 1
    else:
        first = int(first_text)
        last = min(int(last_text), size - 1) if last_text else size - 1
        if last_text and int(last_text) < first:
            return None
    if first >= size:
        raise RangeError(size)
    return first, last


def _body(stored: StoredObject, first: int, length: int) -> bytes | FileSlice:
    if not isinstance(stored.body, bytes):
        return FileSlice(stored.body, first, length)
    if length == stored.size_bytes:
        return stored.body
    return stored.body[first : first + length]


def _stored_coding(header: str) -> str | None:
    """Return a Content-Encoding as S3 keeps it: without aws-chunked, which is of the upload."""
    names = [name.strip() for name in header.split(",")]
    return ",".join(name for name in names if name not in {"", "aws-chunked"}) or None


def _object_headers(stored: StoredObject) -> dict[str, str]:
    return {
        "ETag": f'"{stored.etag}"',
        "Last-Modified": formatdate(stored.modified_s, usegmt=True),
        "Content-Type": stored.content_type,
        "Accept-Ranges": "bytes",
        **({"Content-Encoding": coding} if (coding := stored.content_encoding) else {}),
        **_version_header(stored),
        **{_METADATA_PREFIX + name: value for name, value in stored.metadata.items()},
    }


def _version_header(stored: StoredObject) -> dict[str, str]:
    return {} if stored.version_id is None else {"x-amz-version-id": stored.version_id}


def _tag_listed(header: str | None, etag: str) -> bool:
    if header is None:
        return False
    return any(tag.strip().strip('"') in ("*", etag) for tag in header.split(","))


def _check_owner(request: Request) -> None:
    if request.headers.get("x-amz-expected-bucket-owner", ACCOUNT_ID) != ACCOUNT_ID:
        raise S3Error("AccessDenied", "Access Denied", status=403)


def _unknown(target: S3Target, request: Request) -> Response:
    text = f"{request.method} of this kind is not implemented here"
    raise S3Error("NotImplemented", text, status=501)


def _xml(body: str) -> Response:
    text = '<?xml version="1.0" encoding="UTF-8"?>\n' + body
    return Response(headers={"Content-Type": "application/xml"}, body=text.encode())
