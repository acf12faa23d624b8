"""WebP: RIFF chunks (RFC 9649), metadata left out, the announced length compared."""

import struct
from typing import BinaryIO

from detection_worker.media.metadata import Metadata
from detection_worker.media.stills.source import (
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

HEADER_BYTES = 12
METADATA = frozenset({b"ICCP", b"EXIF", b"XMP "})
MANIFEST = b"C2PA"
"""C2PA 2.2, appendix A.3.7."""
METADATA_FLAGS = 0x20 | 0x08 | 0x04
"""Flags of the chunk VP8X: there is a colour profile, EXIF data, XMP data."""
PIXELS = frozenset({b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF"})


def read_webp(file: BinaryIO) -> StillSource:
    """Return a WebP without its metadata."""
    size = size_of(file)
    announced = 8 + int.from_bytes(read_at(file, 4, 4), "little")
    parts: list[bytes | range] = []
    found: dict[bytes, bytes] = {}
    metadata_bytes = 0
    chunks = _chunks(file, min(size, announced))
    for name, span in chunks:
        if name == b"VP8X":
            parts.append(_without_flags(read_at(file, span.start, len(span))))
        elif name in PIXELS:
            parts.append(span)
        else:
            metadata_bytes += len(span) * (name != MANIFEST)  # which has a limit of its own
            if name in METADATA and len(span) <= METADATA_BYTES:
                found.setdefault(name, read_at(file, span.start + 8, len(span) - 8))
    # Some writers count a last padding byte that they do not write.
    lacking = announced - size if announced > size + 1 else 0
    # What a file lacks stays announced, for the decoder to see it too.
    length = 4 + sum(len(part) for part in parts) + lacking
    header = b"RIFF" + struct.pack("<I", min(length, 2**32 - 2)) + b"WEBP"
    exif, xmp = found.get(b"EXIF", b""), found.get(b"XMP ", b"")
    return StillSource(
        file=spliced(file, [header, *parts]),
        truncated=lacking > 0,
        orientation=orientation_of(exif, xmp),
        warnings=(
            *first_of([name for name, _ in chunks].count(b"ANMF"), "frames"),
            *((MANY_PARTS,) * (len(chunks) == MAX_PARTS)),
            *((LARGE_METADATA,) * (metadata_bytes > METADATA_BYTES)),
        ),
        metadata=Metadata(
            exif=exif,
            xmp=(xmp,) if xmp else (),
            manifest_bytes=sum(len(span) for name, span in chunks if name == MANIFEST),
        ),
    )


def _chunks(file: BinaryIO, size: int) -> list[tuple[bytes, range]]:
    chunks: list[tuple[bytes, range]] = []
    offset = HEADER_BYTES
    while offset + 8 <= size and len(chunks) < MAX_PARTS:
        name, length = struct.unpack("<4sI", read_at(file, offset, 8))
        stop = offset + 8 + length + length % 2
        chunks.append((name, range(offset, min(stop, size))))
        offset = stop
    return chunks


def _without_flags(chunk: bytes) -> bytes:
    flags = bytes(b & ~METADATA_FLAGS for b in chunk[8:9])
    return chunk[:8] + flags + chunk[9:]
