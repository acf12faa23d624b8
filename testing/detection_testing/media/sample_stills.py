"""Still images built byte by byte, as no encoder writes them."""

import struct
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
Chunk = tuple[bytes, bytes]


def png_chunks(data: bytes) -> list[Chunk]:
    """Return names and data of the chunks of a sound PNG."""
    chunks, at = [], len(PNG_SIGNATURE)
    while at < len(data):
        length, name = struct.unpack_from(">I4s", data, at)
        chunks.append((name, data[at + 8 : at + 8 + length]))
        at += 12 + length
    return chunks


def png(chunks: Iterable[Chunk], *, wrong_checksum: Sequence[bytes] = ()) -> bytes:
    """Return a PNG; chunks whose names are in ``wrong_checksum`` get one that does not fit."""
    parts = [PNG_SIGNATURE]
    for name, data in chunks:
        crc = zlib.crc32(name + data) ^ (name in wrong_checksum)
        parts.append(struct.pack(">I", len(data)) + name + data + struct.pack(">I", crc))
    return b"".join(parts)


def png_of(
    rows: NDArray[np.generic], *, depth: int, colour: int, before_data: Sequence[Chunk] = ()
) -> bytes:
    """Return a PNG of whole bytes.

    Args:
        rows: Samples of 8 or 16 bits, shape ``(height, width)`` or ``(height, width,
            channels)``; packed already if ``depth`` is below 8.
        depth: Bits of a sample.
        colour: PNG's colour type.
        before_data: Chunks between IHDR and IDAT.
    """
    height = len(rows)
    width = rows.shape[1] * 8 // depth if depth < 8 else rows.shape[1]
    flat = [b"\0" + row.tobytes() for row in rows.astype(rows.dtype.newbyteorder(">"))]
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    data = zlib.compress(b"".join(flat))
    return png([(b"IHDR", header), *before_data, (b"IDAT", data), (b"IEND", b"")])


def make_tiff(
    path: Path,
    samples: NDArray[np.generic],
    *,
    tags: Mapping[int, tuple[int, Sequence[float] | bytes]] | None = None,
    photometric: int = 1,
    big: bool = False,
    order: Literal["<", ">"] = "<",
) -> Path:
    """Write an uncompressed TIFF of one strip; return ``path``.

    Args:
        path: Where to.
        samples: Shape ``(height, width)`` or ``(height, width, channels)``, any numpy type.
        tags: Further tags, or others in place of those made here: TIFF's type and the values.
        photometric: PhotometricInterpretation.
        big: Write a BigTIFF.
        order: ``<`` or ``>``.
    """
    data = samples.astype(samples.dtype.newbyteorder(order)).tobytes()
    channels = samples.shape[2] if samples.ndim == 3 else 1
    kind = {"u": 1, "i": 2, "f": 3}[samples.dtype.kind]
    first = 16 if big else 8
    entries: dict[int, tuple[int, Sequence[float] | bytes]] = {
        256: (4, [samples.shape[1]]), 257: (4, [samples.shape[0]]),
        258: (3, [8 * samples.itemsize] * channels), 259: (3, [1]), 262: (3, [photometric]),
        273: (4, [first]), 277: (3, [channels]), 278: (4, [samples.shape[0]]),
        279: (4, [len(data)]), 339: (3, [kind] * channels), **(tags or {}),
    }  # fmt: skip
    path.write_bytes(_tiff(data, entries, big=big, order=order))
    return path


def _tiff(
    data: bytes,
    entries: Mapping[int, tuple[int, Sequence[float] | bytes]],
    *,
    big: bool,
    order: str,
) -> bytes:
    data += bytes(-len(data) % 8)
    codes = {1: "B", 2: "c", 3: "H", 4: "I", 5: "I", 7: "c", 11: "f", 12: "d", 16: "Q"}
    inline, first = (8, 16) if big else (4, 8)
    at = first + len(data)
    table, outside = b"", b""
    outside_at = at + (8 if big else 2) + len(entries) * (20 if big else 12) + inline
    for tag, (kind, values) in sorted(entries.items()):
        value = (
            values
            if isinstance(values, bytes)
            else struct.pack(f"{order}{len(values)}{codes[kind]}", *values)
        )
        count = len(values) // (2 if kind == 5 else 1)
        table += struct.pack(order + ("HHQ" if big else "HHI"), tag, kind, count)
        if len(value) <= inline:
            table += value.ljust(inline, b"\0")
        else:
            table += struct.pack(order + ("Q" if big else "I"), outside_at + len(outside))
            outside += value
    name = b"II" if order == "<" else b"MM"
    head = name + struct.pack(
        order + ("HHHQ" if big else "HI"), *((43, 8, 0) if big else (42,)), at
    )
    count_ = struct.pack(order + ("Q" if big else "H"), len(entries))
    return head + data + count_ + table + bytes(inline) + outside
