"""The checksums of S3 by the header that carries them. Pure.

S3 user guide, "Checking object integrity in Amazon S3".
"""

import base64
import binascii
import hashlib
import zlib
from collections.abc import Callable, Mapping

from detection_testing.aws.s3.errors import S3Error

PREFIX = "x-amz-checksum-"
TYPE = "x-amz-checksum-type"
_ABOUT = frozenset({"x-amz-checksum-mode", TYPE, "x-amz-checksum-algorithm"})


def _table(polynomial: int) -> tuple[int, ...]:
    values = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = value >> 1 ^ (polynomial if value & 1 else 0)
        values.append(value)
    return tuple(values)


def _crc(data: bytes, table: tuple[int, ...], *, bits: int) -> bytes:
    ones = (1 << bits) - 1
    value = ones
    for byte in data:
        value = value >> 8 ^ table[(value ^ byte) & 0xFF]
    return (value ^ ones).to_bytes(bits // 8, "big")


# Reflected polynomials: RFC 3720, B.4 (Castagnoli), and the NVM Express specification, CRC-64.
_CRC32C = _table(0x82F63B78)
_CRC64NVME = _table(0x9A6C9329AC4BC9B5)
DIGESTS: Mapping[str, Callable[[bytes], bytes]] = {
    "x-amz-checksum-crc32": lambda data: zlib.crc32(data).to_bytes(4, "big"),
    "x-amz-checksum-crc32c": lambda data: _crc(data, _CRC32C, bits=32),
    "x-amz-checksum-crc64nvme": lambda data: _crc(data, _CRC64NVME, bits=64),
    "x-amz-checksum-sha1": lambda data: hashlib.sha1(data, usedforsecurity=False).digest(),
    "x-amz-checksum-sha256": lambda data: hashlib.sha256(data).digest(),
}
"""Header to function from bytes to digest; the header has it in base64."""


def checksums_of(headers: Mapping[str, str], body: bytes) -> dict[str, str]:
    """Return the checksum header of an upload, which matches its bytes; empty if it has none.

    Args:
        headers: The headers of a request, with those that trail its body.
        body: The object.

    Raises:
        S3Error: ``InvalidRequest``, ``InvalidDigest``, ``BadDigest``.
    """
    _check_md5(headers.get("content-md5"), body)
    given = {n: v for n, v in headers.items() if n.startswith(PREFIX) and n not in _ABOUT}
    if len(given) > 1:
        text = (
            "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed."
        )
        raise _invalid(text)
    for name, value in given.items():
        if name not in DIGESTS:
            raise _invalid(
                "The algorithm type you specified in x-amz-checksum- header is invalid."
            )
        _compare(name, value, DIGESTS[name](body))
    _check_announced(headers, given)
    return given


def _compare(name: str, value: str, digest: bytes) -> None:
    if len(_decoded(value)) != len(digest):
        raise _invalid(f"Value for {name} header is invalid.")
    if _decoded(value) != digest:
        algorithm = name.removeprefix(PREFIX).upper()
        text = f"The {algorithm} you specified did not match the calculated checksum."
        raise S3Error("BadDigest", text, status=400)


def _check_announced(headers: Mapping[str, str], given: Mapping[str, str]) -> None:
    announced = headers.get("x-amz-sdk-checksum-algorithm")
    if announced and PREFIX + announced.lower() not in given:
        text = "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or "
        raise _invalid(text + "x-amz-trailer headers were found.")


def _check_md5(value: str | None, body: bytes) -> None:
    if value is None:
        return
    digest = hashlib.md5(body, usedforsecurity=False).digest()
    if len(_decoded(value)) != len(digest):
        text = "The Content-MD5 you specified was invalid."
        raise S3Error("InvalidDigest", text, status=400)
    if _decoded(value) != digest:
        text = "The Content-MD5 you specified did not match what we received."
        raise S3Error("BadDigest", text, status=400)


def _decoded(value: str) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        return b""


def _invalid(text: str) -> S3Error:
    return S3Error("InvalidRequest", text, status=400)
