"""TIFF and BigTIFF: the first directory, with the tags that pixels depend on (TIFF 6.0)."""

import struct
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from detection_worker.media.metadata import Metadata
from detection_worker.media.stills.source import (
    LARGE_METADATA,
    METADATA_BYTES,
    ORIENTATION_TAG,
    StillSource,
    first_of,
    orientation_of,
    read_at,
    size_of,
    spliced,
)

WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC = 256, 257, 258, 259, 262
STRIP_OFFSETS, STRIP_BYTES, TILE_OFFSETS, TILE_BYTES = 273, 279, 324, 325
SAMPLES, SAMPLE_FORMAT, XMP = 277, 339, 700
IPTC, MANIFEST = 33723, 52545
EXIF_TEXTS = (270, 271, 272, 305)
"""Description, make, model and software: what EXIF has of its own is in another directory."""
EXIF_DIRECTORY, USER_COMMENT = 34665, 37510
PICTURE = frozenset(
    {
        WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, SAMPLES, SAMPLE_FORMAT,
        STRIP_OFFSETS, STRIP_BYTES, TILE_OFFSETS, TILE_BYTES,
        266,                 # FillOrder
        278,                 # RowsPerStrip
        280, 281, 340, 341,  # least and greatest sample
        284,                 # PlanarConfiguration
        292, 293,            # options of CCITT compression
        317,                 # Predictor
        320,                 # ColorMap
        322, 323,            # measures of a tile
        332, 333, 334, 336,  # inks
        338,                 # ExtraSamples
        347,                 # tables of JPEG compression
        *range(512, 522),    # JPEG compression, old style
        529, 530, 531, 532,  # YCbCr
    }
)  # fmt: skip
"""Tags that pixels depend on; a decoder is shown no others."""
UNIT_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4,
              16: 8, 17: 8, 18: 8}  # fmt: skip
_UNSIGNED = {1: "u1", 3: "u2", 4: "u4", 13: "u4", 16: "u8", 18: "u8"}
MAX_PAGES = 10_000
MAX_ENTRIES = 4096
MAX_PARTS = 4_000_000
"""Strips or tiles whose place is checked."""
_KINDS = {
    1: "unsigned",
    2: "signed",
    3: "floating-point",
    4: "undefined",
    5: "complex",
    6: "complex",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layout:
    """How a file writes its numbers: ``<`` or ``>``, and wide ones in a BigTIFF."""

    order: str
    big: bool

    @property
    def count(self) -> str:
        return self.order + ("Q" if self.big else "H")

    @property
    def entry(self) -> str:
        return self.order + ("HHQ8s" if self.big else "HHI4s")

    @property
    def offset(self) -> str:
        return self.order + ("Q" if self.big else "I")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    tag: int
    kind: int
    count: int
    value: bytes
    """As it lies in the directory: the value, or where it is."""
    raw: bytes

    @property
    def size(self) -> int:
        return UNIT_BYTES.get(self.kind, 1) * self.count


def read_tiff(file: BinaryIO) -> StillSource:
    """Return a TIFF whose first directory holds ``PICTURE`` alone."""
    size = size_of(file)
    head = read_at(file, 0, 16)
    layout = _Layout(order="<" if head[:2] == b"II" else ">", big=43 in head[2:4])
    at = _offset(head, 8 if layout.big else 4, layout)
    entries = _directory(file, at, layout)
    if not entries:
        return StillSource(file=file, truncated=at + 2 > size, damaged=at + 2 <= size)
    by_tag = {entry.tag: entry for entry in reversed(entries)}
    large = sum(e.size for e in entries if e.tag not in PICTURE | {MANIFEST}) > METADATA_BYTES
    return StillSource(
        file=spliced(file, _reduced(file, size, entries, layout)),
        truncated=_cut_short(file, size, by_tag, layout),
        orientation=_orientation(file, by_tag, layout),
        bits=max(_numbers(file, by_tag.get(BITS), layout).tolist(), default=8),
        sample_kind=_sample_kind(file, by_tag, layout),
        warnings=(*first_of(_pages(file, at, layout), "pages"), *((LARGE_METADATA,) * large)),
        metadata=_metadata(file, by_tag, layout),
    )


def _offset(data: bytes, start: int, layout: _Layout) -> int:
    width = 8 if layout.big else 4
    return int(struct.unpack(layout.offset, data[start : start + width].ljust(width, b"\0"))[0])


def _directory(file: BinaryIO, at: int, layout: _Layout) -> list[_Entry]:
    """Return the entries of a directory, as far as the file holds them."""
    if at >= 2**63:
        return []
    start = struct.calcsize(layout.count)
    raw = read_at(file, at, start)
    if len(raw) < start:
        return []
    count, step = struct.unpack(layout.count, raw)[0], struct.calcsize(layout.entry)
    table = read_at(file, at + start, min(count, MAX_ENTRIES) * step)
    entries = []
    for place in range(0, len(table) - step + 1, step):
        raw = table[place : place + step]
        tag, kind, length, value = struct.unpack(layout.entry, raw)
        entries.append(_Entry(tag=tag, kind=kind, count=length, value=value, raw=raw))
    return entries


def _reduced(
    file: BinaryIO, size: int, entries: list[_Entry], layout: _Layout
) -> list[bytes | range]:
    """Return the file with another directory at its end; offsets stay what they are."""
    kept = [entry.raw for entry in entries if entry.tag in PICTURE]
    first = 16 if layout.big else 8
    at = (size + 7) // 8 * 8
    header = read_at(file, 0, first - struct.calcsize(layout.offset))
    directory = struct.pack(layout.count, len(kept)) + b"".join(kept)
    return [
        header + struct.pack(layout.offset, at),
        range(first, size),
        bytes(at - size) + directory + struct.pack(layout.offset, 0),
    ]


def _numbers(
    file: BinaryIO, entry: _Entry | None, layout: _Layout, *, most: int = 16
) -> NDArray[np.uint64]:
    """Return whole numbers of an entry; none if it has others or they lie outside of the file."""
    if entry is None or entry.kind not in _UNSIGNED:
        return np.zeros(0, np.uint64)
    dtype = np.dtype(layout.order + _UNSIGNED[entry.kind])
    count = min(entry.count, most)
    data = entry.value
    if entry.size > len(entry.value):
        at = _offset(entry.value, 0, layout)
        data = read_at(file, at, count * dtype.itemsize) if at < 2**63 else b""
    count = min(count, len(data) // dtype.itemsize)
    return np.frombuffer(data, dtype, count).astype(np.uint64)


def _cut_short(file: BinaryIO, size: int, by_tag: dict[int, _Entry], layout: _Layout) -> bool:
    """Return whether a strip or tile lies beyond the end of the file."""
    tiled = TILE_OFFSETS in by_tag
    starts, lengths = (
        _numbers(file, by_tag.get(tag), layout, most=MAX_PARTS)
        for tag in ((TILE_OFFSETS, TILE_BYTES) if tiled else (STRIP_OFFSETS, STRIP_BYTES))
    )
    if not len(starts):
        return False
    if len(lengths) != len(starts):
        return bool((starts >= size).any())
    # As floats, because hostile sums do not fit into integers.
    return bool((starts.astype(np.float64) + lengths.astype(np.float64) > size).any())


def _orientation(file: BinaryIO, by_tag: dict[int, _Entry], layout: _Layout) -> int:
    found = _numbers(file, by_tag.get(ORIENTATION_TAG), layout)
    if len(found) == 1 and 1 <= int(found[0]) <= 8:
        return int(found[0])
    return orientation_of(b"", _bytes(file, by_tag.get(XMP), layout))


def _bytes(file: BinaryIO, entry: _Entry | None, layout: _Layout) -> bytes:
    """Return the bytes of an entry of metadata; none if it is missing or too large."""
    if entry is None or entry.size > METADATA_BYTES:
        return b""
    if entry.size <= len(entry.value):
        return entry.value[: entry.size]
    at = _offset(entry.value, 0, layout)
    return read_at(file, at, entry.size) if at < 2**63 else b""


def _metadata(file: BinaryIO, by_tag: dict[int, _Entry], layout: _Layout) -> Metadata:
    xmp = _bytes(file, by_tag.get(XMP), layout)
    manifest = by_tag.get(MANIFEST)
    return Metadata(
        exif=_exif(file, by_tag, layout),
        xmp=(xmp,) if xmp else (),
        iptc=_bytes(file, by_tag.get(IPTC), layout),
        manifest_bytes=0 if manifest is None else manifest.size,
    )


def _exif(file: BinaryIO, by_tag: dict[int, _Entry], layout: _Layout) -> bytes:
    """Return the few fields of EXIF that are read, as the block that other containers hold."""
    block = Image.Exif()
    for tag in EXIF_TEXTS:
        if value := _bytes(file, by_tag.get(tag), layout):
            block[tag] = value
    places = _numbers(file, by_tag.get(EXIF_DIRECTORY), layout)
    inner = _directory(file, int(places[0]), layout) if len(places) else []
    comment = next((entry for entry in inner if entry.tag == USER_COMMENT), None)
    if value := _bytes(file, comment, layout):
        block.get_ifd(EXIF_DIRECTORY)[USER_COMMENT] = value
    return block.tobytes() if block or value else b""


def _pages(file: BinaryIO, at: int, layout: _Layout) -> int:
    seen: set[int] = set()
    start, step = struct.calcsize(layout.count), struct.calcsize(layout.entry)
    while at and at < 2**63 and at not in seen and len(seen) < MAX_PAGES:
        raw = read_at(file, at, start)
        if len(raw) < start:
            break
        seen.add(at)
        after = at + start + struct.unpack(layout.count, raw)[0] * step
        at = _offset(read_at(file, after, 8), 0, layout) if after < 2**63 else 0
    return max(1, len(seen))


def _sample_kind(file: BinaryIO, by_tag: dict[int, _Entry], layout: _Layout) -> str | None:
    """Return in words what one pixel is made of; None if the directory is broken."""
    measures = [_numbers(file, by_tag.get(tag), layout) for tag in (WIDTH, HEIGHT)]
    bits = _numbers(file, by_tag.get(BITS), layout).tolist() or [1]
    if not all(len(m) == 1 and m[0] for m in measures) or not all(1 <= b <= 64 for b in bits):
        return None
    kind = [*_numbers(file, by_tag.get(SAMPLE_FORMAT), layout).tolist(), 1][0]
    photometric, compression = (
        [*_numbers(file, by_tag.get(tag), layout).tolist(), 1][0]
        for tag in (PHOTOMETRIC, COMPRESSION)
    )
    return (
        f"{'+'.join(str(b) for b in bits)} bits, {_KINDS.get(kind, 'unknown')}, photometric "
        f"interpretation {photometric}, compression {compression}"
    )
