"""Recognise the container of a file by its first bytes. Pure except for reading them.

Only containers of the contract get a decoder; everything else is refused here by name, so that no
playlist, document or exotic demuxer is ever handed to a parser.
"""

from dataclasses import dataclass
from typing import BinaryIO

from detection_contract.error_codes import ErrorCode
from detection_contract.media_types import MediaKind
from detection_worker.errors import JobError

HEAD_BYTES = 64 * 1024
ZEROS_BYTES = 4096
"""Some encoders pad the start of an MP3 with zeros; more than this is no MP3."""

MOV = "mov,mp4,m4a,3gp,3g2,mj2"
MATROSKA = "matroska,webm"


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """A recognised container.

    Attributes:
        container: Its short name, as ``"mp4"``.
        kind: None where only the streams inside tell (sound or pictures).
        demuxer: FFmpeg's name of the one demuxer to use; None for still images.
    """

    container: str
    kind: MediaKind | None
    demuxer: str | None


def _image(name: str) -> Content:
    return Content(container=name, kind=MediaKind.IMAGE, demuxer=None)


def _sound(name: str, demuxer: str) -> Content:
    return Content(container=name, kind=MediaKind.AUDIO, demuxer=demuxer)


def _either(name: str, demuxer: str) -> Content:
    return Content(container=name, kind=None, demuxer=demuxer)


MP3 = _sound("mp3", "mp3")
AAC = _sound("aac", "aac")
FLAC = _sound("flac", "flac")

_PREFIXES: tuple[tuple[bytes, Content], ...] = (
    (b"\xff\xd8\xff", _image("jpeg")),
    (b"\x89PNG\r\n\x1a\n", _image("png")),
    (b"II*\0", _image("tiff")),
    (b"MM\0*", _image("tiff")),
    (b"II+\0", _image("tiff")),
    (b"MM\0+", _image("tiff")),
    (b"fLaC", FLAC),
    (b"OggS", _either("ogg", "ogg")),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", _either("asf", "asf")),
)
_RIFF_FORMS = {
    b"AVI ": _either("avi", "avi"),
    b"WAVE": _sound("wav", "wav"),
    b"WEBP": _image("webp"),
}
_UNSUPPORTED: tuple[tuple[bytes, str], ...] = (
    (b"GIF8", "a GIF image"),
    (b"#extm3u", "an HLS playlist"),
    (b"ffconcat", "an FFmpeg playlist"),
    (b"%PDF", "a PDF document"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x1f\x8b", "gzip data"),
    (b"\x28\xb5\x2f\xfd", "Zstandard data"),
    (b"BZh", "bzip2 data"),
    (b"\xfd7zXZ", "xz data"),
    (b"Rar!", "a RAR archive"),
    (b"7z\xbc\xaf", "a 7z archive"),
    (b"\x7fELF", "a program"),
    (b"MZ", "a program"),
    (b"FLV", "Flash video"),
    (b"\x00\x00\x01\xba", "an MPEG program stream"),
    (b"8BPS", "a Photoshop document"),
    (b"<svg", "an SVG drawing"),
    (b"<?xml", "an XML document"),
    (b"<!doctype", "an HTML page"),
    (b"<html", "an HTML page"),
    (b"{", "JSON text"),
)
_STILL_BRANDS = {b"avif", b"avis", b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"}
_BOXES = {b"moov", b"mdat", b"free", b"wide", b"skip", b"pnot"}
_BMP_HEADER_BYTES = {12, 40, 52, 56, 64, 108, 124}


def sniff(file: BinaryIO) -> Content:
    """Return what ``file`` holds; the read position is left anywhere.

    Args:
        file: A seekable file.

    Raises:
        JobError: UNSUPPORTED_TYPE, naming what was found where it is a well-known format.
    """
    file.seek(0)
    head = file.read(HEAD_BYTES)
    if head.startswith(b"ID3"):
        return _behind_id3(file, head)
    content = _by_prefix(head) or _riff(head) or _iso(head) or _ebml(head) or _bmp(head)
    content = content or _mpeg_audio(head)
    if content is None:
        raise JobError(
            ErrorCode.UNSUPPORTED_TYPE, f"the content is {_name(head)}, which is not supported"
        )
    return content


def _by_prefix(head: bytes) -> Content | None:
    return next((c for prefix, c in _PREFIXES if head.startswith(prefix)), None)


def _riff(head: bytes) -> Content | None:
    return _RIFF_FORMS.get(head[8:12]) if head[:4] in {b"RIFF", b"RF64"} else None


def _iso(head: bytes) -> Content | None:
    box = head[4:8]
    if box in _BOXES:  # QuickTime files of before 2001 have no ftyp
        return _either("mov", MOV)
    brand = head[8:12]
    if box != b"ftyp" or brand.lower() in _STILL_BRANDS:
        return None
    if brand == b"qt  ":
        return _either("mov", MOV)
    return _either("m4a" if brand in {b"M4A ", b"M4B "} else "mp4", MOV)


def _ebml(head: bytes) -> Content | None:
    if not head.startswith(b"\x1a\x45\xdf\xa3"):
        return None
    return _either("webm" if b"webm" in head[:64] else "mkv", MATROSKA)


def _bmp(head: bytes) -> Content | None:
    header_bytes = int.from_bytes(head[14:18], "little")
    return _image("bmp") if head[:2] == b"BM" and header_bytes in _BMP_HEADER_BYTES else None


def _behind_id3(file: BinaryIO, head: bytes) -> Content:
    # The size is four 7-bit bytes (ID3v2.4 section 3.1).
    size = sum((b & 0x7F) << shift for b, shift in zip(head[6:10], (21, 14, 7, 0), strict=False))
    file.seek(10 + size)
    after = file.read(HEAD_BYTES)
    if after.startswith(b"fLaC"):
        return FLAC
    return _mpeg_audio(after) or MP3


def _mpeg_audio(head: bytes) -> Content | None:
    sound = head.lstrip(b"\0") if head[:ZEROS_BYTES].strip(b"\0") else head
    for content, frame_bytes in ((AAC, adts_frame_bytes), (MP3, mp3_frame_bytes)):
        first = frame_bytes(sound)
        # One header is four bytes, too little to tell sound from chance: ask for the next one too.
        if first and (first >= len(sound) or frame_bytes(sound[first:]) or first + 4 > len(sound)):
            return content
    return None


def adts_frame_bytes(data: bytes) -> int:
    """Length of the ADTS frame that ``data`` starts with (ISO 13818-7 section 6.2), or 0."""
    if len(data) < 7 or data[0] != 0xFF or data[1] & 0xF6 != 0xF0:
        return 0
    length = (data[3] & 3) << 11 | data[4] << 3 | data[5] >> 5
    return length if length >= 7 else 0


_KBITS_V1 = {
    3: (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    2: (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    1: (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
}
_KBITS_V2 = {
    3: (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    2: (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    1: (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES_HZ = (44_100, 48_000, 32_000)


def mp3_frame_bytes(data: bytes) -> int:
    """Length of the MPEG audio frame that ``data`` starts with (ISO 11172-3 2.4.1.3), or 0."""
    # FF FE would be Layer I with a checksum, which does not occur, and starts UTF-16 text.
    if len(data) < 4 or data[0] != 0xFF or data[1] & 0xE0 != 0xE0 or data[1] == 0xFE:
        return 0
    version, layer = data[1] >> 3 & 3, data[1] >> 1 & 3  # version 3 is MPEG-1, layer 1 is III
    bitrate, rate, padding = data[2] >> 4, data[2] >> 2 & 3, data[2] >> 1 & 1
    if version == 1 or layer == 0 or bitrate in {0, 15} or rate == 3:
        return 0
    bits_s = (_KBITS_V1 if version == 3 else _KBITS_V2)[layer][bitrate - 1] * 1000
    rate_hz = _RATES_HZ[rate] >> {3: 0, 2: 1, 0: 2}[version]
    if layer == 3:
        return (12 * bits_s // rate_hz + padding) * 4
    samples = 72 if layer == 1 and version != 3 else 144
    return samples * bits_s // rate_hz + padding


def _name(head: bytes) -> str:
    if head[4:8] == b"ftyp":
        return "an AVIF or HEIC image"
    text = head[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    for prefix, name in _UNSUPPORTED:
        if text.startswith(prefix.lower()):
            return name
    return "of an unknown type"
