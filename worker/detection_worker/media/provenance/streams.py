"""Where video and sound files keep a C2PA manifest and XMP, beside the tags that FFmpeg reads.

C2PA 2.2, appendix A; XMP part 3. Still images say it with the rest of their metadata.
"""

import re
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import BinaryIO, Final

from detection_worker.media.metadata import Metadata
from detection_worker.media.stills.source import METADATA_BYTES, read_at, size_of

Tags = Mapping[str, str]

MANIFEST_UUID: Final = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")
XMP_UUID: Final = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
MAX_BOXES: Final = 1000
ID3_SEARCHED_BYTES: Final = 8 * 1024 * 1024
_MANIFEST_OBJECT: Final = re.compile(
    rb"GEOB.{6,11}[\0-\3]application/(?:c2pa|x-c2pa-manifest-store)\0", re.DOTALL
)
"""Frame, size and flags, encoding of the text, type."""


def stream_metadata(file: BinaryIO, container: str, tags: Iterable[Tags]) -> Metadata:
    """Return the metadata of a video or sound file.

    Args:
        file: Its position is moved.
        container: As ``mp4``; one without a known place for a manifest has just tags.
        tags: Those of the container and of its streams.
    """
    finder = _FINDERS.get(container)
    manifest, xmp = (0, b"") if finder is None else finder(file, size_of(file))
    return Metadata(
        xmp=(xmp,) if xmp else (), texts=tuple(_bounded(tags)), manifest_bytes=manifest
    )


def _bounded(tags: Iterable[Tags]) -> Iterator[tuple[str, str]]:
    left = METADATA_BYTES
    for every in tags:
        for key, value in every.items():
            left -= len(key) + len(value)
            if left >= 0:
                yield key, value


def _in_boxes(file: BinaryIO, size: int) -> tuple[int, bytes]:
    """Return size of the manifest and XMP from boxes of ISO BMFF and QuickTime."""
    manifest, xmp = 0, b""
    todo = [range(size)]
    for _ in range(MAX_BOXES):
        box = _box(file, todo[-1]) if todo else None
        if box is None:
            if not todo:
                break
            todo.pop()
            continue
        kind, content, stop = box
        todo[-1] = range(stop, todo[-1].stop)
        if kind in {b"moov", b"udta"}:
            todo.append(content)
        elif kind == MANIFEST_UUID:
            manifest += len(content)
        elif kind in {XMP_UUID, b"XMP_"} and len(content) <= METADATA_BYTES:
            xmp = xmp or read_at(file, content.start, len(content))
    return manifest, xmp


def _box(file: BinaryIO, within: range) -> tuple[bytes, range, int] | None:
    """Return name or UUID of the box at a place, its content, and where the next one starts."""
    header = read_at(file, within.start, 32) if len(within) >= 8 else b""
    if len(header) < 8:
        return None
    length, name = struct.unpack_from(">I4s", header)
    start = 8
    if length == 1 and len(header) >= 16:
        (length,) = struct.unpack_from(">Q", header, 8)
        start = 16
    if length == 0:
        length = len(within)
    if name == b"uuid":
        name, start = header[start : start + 16], start + 16
    if length < start:
        return None
    stop = min(within.start + length, within.stop)
    return name, range(within.start + start, stop), stop


def _in_riff(file: BinaryIO, size: int) -> tuple[int, bytes]:
    """Return size of the manifest and XMP from the chunks of a RIFF file."""
    offset, manifest, xmp = 12, 0, b""
    for _ in range(MAX_BOXES):
        header = read_at(file, offset, 8)
        if len(header) < 8 or offset >= size:
            break
        name, length = struct.unpack("<4sI", header)
        if name == b"C2PA":
            manifest += length
        elif name == b"_PMX" and length <= METADATA_BYTES:
            xmp = xmp or read_at(file, offset + 8, length)
        offset += 8 + length + length % 2
    return manifest, xmp


def _in_id3(file: BinaryIO, size: int) -> tuple[int, bytes]:
    """Return the size of the ID3v2 tag, if one of its objects is a manifest."""
    header = read_at(file, 0, 10)
    if header[:3] != b"ID3" or len(header) < 10:
        return 0, b""
    length = 0
    for byte in header[6:10]:
        length = length << 7 | byte & 0x7F
    tag = read_at(file, 10, min(length, ID3_SEARCHED_BYTES, size))
    return (length if _MANIFEST_OBJECT.search(tag) else 0), b""


_FINDERS: Final[dict[str, Callable[[BinaryIO, int], tuple[int, bytes]]]] = {
    "mp4": _in_boxes,
    "m4a": _in_boxes,
    "mov": _in_boxes,
    "wav": _in_riff,
    "avi": _in_riff,
    "mp3": _in_id3,
    "flac": _in_id3,
}
