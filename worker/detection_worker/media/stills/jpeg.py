"""JPEG: segments (ISO 10918-1 annex B) without metadata, and whether the image has its end."""

import re
from dataclasses import dataclass, field
from typing import BinaryIO

from detection_contract.error_codes import ErrorCode
from detection_worker.errors import JobError
from detection_worker.media.metadata import Metadata
from detection_worker.media.stills.source import (
    LARGE_METADATA,
    MANY_PARTS,
    MAX_PARTS,
    METADATA_BYTES,
    StillSource,
    orientation_of,
    read_at,
    size_of,
    spliced,
)

START_OF_SCAN, END_OF_IMAGE, COMMENT = 0xDA, 0xD9, 0xFE
APPLICATIONS = range(0xE0, 0xF0)
JFIF, EXIF_OR_XMP, JUMBF, PHOTOSHOP, ADOBE = 0xE0, 0xE1, 0xEB, 0xED, 0xEE
"""The first and the last tell libjpeg which colours the components are."""
FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
PROGRESSIVE = 0xC2
PLAIN_FRAMES = frozenset({0xC0, 0xC1, PROGRESSIVE})
"""Coded by Huffman's method; the other two are baseline and extended."""
PLAIN_BYTES = 64 * 1024 * 1024
"""A larger file is not read as a whole into memory."""
MOST_SCANS = 64
"""Encoders write about ten. Each may run through the whole picture, and a file that is refused at
its end is decoded twice."""
READ = frozenset({EXIF_OR_XMP, JUMBF, PHOTOSHOP, COMMENT})
"""Segments of metadata that something here reads."""
BARE = frozenset({0x01, *range(0xD0, 0xD9)})
"""Markers without a length: TEM, restarts and the start of the image."""
EXIF_PREFIX = b"Exif\0\0"
XMP_PREFIX = b"http://ns.adobe.com/xap/1.0/\0"
EXTENDED_XMP_PREFIX = b"http://ns.adobe.com/xmp/extension/\0"
EXTENDED_XMP_HEADER_BYTES = len(EXTENDED_XMP_PREFIX) + 32 + 4 + 4
"""Behind the prefix: a digest, the length of the whole, the offset of this part (XMP part 3)."""
JUMBF_PREFIX = b"JP"
END = bytes((0xFF, END_OF_IMAGE))
SEARCHED_BYTES = 64 * 1024
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
"""Behind any number of fill bytes: asking for them too takes the square of their number."""


@dataclass(slots=True, kw_only=True)
class _Header:
    """What lies before the first scan."""

    parts: list[bytes | range] = field(default_factory=list)
    exif: bytes = b""
    xmp: bytes = b""
    extended_xmp: list[bytes] = field(default_factory=list)
    iptc: bytes = b""
    comment: bytes = b""
    manifest_bytes: int = 0
    metadata_bytes: int = 0
    frame: int | None = None
    components: bytes = b""
    scan_at: int | None = None
    cut_off: bool = False

    @property
    def metadata(self) -> Metadata:
        extended = b"".join(self.extended_xmp)
        comment = self.comment.decode("utf-8", "replace")
        return Metadata(
            exif=self.exif,
            xmp=tuple(packet for packet in (self.xmp, extended) if packet),
            iptc=self.iptc,
            texts=(("comment", comment),) if comment else (),
            manifest_bytes=self.manifest_bytes,
        )


def read_jpeg(file: BinaryIO) -> StillSource:
    """Return a JPEG without its application segments.

    Raises:
        JobError: UNSUPPORTED_TYPE if its samples are not of 8 bits.
    """
    size = size_of(file)
    header = _read_header(file, size)
    if header.scan_at is not None:
        header.parts.append(range(header.scan_at, size))
    large = header.metadata_bytes > METADATA_BYTES
    truncated = header.scan_at is None or not _ends(file, header.scan_at, size)
    usual = header.frame in PLAIN_FRAMES and size <= PLAIN_BYTES
    return StillSource(
        file=spliced(file, header.parts),
        truncated=truncated,
        plain=usual and not truncated and _few_scans(file, header),
        orientation=orientation_of(header.exif, header.xmp),
        warnings=(MANY_PARTS,) * header.cut_off + (LARGE_METADATA,) * large,
        metadata=header.metadata,
    )


def _read_header(file: BinaryIO, size: int) -> _Header:
    header = _Header()
    offset = 0
    for _ in range(MAX_PARTS):
        if offset >= size:
            break
        at, marker = _next_marker(file, offset)
        if marker == START_OF_SCAN:
            header.scan_at = at
            break
        if marker is None or marker == END_OF_IMAGE:
            break
        stop = at + 2 if marker in BARE else at + 2 + _length(file, at + 2)
        _take(file, header, marker=marker, span=range(at, stop))
        offset = max(stop, at + 2)
    else:
        header.cut_off = True
    return header


def _next_marker(file: BinaryIO, offset: int) -> tuple[int, int | None]:
    """Return where the next marker starts and its code; None at the end of the file."""
    here = read_at(file, offset, 2)
    if _MARKER.fullmatch(here):
        return offset, here[1]
    while block := read_at(file, offset, SEARCHED_BYTES):
        found = _MARKER.search(block)
        if found:
            return offset + found.end() - 2, found[0][-1]
        # The last byte may be the first half of a marker.
        offset += max(len(block) - 1, 1)
    return offset, None


def _length(file: BinaryIO, offset: int) -> int:
    return int.from_bytes(read_at(file, offset, 2), "big")


def _take(file: BinaryIO, header: _Header, *, marker: int, span: range) -> None:
    if marker in FRAMES:
        header.frame = marker
        header.components = read_at(file, span.start + 9, 1)
        bits = (read_at(file, span.start + 4, 1) or b"\x08")[0]
        if bits != 8:
            raise JobError(
                ErrorCode.UNSUPPORTED_TYPE, f"a JPEG of {bits} bits a sample is not supported"
            )
    if marker == COMMENT or (marker in APPLICATIONS and not _tells_colours(file, marker, span)):
        header.metadata_bytes += len(span)
        if marker in READ:
            _take_metadata(header, marker, read_at(file, span.start + 4, max(len(span) - 4, 0)))
    else:
        header.parts.append(span)


def _tells_colours(file: BinaryIO, marker: int, span: range) -> bool:
    """Return whether libjpeg reads a segment; Pillow trips over shorter ones."""
    name, least_bytes = {JFIF: (b"JFIF\0", 14), ADOBE: (b"Adobe", 12)}.get(marker, (b"", 2**16))
    data = read_at(file, span.start + 4, max(len(span) - 4, 0))
    return len(data) >= least_bytes and data.startswith(name)


def _take_metadata(header: _Header, marker: int, data: bytes) -> None:
    if marker == COMMENT:
        header.comment = header.comment or data
    elif marker == PHOTOSHOP:
        header.iptc = header.iptc or data
    elif marker == JUMBF:
        # Each part of a box repeats the start of its header; other programs use such boxes too.
        if data.startswith(JUMBF_PREFIX) and (header.manifest_bytes or b"c2pa" in data[:64]):
            header.manifest_bytes += len(data)
            header.metadata_bytes -= len(data)  # it has a limit of its own
    elif data.startswith(EXIF_PREFIX):
        header.exif = header.exif or data
    elif data.startswith(XMP_PREFIX):
        header.xmp = header.xmp or data.removeprefix(XMP_PREFIX)
    elif data.startswith(EXTENDED_XMP_PREFIX) and header.metadata_bytes <= METADATA_BYTES:
        header.extended_xmp.append(data[EXTENDED_XMP_HEADER_BYTES:])


def _few_scans(file: BinaryIO, header: _Header) -> bool:
    scan_at = header.scan_at or 0
    if header.frame != PROGRESSIVE and read_at(file, scan_at + 4, 1) == header.components:
        return True  # libjpeg reads none behind one that has all components
    return read_at(file, scan_at, PLAIN_BYTES).count(bytes((0xFF, START_OF_SCAN))) <= MOST_SCANS


def _ends(file: BinaryIO, scan_at: int, size: int) -> bool:
    """Return whether an end of image follows the first scan, whatever the file holds behind it.

    Inside of a scan a byte of 0xFF has a zero behind it, so nothing else looks like the marker.
    """
    if read_at(file, size - len(END), len(END)) == END:  # of nearly every file
        return True
    file.seek(scan_at)
    last = b""
    while block := file.read(SEARCHED_BYTES):
        if END in last + block[:1] or END in block:
            return True
        last = block[-1:]
    return False
