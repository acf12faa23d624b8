"""Files stored under gzip or zlib, as ``Content-Encoding`` leaves them. Runs in the child.

What lies inside is inflated in memory, up to the limit of any file: the worker itself, which holds
credentials, never inflates a byte.
"""

import io
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

from detection_contract.error_codes import ErrorCode
from detection_worker.errors import JobError
from detection_worker.media.containers.sniff import HEAD_BYTES, Content, sniff

GZIP_MAGIC = b"\x1f\x8b\x08"
ZLIB_MAGICS = (b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda")
"""A window of 32 KiB at each level of compression (RFC 1950); no supported format starts so."""
EITHER_FORMAT = 32 + zlib.MAX_WBITS
READ_BYTES = 16 * 1024
INFLATED_BYTES = 1024 * 1024
"""Most that is inflated at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inflated:
    """What was inside of a compressed file.

    Attributes:
        file: The content, in memory.
        content: What it is.
        coding: ``gzip`` or ``zlib``.
        truncated: The compressed data ends early.
        damaged: The compressed data is corrupt; what lies before is kept.
    """

    file: BinaryIO
    content: Content
    coding: str
    truncated: bool
    damaged: bool


def coding_of(file: BinaryIO) -> str | None:
    """Return how a file is compressed as a whole: ``gzip``, ``zlib`` or None."""
    file.seek(0)
    head = file.read(len(GZIP_MAGIC))
    if head == GZIP_MAGIC:
        return "gzip"
    return "zlib" if head.startswith(ZLIB_MAGICS) else None


def inflate(file: BinaryIO, coding: str, *, max_bytes: int, tick: Callable[[], None]) -> Inflated:
    """Return the content of a compressed file.

    Args:
        file: For which ``coding_of`` gave ``coding``.
        coding: ``gzip`` or ``zlib``.
        max_bytes: Refuse more content.
        tick: Called often.

    Raises:
        JobError: UNSUPPORTED_TYPE, seen before the rest is inflated; TOO_LARGE; or UNDECODABLE if
            nothing can be inflated.
        MemoryError: The content does not fit.
    """
    stream = _Inflater(file)
    inside = io.BytesIO()
    content = None
    while block := stream.read():
        tick()
        inside.write(block)
        if inside.tell() > max_bytes:
            raise JobError(
                ErrorCode.TOO_LARGE,
                f"the {coding} data inflates to more than the {max_bytes} bytes allowed",
            )
        if content is None and inside.tell() >= HEAD_BYTES:
            content = _inside(inside, coding)
    if not inside.tell():
        raise JobError(ErrorCode.UNDECODABLE, f"the {coding} data cannot be inflated")
    return Inflated(
        file=inside,
        content=content or _inside(inside, coding),
        coding=coding,
        truncated=stream.truncated,
        damaged=stream.damaged,
    )


def _inside(file: BinaryIO, coding: str) -> Content:
    try:
        return sniff(file)
    except JobError as exc:
        raise JobError(exc.code, f"inside {coding} compression {exc.message}") from exc
    finally:
        file.seek(0, io.SEEK_END)


class _Inflater:
    """Reads a file through all of its compressed members, in bounded pieces."""

    def __init__(self, file: BinaryIO) -> None:
        file.seek(0)
        self._file = file
        self._member = zlib.decompressobj(EITHER_FORMAT)
        self._waiting = b""
        self.truncated = self.damaged = False

    def read(self) -> bytes:
        """Return the next piece; empty at the end."""
        while not self.damaged:
            data = self._waiting or self._file.read(READ_BYTES)
            if self._member.eof:
                data += self._file.read(len(GZIP_MAGIC)) if len(data) < len(GZIP_MAGIC) else b""
                if not data.startswith(GZIP_MAGIC):
                    return b""  # padding, or what is no further member
                self._member = zlib.decompressobj(EITHER_FORMAT)
            elif not data:
                self.truncated = True
                return b""
            if piece := self._inflate(data):
                return piece
        return b""

    def _inflate(self, data: bytes) -> bytes:
        try:
            piece = self._member.decompress(data, INFLATED_BYTES)
        except zlib.error:
            self.damaged = True
            return b""
        self._waiting = self._member.unconsumed_tail or self._member.unused_data
        return piece
