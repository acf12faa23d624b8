"""Buckets and objects: in memory, or the files of a folder that holds one folder per bucket."""

import hashlib
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from detection_testing.aws.s3.encryption import DEFAULT as DEFAULT_ENCRYPTION
from detection_testing.aws.s3.encryption import is_kms
from detection_testing.aws.s3.errors import S3Error

DEFAULT_CONTENT_TYPE = "binary/octet-stream"
"""Content type that S3 returns for an object stored without one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredObject:
    """One version of an object.

    Attributes:
        body: The bytes, or the file that holds them.
        size_bytes: Length.
        etag: 32 hexadecimal digits, without quotes: the MD5, unless a key of KMS encrypts it.
        modified_s: Unix seconds.
        content_type: As given.
        headers: More headers of its answers, such as Content-Encoding.
        encryption: See ``encryption_of``.
        metadata: User metadata, names without their prefix.
        checksums: Header name to value, as given and checked at the upload.
        version_id: None in a bucket without versioning.
        deleted: A delete marker: the object is gone since this version.
    """

    body: bytes | Path
    size_bytes: int
    etag: str
    modified_s: float
    content_type: str = DEFAULT_CONTENT_TYPE
    headers: Mapping[str, str] = field(default_factory=dict)
    encryption: Mapping[str, str] = field(default_factory=lambda: DEFAULT_ENCRYPTION)
    metadata: Mapping[str, str] = field(default_factory=dict)
    checksums: Mapping[str, str] = field(default_factory=dict)
    version_id: str | None = None
    deleted: bool = False


@dataclass(slots=True)
class _Bucket:
    versioned: bool = False
    objects: dict[str, list[StoredObject]] = field(default_factory=dict)


class S3Store:
    """Objects by bucket and key.

    Args:
        folder: ``folder/BUCKET/KEY`` are objects too, read when asked for; None for memory only.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = None if folder is None else folder.resolve()
        self._buckets: dict[str, _Bucket] = {}
        self._digests: dict[tuple[Path, int, int], str] = {}

    def create_bucket(self, name: str) -> None:
        """Make a bucket; harmless if it exists, as in us-east-1."""
        self._buckets.setdefault(name, _Bucket())

    def set_versioning(self, name: str, *, enabled: bool) -> None:
        """Keep every version of the objects of a bucket from now on, or no longer."""
        self._bucket(name).versioned = enabled

    def has_bucket(self, name: str) -> bool:
        """Say whether the bucket exists."""
        return name in self._buckets or self._in_folder(name) is not None

    def delete_bucket(self, name: str) -> None:
        """Delete an empty bucket: without an object or an old version of one."""
        if self.keys(name) or self._bucket(name).objects:
            text = "The bucket you tried to delete is not empty"
            raise S3Error("BucketNotEmpty", text, status=409)
        self._buckets.pop(name, None)

    def put(
        self,
        bucket: str,
        key: str,
        body: bytes,
        *,
        now_s: float,
        content_type: str | None = None,
        headers: Mapping[str, str] | None = None,
        encryption: Mapping[str, str] | None = None,
        metadata: Mapping[str, str] | None = None,
        checksums: Mapping[str, str] | None = None,
    ) -> StoredObject:
        """Store an object, as a new version if the bucket keeps versions."""
        kept = self._bucket(bucket)
        stored = StoredObject(
            body=body,
            size_bytes=len(body),
            etag=_etag(body, encryption or {}),
            modified_s=now_s,
            content_type=content_type or DEFAULT_CONTENT_TYPE,
            headers=headers or {},
            encryption=encryption or DEFAULT_ENCRYPTION,
            metadata=metadata or {},
            checksums=checksums or {},
            version_id=uuid.uuid4().hex if kept.versioned else None,
        )
        self._keep(kept, key, stored)
        return stored

    def get(self, bucket: str, key: str, *, version_id: str | None = None) -> StoredObject:
        """Return an object, its newest version unless another is named.

        Raises:
            S3Error: ``NoSuchBucket``, ``NoSuchKey``, ``NoSuchVersion``, ``MethodNotAllowed``.
        """
        versions = self._bucket(bucket).objects.get(key)
        if version_id is not None:
            return _version(versions or [], version_id)
        stored = versions[-1] if versions else self._file(bucket, key)
        if stored is None or stored.deleted:
            raise no_such_key(key, marker=stored)
        return stored

    def find(self, bucket: str, key: str) -> StoredObject | None:
        """Return the newest version of an object, or None.

        Raises:
            S3Error: ``NoSuchBucket``.
        """
        versions = self._bucket(bucket).objects.get(key)
        stored = versions[-1] if versions else self._file(bucket, key)
        return None if stored is None or stored.deleted else stored

    def delete_version(self, bucket: str, key: str, version_id: str) -> StoredObject | None:
        """Delete one version for good, if there is such a one; return it."""
        objects = self._bucket(bucket).objects
        versions = objects.get(key, [])
        found = next((v for v in versions if (v.version_id or "null") == version_id), None)
        if found is not None:
            versions.remove(found)
        if not versions:
            objects.pop(key, None)
        return found

    def delete(self, bucket: str, key: str, *, now_s: float) -> StoredObject | None:
        """Delete an object; return the delete marker of a bucket that keeps versions."""
        kept = self._bucket(bucket)
        if not kept.versioned:
            kept.objects.pop(key, None)
            return None
        marker = StoredObject(
            body=b"",
            size_bytes=0,
            etag="",
            modified_s=now_s,
            version_id=uuid.uuid4().hex,
            deleted=True,
        )
        self._keep(kept, key, marker)
        return marker

    def keys(self, bucket: str, *, prefix: str = "") -> list[str]:
        """Return the keys of a bucket that start with ``prefix``, sorted as S3 does, by bytes."""
        kept = self._bucket(bucket)
        found = {key for key, versions in kept.objects.items() if not versions[-1].deleted}
        root = self._in_folder(bucket)
        if root is not None:
            found |= {str(p.relative_to(root)) for p in root.rglob("*") if p.is_file()}
        return sorted((k for k in found if k.startswith(prefix)), key=str.encode)

    def bucket_names(self) -> list[str]:
        """Return the names of all buckets, sorted."""
        names = set(self._buckets)
        if self._folder is not None:
            names |= {p.name for p in self._folder.iterdir() if p.is_dir()}
        return sorted(names)

    @staticmethod
    def _keep(bucket: _Bucket, key: str, stored: StoredObject) -> None:
        if bucket.versioned:
            bucket.objects.setdefault(key, []).append(stored)
        else:
            bucket.objects[key] = [stored]

    def _bucket(self, name: str) -> _Bucket:
        if name not in self._buckets and self._in_folder(name) is not None:
            self.create_bucket(name)
        try:
            return self._buckets[name]
        except KeyError:
            text = "The specified bucket does not exist"
            details = {"BucketName": name}
            raise S3Error("NoSuchBucket", text, status=404, details=details) from None

    def _in_folder(self, *parts: str) -> Path | None:
        if self._folder is None:
            return None
        path = self._folder.joinpath(*parts).resolve()
        inside = path != self._folder and path.is_relative_to(self._folder)
        return path if inside and path.exists() else None

    def _file(self, bucket: str, key: str) -> StoredObject | None:
        path = self._in_folder(bucket, key) if key and not key.startswith("/") else None
        if path is None or not path.is_file():
            return None
        status = path.stat()
        identity = (path, status.st_mtime_ns, status.st_size)
        if identity not in self._digests:
            with path.open("rb") as file:
                self._digests[identity] = hashlib.file_digest(file, "md5").hexdigest()
        return StoredObject(
            body=path,
            size_bytes=status.st_size,
            etag=self._digests[identity],
            modified_s=status.st_mtime,
        )


def no_such_key(key: str, *, marker: StoredObject | None = None) -> S3Error:
    """Return the error for an object that is not there, or no longer: then it has a marker."""
    headers = {"x-amz-delete-marker": "true"} if marker else {}
    if marker and marker.version_id:
        headers["x-amz-version-id"] = marker.version_id
    text = "The specified key does not exist."
    return S3Error("NoSuchKey", text, status=404, details={"Key": key}, headers=headers)


def _etag(body: bytes, encryption: Mapping[str, str]) -> str:
    # S3 API reference, PutObject: the ETag of an object that SSE-KMS encrypts is not its MD5.
    salt = uuid.uuid4().bytes if is_kms(encryption) else b""
    return hashlib.md5(body + salt, usedforsecurity=False).hexdigest()


def _version(versions: list[StoredObject], version_id: str) -> StoredObject:
    for stored in versions:
        if (stored.version_id or "null") == version_id:
            if stored.deleted:
                text = "The specified method is not allowed against this resource."
                headers = {"x-amz-delete-marker": "true", "Allow": "DELETE"}
                raise S3Error("MethodNotAllowed", text, status=405, headers=headers)
            return stored
    text = "The specified version does not exist."
    raise S3Error("NoSuchVersion", text, status=404, details={"VersionId": version_id})
