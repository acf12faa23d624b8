"""Whether a file of sound or video ends before the length that its own container announces.

Only structure is read, never a payload, and every announcement is one that a finished file has.
What live streams leave open (unknown sizes, no counts) is no announcement. Data that is there but
broken is another matter: that is damage, and decoding finds it.
"""

import os
import struct
from collections.abc import Callable, Iterator
from typing import BinaryIO

from detection_worker.media.containers.sniff import Content, adts_frame_bytes, mp3_frame_bytes

MAX_ELEMENTS = 500_000
"""Most chunks, boxes or elements that are walked over, in under half a second; more says nothing.
An AVI whose writer could not seek back has one for each frame: three hours of video and sound."""
LEAST_OPEN_BYTES = 0x7FFF_0000
"""RIFF sizes from here on are what programs write that cannot seek back: 0xFFFFFFFF (FFmpeg),
0x7FFFF000 (SoX), 0x7FFFFFFF (arecord)."""
RIFF_SLACK_BYTES = 8
"""Some writers count the header itself."""
OGG_PAGE_BYTES = 65_307
"""Most bytes of a page (RFC 3533 section 6)."""
TAG_BYTES = 128
TAIL_BYTES = 16 * 1024
"""Holds several frames of any MPEG audio."""


def ends_early(file: BinaryIO, content: Content) -> bool | None:
    """Return whether ``file`` is shorter than its container announces; None if it says nothing.

    Args:
        file: Seekable; its position afterwards is anywhere.
        content: As sniffed.
    """
    size = file.seek(0, os.SEEK_END)
    check = _CHECKS.get(content.demuxer or "")
    try:
        return None if check is None else check(file, size)
    except (struct.error, ValueError, IndexError, OverflowError):  # damage, not an end
        return None


def _read(file: BinaryIO, at: int, count: int) -> bytes:
    file.seek(at)
    return file.read(count)


# -- RIFF: WAV and AVI (Multimedia Programming Interface and Data Specifications 1.0) -------------


def _chunks(file: BinaryIO, at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield name, start of the payload and announced size of each chunk; the last may be cut."""
    for _ in range(MAX_ELEMENTS):
        head = _read(file, at, 8)
        if at + 8 > end or len(head) < 8:
            return
        name, count = struct.unpack("<4sI", head)
        yield name, at + 8, count
        at += 8 + count + count % 2


def _wav(file: BinaryIO, size: int) -> bool | None:
    riff_bytes: int
    name, riff_bytes = struct.unpack("<4sI", _read(file, 0, 8))
    large = 0
    for chunk, at, announced in _chunks(file, 12, size):
        if chunk == b"ds64":
            (large,) = struct.unpack("<8xQ", _read(file, at, 16))
        if chunk != b"data":
            continue
        count = large if name == b"RF64" and announced == 0xFFFF_FFFF else announced
        if count == 0 or (not large and count >= LEAST_OPEN_BYTES):
            return False
        if at + count > size:
            return True
        return riff_bytes < LEAST_OPEN_BYTES and 8 + riff_bytes > size + RIFF_SLACK_BYTES
    return None


def _avi(file: BinaryIO, size: int) -> bool | None:
    for name, at, count in _chunks(file, 0, size):
        if name != b"RIFF":
            break
        if count in {0, 0xFFFF_FFFF}:  # its writer could not seek back; chunks have sizes
            return any(at + count > size for _, at, count in _avi_chunks(file, size))
        if at + count > size + 1:  # a last odd byte is not always padded
            return True
    return False


def _avi_chunks(file: BinaryIO, size: int) -> Iterator[tuple[bytes, int, int]]:
    at = 12
    for _ in range(MAX_ELEMENTS):
        head = _read(file, at, 12)
        if len(head) < 8:
            return
        name, count = struct.unpack_from("<4sI", head)
        if name == b"LIST" and head[8:] == b"movi":
            at += 12
            continue
        yield name, at + 8, count
        at += 8 + count + count % 2


# -- MP4 and MOV (ISO 14496-12 section 4.2) -------------------------------------------------------


def _boxes(file: BinaryIO, size: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield name, start of the payload and end of each box; a size of 0 is the rest."""
    at = 0
    for _ in range(MAX_ELEMENTS):
        head = _read(file, at, 16)
        if len(head) < 8:
            return
        count, name = struct.unpack_from("!I4s", head)
        start = at + 8
        if count == 1:
            (count,) = struct.unpack_from("!Q", head, 8)
            start = at + 16
        end = size if count == 0 else at + count
        if end < start or not name.isascii() or not name.decode("ascii").isprintable():
            return
        yield name, start, end
        if end > size:
            return
        at = end


def _mp4(file: BinaryIO, size: int) -> bool | None:
    name, covered = b"", 0
    for number, (name, start, end) in enumerate(_boxes(file, size), 1):
        if number == MAX_ELEMENTS:
            return None
        covered = end
        if (
            name == b"sidx"
            and end <= size
            and _indexed_end(_read(file, start, end - start), end) > size
        ):
            return True
    if covered > size or name == b"moof":  # its samples follow in an mdat
        return True
    # Less than a header is left.
    return size - covered < 8 and any(_read(file, covered, 8))


def _indexed_end(body: bytes, end: int) -> int:
    """Where the last subsegment of a segment index ends (ISO 14496-12 section 8.16.3)."""
    version = body[0]
    (first,) = struct.unpack_from("!Q" if version else "!I", body, 20 if version else 16)
    at = 28 if version else 20
    (count,) = struct.unpack_from("!2xH", body, at)
    sizes = struct.unpack_from("!" + "III" * count, body, at + 4)[::3]
    return int(end + first + sum(s & 0x7FFF_FFFF for s in sizes))


# -- Matroska and WebM (RFC 8794) -----------------------------------------------------------------

EBML, SEGMENT, CLUSTER = 0x1A45DFA3, 0x18538067, 0x1F43B675


def _element(file: BinaryIO, at: int) -> tuple[int, int, int | None] | None:
    """Return id, start of the payload and size (None if unknown) of the element at ``at``."""
    head = _read(file, at, 12)
    id_bytes = 9 - head[0].bit_length() if head else 9
    if id_bytes > 4 or len(head) <= id_bytes:
        return None
    length = 9 - head[id_bytes].bit_length()
    raw = head[id_bytes : id_bytes + length]
    if length > 8 or len(raw) < length:
        return None
    number = int.from_bytes(raw, "big") & ((1 << 7 * length) - 1)
    unknown = number == (1 << 7 * length) - 1
    start = at + id_bytes + length
    return int.from_bytes(head[:id_bytes], "big"), start, None if unknown else number


def _matroska(file: BinaryIO, size: int) -> bool | None:
    at = 0
    for _ in range(MAX_ELEMENTS):
        if at == size:
            return False
        element = _element(file, at)
        if element is None:
            # Less than a header is left, or no element is there.
            return True if size - at < 12 else None
        name, start, count = element
        if count is None:  # only of these: go on with what is inside
            if name not in {SEGMENT, CLUSTER}:
                return None
            at = start
        elif start + count > size:
            return True
        else:
            at = start + count
    return None


# -- ASF: WMV and WMA (Advanced Systems Format specification 01.20.03) ----------------------------

_FILE_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_DATA = bytes.fromhex("3626b2758e66cf11a6d900aa0062ce6c")
_INDEX = bytes.fromhex("90080033b1e5cf1189f400a0c90349cb")
DATA_HEAD_BYTES = 50
END_CHUNK_BYTES = 12
"""FFmpeg ends what it streams with one."""
BROADCAST = 1


def _asf(file: BinaryIO, size: int) -> bool | None:
    (header_bytes,) = struct.unpack("<16xQ", _read(file, 0, 24))
    header = _read(file, 0, min(header_bytes, 1 << 20))
    at = header.find(_FILE_PROPERTIES)
    if at < 0:
        return None
    (file_bytes,) = struct.unpack_from("<Q", header, at + 40)
    flags, packet_bytes = struct.unpack_from("<II", header, at + 88)
    if flags & BROADCAST:  # its header counts nothing, but all packets have one size
        tail = _read(file, max(0, size - TAIL_BYTES), TAIL_BYTES)
        end = size - len(tail) + at if (at := tail.rfind(_INDEX)) >= 0 else size
        rest = (end - header_bytes - DATA_HEAD_BYTES) % max(1, packet_bytes)
        return bool(rest > END_CHUNK_BYTES)
    name, data_bytes = struct.unpack("<16sQ", _read(file, header_bytes, 24))
    return bool(file_bytes > size or (name == _DATA and header_bytes + data_bytes > size))


# -- Ogg (RFC 3533 section 6) ---------------------------------------------------------------------

END_OF_STREAM = 4


def _ogg(file: BinaryIO, size: int) -> bool | None:
    start = max(0, size - 2 * OGG_PAGE_BYTES)
    tail = _read(file, start, size - start)
    at = len(tail)
    while (at := tail.rfind(b"OggS\0", 0, at)) >= 0:
        page = tail[at:]
        if len(page) >= 27 and len(page) >= 27 + page[26]:
            whole = len(page) >= 27 + page[26] + sum(page[27 : 27 + page[26]])
            return not whole or not page[5] & END_OF_STREAM
        return True
    return None


# -- MPEG audio: MP3 and ADTS ---------------------------------------------------------------------


def _mp3(file: BinaryIO, size: int) -> bool | None:
    start, end = _behind_id3(file), _before_tags(file, size)
    head = _read(file, start, 4096)
    first = len(head) - len(head.lstrip(b"\0"))
    announced = _announced_bytes(head[first:])
    # Writers differ in whether the frame that announces counts.
    if announced and end - start - first < announced - mp3_frame_bytes(head[first:]):
        return True
    return _tail_is_cut(file, start + first, end, mp3_frame_bytes)


def _adts(file: BinaryIO, size: int) -> bool | None:
    return _tail_is_cut(file, _behind_id3(file), _before_tags(file, size), adts_frame_bytes)


def _behind_id3(file: BinaryIO) -> int:
    head = _read(file, 0, 10)
    if head[:3] != b"ID3":
        return 0
    return 10 + sum(
        (b & 0x7F) << shift for b, shift in zip(head[6:10], (21, 14, 7, 0), strict=True)
    )


def _before_tags(file: BinaryIO, size: int) -> int:
    """Return where the sound ends: before ID3v1, Lyrics3v2 and APEv2."""
    if _read(file, max(0, size - TAG_BYTES), 3) == b"TAG":
        size -= TAG_BYTES
    lyrics = _read(file, max(0, size - 15), 15)
    if lyrics[6:] == b"LYRICS200" and lyrics[:6].isdigit():
        size = max(0, size - int(lyrics[:6]) - 15)
    footer = _read(file, max(0, size - 32), 32)
    if footer[:8] == b"APETAGEX":
        count, flags = struct.unpack_from("<I4xI", footer, 12)
        size -= count + (32 if flags & 0x8000_0000 else 0)
    return size


def _announced_bytes(frame: bytes) -> int:
    """Return the length that a Xing, Info or VBRI header in the first frame announces, or 0."""
    at = max(frame.find(name, 0, 64) for name in (b"Xing", b"Info", b"VBRI"))
    if at < 0:
        return 0
    place = at + 10
    if frame[at : at + 4] != b"VBRI":
        (flags,) = struct.unpack_from("!I", frame, at + 4)
        if not flags & 2:
            return 0
        place = at + (12 if flags & 1 else 8)
    return int(struct.unpack_from("!I", frame, place)[0])


def _tail_is_cut(
    file: BinaryIO, start: int, end: int, frame_bytes: Callable[[bytes], int]
) -> bool | None:
    """Return whether the last frame is cut; None if no frames in a row are found at the end."""
    start = max(start, end - TAIL_BYTES)
    tail = _read(file, start, max(0, end - start))
    filled = len(tail.rstrip(b"\0"))  # a file may be padded, and so may be its last frame
    for first in range(filled):
        ends = list(_frame_ends(tail, first, frame_bytes))
        if len(ends) > 1 and filled - ends[-1] < 4:
            return ends[-1] > len(tail) or ends[-1] < filled
    return None


def _frame_ends(tail: bytes, at: int, frame_bytes: Callable[[bytes], int]) -> Iterator[int]:
    while at < len(tail) and (count := frame_bytes(tail[at : at + 8])):
        at += count
        yield at


_CHECKS: dict[str, Callable[[BinaryIO, int], bool | None]] = {
    "wav": _wav,
    "avi": _avi,
    "mov,mp4,m4a,3gp,3g2,mj2": _mp4,
    "matroska,webm": _matroska,
    "asf": _asf,
    "ogg": _ogg,
    "mp3": _mp3,
    "aac": _adts,
}
"""By FFmpeg's name of the demuxer. FLAC announces samples, not bytes: see ``audio``."""
