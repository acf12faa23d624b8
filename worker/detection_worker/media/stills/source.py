"""Code shared by the readers of still-image containers."""

import io
import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import BinaryIO

from PIL import Image

from detection_worker.media.metadata import NOTHING, Metadata

METADATA_BYTES = 1024 * 1024
"""Metadata of one file that is looked at, inflated; what lies beyond is skipped with a warning."""
LARGE_METADATA = f"metadata of more than {METADATA_BYTES >> 20} MiB was skipped"
MAX_PARTS = 100_000
"""Chunks or segments of a container that are walked over, at some microseconds each. A PNG of 512
MiB in chunks of 8 KiB, the smallest in common use, has 65,536."""
MANY_PARTS = f"only the first {MAX_PARTS:,} parts of its container were read"
BROKEN_METADATA = "damaged metadata was skipped"
ORIENTATION_TAG = 0x0112
_XMP_ORIENTATION = re.compile(rb'tiff:Orientation(?:="|>)([1-8])')


@dataclass(frozen=True, slots=True, kw_only=True)
class StillSource:
    """A still image as its container describes it.

    Attributes:
        file: What the decoder reads: the picture without its metadata.
        truncated: The file ends before what its container announces.
        damaged: The structure of the container is broken or a checksum of the pixels is wrong.
        metadata_damaged: Some metadata is broken, which costs no pixel.
        orientation: How the stored pixels lie, 1 to 8 as in EXIF (CIPA DC-008 section 4.6.5).
        bits: Bits of a sample; 8 unless the container says otherwise.
        sample_kind: What one pixel is made of, human-readable, if the container says so.
        plain: A whole JPEG of the usual kind: ``turbo`` is asked before Pillow.
        warnings: Human-readable warnings.
        metadata: What the container holds beside the picture.
    """

    file: BinaryIO
    truncated: bool = False
    damaged: bool = False
    metadata_damaged: bool = False
    orientation: int = 1
    bits: int = 8
    sample_kind: str | None = None
    plain: bool = False
    warnings: tuple[str, ...] = ()
    metadata: Metadata = NOTHING


class Spliced(io.RawIOBase):
    """A read-only file made of byte strings and of ranges of another file.

    Args:
        file: Seekable; its position is moved.
        parts: Bytes, or offsets in ``file``.
    """

    def __init__(self, file: BinaryIO, parts: Sequence[bytes | range]) -> None:
        self._file = file
        self._parts = _joined(parts)
        self._starts = [0, *accumulate(len(part) for part in self._parts)]
        self._position = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to an offset and return it.

        Raises:
            ValueError: It lies before the start.
        """
        base = (0, self._position, self._starts[-1])[whence]
        if base + offset < 0:
            raise ValueError("negative seek position")
        self._position = base + offset
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fill ``buffer`` from one part and return how far."""
        index = bisect_right(self._starts, self._position) - 1
        if index >= len(self._parts):
            return 0
        part, skipped = self._parts[index], self._position - self._starts[index]
        wanted = part[skipped : skipped + len(buffer)]
        count = len(wanted)
        if isinstance(wanted, range):
            self._file.seek(wanted.start)
            count = self._file.readinto(memoryview(buffer)[:count])  # type: ignore[attr-defined]
        else:
            buffer[:count] = wanted
        self._position += count
        return count


def _joined(parts: Sequence[bytes | range]) -> list[bytes | range]:
    """Return what there is, with ranges that follow each other as one."""
    joined: list[bytes | range] = []
    for part in parts:
        last = joined[-1] if joined else None
        if isinstance(part, range) and isinstance(last, range) and last.stop == part.start:
            joined[-1] = range(last.start, part.stop)
        elif len(part):
            joined.append(part)
    return joined


def spliced(file: BinaryIO, parts: Sequence[bytes | range]) -> BinaryIO:
    """Return ``Spliced`` behind a buffer; it has no descriptor of its own."""
    return io.BufferedReader(Spliced(file, parts), 64 * 1024)


def size_of(file: BinaryIO) -> int:
    """Return the length of a file; its position is moved."""
    return file.seek(0, io.SEEK_END)


def read_at(file: BinaryIO, offset: int, count: int) -> bytes:
    """Return up to ``count`` bytes; fewer at the end of the file."""
    file.seek(offset)
    return file.read(count)


def orientation_of(exif: bytes, xmp: bytes) -> int:
    """Return the orientation that metadata asks for, 1 if it says nothing sound.

    Args:
        exif: An EXIF block, with or without its ``Exif`` prefix; may be empty or broken.
        xmp: An XMP packet, asked where EXIF is silent; may be empty.
    """
    try:
        parsed = Image.Exif()
        parsed.load(exif)
        value = int(parsed.get(ORIENTATION_TAG, 0))
    except Exception:  # noqa: BLE001 - broken EXIF data must not cost the picture
        value = 0
    if 1 <= value <= 8:
        return value
    found = _XMP_ORIENTATION.search(xmp)
    return int(found[1]) if found else 1


def first_of(count: int, what: str) -> tuple[str, ...]:
    """Return the warning about frames or pages that are not analysed, if there are any."""
    return (f"only the first of {count} {what} was analysed",) if count > 1 else ()
