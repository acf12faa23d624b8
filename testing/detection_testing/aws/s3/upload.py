"""The body of an upload: decoded from aws-chunked, its checksums verified."""

import hashlib
import re

from detection_testing.aws.s3.checksums import checksums_of
from detection_testing.aws.s3.errors import S3Error
from detection_testing.http.values import Request

_SHA256 = re.compile("[0-9a-f]{64}")


def read_upload(request: Request) -> tuple[bytes, dict[str, str]]:
    """Return the uploaded bytes and the checksum that came with them, by its header.

    Raises:
        S3Error: ``BadDigest``, ``InvalidDigest``, ``XAmzContentSHA256Mismatch``,
            ``IncompleteBody``, ``MissingContentLength``, ``MalformedTrailerError`` or
            ``InvalidRequest``.
    """
    body = request.body
    trailer: dict[str, str] = {}
    kind = request.headers.get("x-amz-content-sha256", "")
    if kind.startswith("STREAMING-"):
        body, trailer = _decode(body)
        _check_length(request.headers.get("x-amz-decoded-content-length"), body)
        _check_trailer(request.headers.get("x-amz-trailer", ""), trailer)
    elif _SHA256.fullmatch(kind) and kind != hashlib.sha256(body).hexdigest():
        text = "The provided 'x-amz-content-sha256' header does not match what was computed."
        raise S3Error("XAmzContentSHA256Mismatch", text, status=400)
    return body, checksums_of({**request.headers, **trailer}, body)


def _check_length(announced: str | None, body: bytes) -> None:
    if announced is None:
        text = "You must provide the Content-Length HTTP header."
        raise S3Error("MissingContentLength", text, status=411)
    if announced != str(len(body)):
        raise _incomplete()


def _check_trailer(announced: str, trailer: dict[str, str]) -> None:
    names = {name.strip().lower() for name in announced.split(",") if name.strip()}
    if names - trailer.keys():
        text = "The request contained trailing data that was not well-formed or did not conform "
        raise S3Error("MalformedTrailerError", text + "to our published schema.", status=400)


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
