"""The S3 operations on one object: get, head, put, delete."""

import re
from collections.abc import Callable, Mapping
from email.utils import formatdate

from detection_testing.aws.clock import ServerClock
from detection_testing.aws.s3.checksums import TYPE
from detection_testing.aws.s3.conditions import check_write, is_unchanged
from detection_testing.aws.s3.encryption import encryption_of
from detection_testing.aws.s3.errors import S3Error, not_implemented
from detection_testing.aws.s3.ranges import range_of
from detection_testing.aws.s3.store import S3Store, StoredObject
from detection_testing.aws.s3.target import S3Target
from detection_testing.aws.s3.upload import read_upload
from detection_testing.http.values import FileSlice, Request, Response

MAX_KEY_BYTES = 1024
MAX_METADATA_BYTES = 2048
"""S3 user guide, object keys and metadata: 1,024 and 2,048 bytes of UTF-8."""
_METADATA_PREFIX = "x-amz-meta-"
# Headers of an upload that come back with the object.
_KEPT = ("Cache-Control", "Content-Disposition", "Content-Language", "Expires")
_CONDITIONAL_304 = frozenset({"ETag", "Last-Modified", "Cache-Control", "x-amz-version-id"})
_SPACES = re.compile(r"[\r\n\t ]+")

Changed = Callable[[str, S3Target, StoredObject | None], None]


class ObjectActions:
    """Answers requests for one object.

    Args:
        store: The objects.
        clock: The server's.
        changed: Told of each change: its event, ``ObjectCreated:Put`` for example, and the object
            or its delete marker.
    """

    def __init__(self, *, store: S3Store, clock: ServerClock, changed: Changed) -> None:
        self._store = store
        self._clock = clock
        self._changed = changed

    def get(self, target: S3Target, request: Request) -> Response:
        """Answer GetObject and HeadObject."""
        version_id = request.parameters().get("versionId")
        stored = self._store.get(target.bucket, target.key, version_id=version_id)
        headers = _object_headers(stored)
        if is_unchanged(request.headers, stored):
            shown = {name: value for name, value in headers.items() if name in _CONDITIONAL_304}
            return Response(status=304, headers=shown)
        part = range_of(request.headers.get("range"), stored.size_bytes)
        if part is None:
            if request.headers.get("x-amz-checksum-mode", "").upper() == "ENABLED":
                headers |= _checksum_headers(stored.checksums)
            return Response(headers=headers, body=_body(stored, 0, stored.size_bytes))
        first, last = part
        headers["Content-Range"] = f"bytes {first}-{last}/{stored.size_bytes}"
        return Response(status=206, headers=headers, body=_body(stored, first, last - first + 1))

    def put(self, target: S3Target, request: Request) -> Response:
        """Answer PutObject."""
        headers = request.headers
        if "x-amz-copy-source" in headers:
            raise not_implemented("CopyObject")
        _check_key(target.key)
        metadata = _metadata(headers)
        encryption = encryption_of(headers)
        check_write(headers, self._store.find(target.bucket, target.key))
        body, checksums = read_upload(request)
        stored = self._store.put(
            target.bucket,
            target.key,
            body,
            now_s=self._clock.now_s(),
            content_type=headers.get("content-type"),
            headers=_kept_headers(headers),
            encryption=encryption,
            metadata=metadata,
            checksums=checksums,
        )
        self._changed("ObjectCreated:Put", target, stored)
        answer = {"ETag": f'"{stored.etag}"', **_version_header(stored), **stored.encryption}
        return Response(headers=answer | _checksum_headers(checksums))

    def delete(self, target: S3Target, request: Request) -> Response:
        """Answer DeleteObject: deleting what is not there succeeds."""
        version_id = request.parameters().get("versionId")
        gone = self.remove(target, version_id)
        headers = _version_header(gone) if gone else {}
        if version_id is not None:
            headers["x-amz-version-id"] = version_id
        if gone is not None and gone.deleted:
            headers["x-amz-delete-marker"] = "true"
        return Response(status=204, headers=headers)

    def remove(self, target: S3Target, version_id: str | None = None) -> StoredObject | None:
        """Delete an object or one version; return that version or the marker that hides it."""
        if version_id is not None:
            gone = self._store.delete_version(target.bucket, target.key, version_id)
            self._changed("ObjectRemoved:Delete", target, gone)
            return gone
        marker = self._store.delete(target.bucket, target.key, now_s=self._clock.now_s())
        event = "ObjectRemoved:DeleteMarkerCreated" if marker else "ObjectRemoved:Delete"
        self._changed(event, target, marker)
        return marker


def _check_key(key: str) -> None:
    size = len(key.encode("utf-8", "surrogateescape"))
    if size > MAX_KEY_BYTES:
        details = {"Size": str(size), "MaxSizeAllowed": str(MAX_KEY_BYTES)}
        raise S3Error("KeyTooLongError", "Your key is too long", status=400, details=details)


def _metadata(headers: Mapping[str, str]) -> dict[str, str]:
    metadata = {
        name.removeprefix(_METADATA_PREFIX): _SPACES.sub(" ", value.strip())
        for name, value in headers.items()
        if name.startswith(_METADATA_PREFIX)
    }
    size = sum(len(name.encode()) + len(value.encode()) for name, value in metadata.items())
    if size > MAX_METADATA_BYTES:
        details = {"Size": str(size), "MaxSizeAllowed": str(MAX_METADATA_BYTES)}
        text = "Your metadata headers exceed the maximum allowed metadata size"
        raise S3Error("MetadataTooLarge", text, status=400, details=details)
    return metadata


def _kept_headers(headers: Mapping[str, str]) -> dict[str, str]:
    kept = {name: headers[name.lower()] for name in _KEPT if name.lower() in headers}
    # S3 keeps a Content-Encoding without aws-chunked, which is of the upload.
    names = [name.strip() for name in headers.get("content-encoding", "").split(",")]
    coding = ",".join(name for name in names if name not in {"", "aws-chunked"})
    return kept | ({"Content-Encoding": coding} if coding else {})


def _body(stored: StoredObject, first: int, length: int) -> bytes | FileSlice:
    if not isinstance(stored.body, bytes):
        return FileSlice(stored.body, first, length)
    if length == stored.size_bytes:
        return stored.body
    return stored.body[first : first + length]


def _object_headers(stored: StoredObject) -> dict[str, str]:
    return {
        "ETag": f'"{stored.etag}"',
        "Last-Modified": formatdate(stored.modified_s, usegmt=True),
        "Content-Type": stored.content_type,
        "Accept-Ranges": "bytes",
        **stored.headers,
        **stored.encryption,
        **_version_header(stored),
        **{_METADATA_PREFIX + name: value for name, value in stored.metadata.items()},
    }


def _checksum_headers(checksums: Mapping[str, str]) -> dict[str, str]:
    return {**checksums, TYPE: "FULL_OBJECT"} if checksums else {}


def _version_header(stored: StoredObject) -> dict[str, str]:
    return {} if stored.version_id is None else {"x-amz-version-id": stored.version_id}
