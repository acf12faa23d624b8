"""PNG: chunks checked by their checksums (ISO 15948), metadata left out, first frame as shown."""

import binascii
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, takewhile
from typing import BinaryIO

from detection_worker.media.metadata import Metadata
from detection_worker.media.stills.source import (
    BROKEN_METADATA,
    LARGE_METADATA,
    MANY_PARTS,
    MAX_PARTS,
    METADATA_BYTES,
    StillSource,
    first_of,
    orientation_of,
    read_at,
    size_of,
    spliced,
)

SIGNATURE_BYTES = 8
PIXELS = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})
ANIMATION = frozenset({b"acTL", b"fcTL", b"fdAT"})
TEXTS = frozenset({b"tEXt", b"zTXt", b"iTXt"})
CHECKED_BYTES = 1024 * 1024
XMP_KEY = b"XML:com.adobe.xmp"
EXIF_KEY = b"Raw profile type exif"
"""ImageMagick's place for EXIF before the chunk eXIf existed."""
IPTC_KEY = b"Raw profile type iptc"
MANIFEST = b"caBX"
"""C2PA 2.2, appendix A.3.3."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Chunk:
    name: bytes
    start: int
    """Offset of the chunk's data in the file."""
    length: int
    """Bytes of data, as far as the file holds them."""
    sound: bool
    """It is whole and its checksum fits."""

    @property
    def critical(self) -> bool:
        return self.name[:1].isupper()

    @property
    def span(self) -> range:
        return range(self.start - 8, self.start + self.length + 4)


def read_png(file: BinaryIO) -> StillSource:
    """Return a PNG reduced to the chunks that its first frame is made of."""
    size = size_of(file)
    chunks = list(islice(_chunks(file, size), MAX_PARTS))
    ended = bool(chunks) and chunks[-1].name == b"IEND"
    lost = not ended and (not chunks or chunks[-1].span.stop + 8 <= size)
    whole = [chunk for chunk in chunks if chunk.span.stop <= size]
    pixels = [chunk for chunk in whole if chunk.name in PIXELS | ANIMATION]
    metadata = _Metadata(file)
    for chunk in whole:
        if chunk.name not in PIXELS | ANIMATION:
            metadata.look_at(chunk)
    return StillSource(
        file=spliced(file, _first_frame(file, chunks)),
        truncated=not ended and not lost,
        damaged=lost or not all(chunk.sound for chunk in pixels),
        metadata_damaged=metadata.broken,
        bits=_depth(file, pixels),
        orientation=orientation_of(metadata.exif, metadata.xmp),
        warnings=(
            *first_of(_frames(file, chunks), "frames"),
            *((MANY_PARTS,) * (lost and len(chunks) == MAX_PARTS)),
            *metadata.warnings(),
        ),
        metadata=metadata.found(),
    )


def _chunks(file: BinaryIO, size: int) -> Iterator[_Chunk]:
    """Yield chunks up to IEND, the end of the file or what is no chunk."""
    offset = SIGNATURE_BYTES
    while offset + 8 <= size:
        length, name = struct.unpack(">I4s", read_at(file, offset, 8))
        if not name.isalpha():
            return
        start = offset + 8
        offset = start + length + 4
        held = min(length, size - start)
        sound = offset <= size and _checksum(file, name, start, length)
        yield _Chunk(name=name, start=start, length=held, sound=sound)
        if name == b"IEND":
            return


def _checksum(file: BinaryIO, name: bytes, start: int, length: int) -> bool:
    """Return whether the checksum behind a chunk's data fits."""
    crc = zlib.crc32(name)
    file.seek(start)
    left = length
    while left:
        block = file.read(min(left, CHECKED_BYTES))
        crc = zlib.crc32(block, crc)
        left -= len(block)
    return file.read(4) == crc.to_bytes(4, "big")


def _first_frame(file: BinaryIO, chunks: list[_Chunk]) -> list[bytes | range]:
    """Return the chunks of a PNG without animation that shows what a viewer shows first."""
    # A wrong checksum makes libpng, and so every browser, ignore a chunk that is not critical.
    kept = [c for c in chunks if c.name in PIXELS and (c.sound or c.critical)]
    signature = range(SIGNATURE_BYTES)
    header = next((c for c in kept if c.name == b"IHDR" and c.length == 13), None)
    if header is None:
        return [signature, *(c.span for c in kept)]
    form = read_at(file, header.start, 13)
    colours = [_colours(file, c, form) for c in kept if c.name in {b"PLTE", b"tRNS"}]
    frame = _animation_start(chunks)
    if frame is None:
        data = [c.span for c in kept if c.name in {b"IDAT", b"IEND"}]
        return [signature, header.span, *colours, *data]
    form = read_at(file, frame[0].start + 4, 8) + form[8:]
    data = [range(c.start + 4, c.span.stop) for c in frame[1:]]
    behind = [part for d in data for part in (_data_header(d), d)]
    return [signature, _made(b"IHDR", form), *colours, *behind, _made(b"IEND", b"")]


def _animation_start(chunks: list[_Chunk]) -> list[_Chunk] | None:
    """Return control and data of the first frame, if that is another one than IDAT holds.

    Then IDAT is for programs that know no animations: no viewer shows it.
    """
    names = [c.name for c in chunks]
    if b"acTL" not in names or b"IDAT" not in names:
        return None
    behind = [c for c in chunks[names.index(b"IDAT") :] if c.name in ANIMATION]
    first = next((c for c in chunks if c.name == b"fcTL"), None)
    if not behind or first is not behind[0] or first.length != 26:
        return None
    data = list(takewhile(lambda c: c.name == b"fdAT" and c.length > 4, behind[1:]))
    return [first, *data] if data and all(c.sound for c in (first, *data)) else None


def _colours(file: BinaryIO, chunk: _Chunk, form: bytes) -> bytes | range:
    """Return PLTE or tRNS; a transparent colour in the eight bits that Pillow compares with."""
    depth, kind = form[8], form[9]
    if chunk.name != b"tRNS" or (kind, depth) not in {(0, 2), (0, 4), (2, 16)}:
        return chunk.span
    key = read_at(file, chunk.start, chunk.length)
    values = [int.from_bytes(key[i : i + 2], "big") for i in range(0, len(key) - 1, 2)]
    scaled = [v >> 8 if depth == 16 else v * 255 // (2**depth - 1) & 255 for v in values]
    return _made(b"tRNS", struct.pack(f">{len(scaled)}H", *scaled))


def _made(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _data_header(data: range) -> bytes:
    # fdAT is IDAT behind a sequence number of four bytes. Pillow leaves its checksum alone.
    return struct.pack(">I", len(data) - 4) + b"IDAT"


def _depth(file: BinaryIO, chunks: list[_Chunk]) -> int:
    header = next((c for c in chunks if c.name == b"IHDR" and c.length == 13), None)
    return 8 if header is None else read_at(file, header.start + 8, 1)[0]


def _frames(file: BinaryIO, chunks: list[_Chunk]) -> int:
    for chunk in chunks:
        if chunk.name == b"acTL" and chunk.sound and chunk.length == 8:
            return max(1, int.from_bytes(read_at(file, chunk.start, 4), "big"))
    return 1


class _Metadata:
    """What chunks beside the picture say, within a budget."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._left = METADATA_BYTES
        self._large = self.broken = False
        self.exif = b""
        self.xmp = b""
        self._iptc = b""
        self._texts: list[tuple[str, str]] = []
        self._manifest_bytes = 0

    def look_at(self, chunk: _Chunk) -> None:
        if not chunk.sound:
            self.broken = True
            return
        if chunk.name == MANIFEST:
            self._manifest_bytes += chunk.length
            return
        # Of all metadata the orientation alone matters, so text never uses up its place.
        if chunk.length > (METADATA_BYTES if chunk.name == b"eXIf" else self._left):
            self._large = True
            return
        data = read_at(self._file, chunk.start, chunk.length)
        self._take(chunk.name, data)

    def _take(self, name: bytes, data: bytes) -> None:
        key, value = b"", data
        if name in TEXTS or name == b"iCCP":
            key, _, value = data.partition(b"\0")
            value = self._text(name, value)
        self._left = max(0, self._left - max(len(value), len(data)))
        if name == b"eXIf":
            self.exif = self.exif or value
        elif key == EXIF_KEY:
            self.exif = self.exif or _unhexed(value)
        elif key == XMP_KEY:
            self.xmp = self.xmp or value
        elif key == IPTC_KEY:
            self._iptc = self._iptc or _unhexed(value)
        elif name in TEXTS:
            coding = "utf-8" if name == b"iTXt" else "latin-1"
            self._texts.append((key.decode("latin-1"), value.decode(coding, "replace")))

    def found(self) -> Metadata:
        return Metadata(
            exif=self.exif,
            xmp=(self.xmp,) if self.xmp else (),
            iptc=self._iptc,
            texts=tuple(self._texts),
            manifest_bytes=self._manifest_bytes,
        )

    def _text(self, name: bytes, value: bytes) -> bytes:
        if name == b"iTXt":
            compressed, value = value[:1] == b"\x01", value[2:]
            value = value.split(b"\0", 2)[-1]
        else:
            compressed, value = name != b"tEXt", value if name == b"tEXt" else value[1:]
        return self._inflated(value) if compressed else value

    def _inflated(self, value: bytes) -> bytes:
        inflater = zlib.decompressobj()
        try:
            text = inflater.decompress(value, self._left + 1)
        except zlib.error:
            self.broken = True
            return b""
        if len(text) > self._left:
            self._large, self._left = True, 0
            return b""
        return text

    def warnings(self) -> tuple[str, ...]:
        return (LARGE_METADATA,) * self._large + (BROKEN_METADATA,) * self.broken


def _unhexed(profile: bytes) -> bytes:
    """Return the bytes of ImageMagick's form: name and length, then hex digits in lines."""
    try:
        return binascii.unhexlify(b"".join(profile.split(b"\n")[3:]))
    except binascii.Error:
        return b""
