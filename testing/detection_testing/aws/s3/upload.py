"""The body of an upload: decoded from aws-chunked, its checksums verified."""

import base64
import hashlib
import zlib
from collections.abc import Callable

from detection_testing.aws.s3.store import S3Error
from detection_testing.http.values import Request

CHECKSUM_PREFIX = "x-amz-checksum-"
_ABOUT_CHECKSUMS = {"x-amz-checksum-mode", "x-amz-checksum-type", "x-amz-checksum-algorithm"}

# S3 user guide, checking object integrity. CRC-32C and CRC-64/NVME are stored unverified: the
# standard library cannot compute them, and boto3 sends CRC-32 unless told otherwise.
_DIGESTS: dict[str, Callable[[bytes], bytes]] = {
    "x-amz-checksum-crc32": lambda data: zlib.crc32(data).to_bytes(4, "big"),
    "x-amz-checksum-sha1": lambda data: hashlib.sha1(data, usedforsecurity=False).digest(),
    "x-amz-checksum-sha256": lambda data: hashlib.sha256(data).digest(),
    "content-md5": lambda data: hashlib.md5(data, usedforsecurity=False).digest(),
}


def read_upload(request: Request) -> tuple[bytes, dict[str, str]]:
    """Return the uploaded bytes and the checksums that came with them.

    Raises:
        S3Error: ``BadDigest``, ``IncompleteBody`` or ``InvalidRequest``.
    """
    body = request.body
    trailer: dict[str, str] = {}
    if request.headers.get("x-amz-content-sha256", "").startswith("STREAMING-"):
        body, trailer = _decode(body)
        announced = request.headers.get("x-amz-decoded-content-length")
        if announced is not None and announced != str(len(body)):
            raise _incomplete()
    given = {**request.headers, **trailer}
    _verify(body, given)
    checksums = {
        name: value
        for name, value in given.items()
        if name.startswith(CHECKSUM_PREFIX) and name not in _ABOUT_CHECKSUMS
    }
    return body, checksums


def _verify(body: bytes, given: dict[str, str]) -> None:
    for name, digest in _DIGESTS.items():
        if name in given and given[name] != base64.b64encode(digest(body)).decode():
            text = f"The {name} you specified did not match the calculated checksum."
            raise S3Error("BadDigest", text, status=400)


def _decode(data: bytes) -> tuple[bytes, dict[str, str]]:
    # Signature Version 4, chunked uploads: "SIZE[;chunk-signature=...]\r\nDATA\r\n" repeated, a
    # chunk of size 0, then trailing headers.
    parts: list[bytes] = []
    at = 0
    while True:
        end = data.find(b"\r\n", at)
        try:
            size = int(data[at:end].partition(b";")[0], 16) if end >= 0 else -1
        except ValueError:
            size = -1
        if size < 0:
            raise _incomplete()
        at = end + 2
        if size == 0:
            return b"".join(parts), _trailer(data[at:])
        parts.append(data[at : at + size])
        at += size + 2
        if at > len(data):
            raise _incomplete()


def _trailer(data: bytes) -> dict[str, str]:
    lines = [line.partition(":") for line in data.decode("latin-1").split("\r\n") if line]
    return {name.strip().lower(): value.strip() for name, _, value in lines}


def _incomplete() -> S3Error:
    text = "You did not provide the number of bytes specified by the headers"
    return S3Error("IncompleteBody", text, status=400)
