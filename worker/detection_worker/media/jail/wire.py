"""What the worker and a decoding child send each other: frames, orders, results.

JSON headers with a length in front, raw bytes of arrays behind; never pickle. ``answers`` checks
what a child sends.
"""

import dataclasses
import json
import struct
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detection_contract.media_types import EXTENSIONS, MediaKind
from detection_worker.core.sampling import AudioSampling, ImageSampling, VideoSampling
from detection_worker.errors import JobError
from detection_worker.media.values import DecodedMedia, DecodeOrder, DecodeRequest
from detection_worker.settings import MediaLimits

LENGTH = struct.Struct("!I")
MAX_HEADER_BYTES = 64 * 1024
MAX_TEXT_CHARS = 300
_SUFFIXES = frozenset().union(*EXTENSIONS.values())


class ProtocolError(Exception):
    """A child sent something that breaks the protocol."""


def frame(header: dict[str, Any]) -> bytes:
    """Return a header with its length in front."""
    body = json.dumps(header, separators=(",", ":"), default=_fields).encode()
    return LENGTH.pack(len(body)) + body


def _fields(record: Any) -> dict[str, Any]:
    """Return a dataclass as a dict, but no deeper: ``asdict`` copies each value twice over."""
    return {field.name: getattr(record, field.name) for field in dataclasses.fields(record)}


def header_length(prefix: bytes) -> int:
    """Return the length that a prefix of ``LENGTH.size`` bytes announces.

    Raises:
        ProtocolError: It is out of bounds.
    """
    (length,) = LENGTH.unpack(prefix)
    if not 2 <= length <= MAX_HEADER_BYTES:
        raise ProtocolError("header length out of bounds")
    return int(length)


def parse_header(body: bytes) -> dict[str, Any]:
    """Return a header as a dict with a text ``type``.

    Raises:
        ProtocolError: It is nothing of the kind.
    """
    try:
        header = json.loads(body)
    except (ValueError, RecursionError) as exc:
        raise ProtocolError("header is not JSON") from exc
    if not isinstance(header, dict) or not isinstance(header.get("type"), str):
        raise ProtocolError("header is no object with a type")
    return header


def text_of(raw: dict[str, Any], key: str, *, most: int = MAX_TEXT_CHARS) -> str:
    """Return a printable text of at most ``most`` characters.

    Raises:
        ProtocolError: It is none.
    """
    value = raw.get(key)
    if not isinstance(value, str) or len(value) > most or not value.isprintable():
        raise ProtocolError(f"{key} is malformed")
    return value


def optional_text(raw: dict[str, Any], key: str, *, most: int = MAX_TEXT_CHARS) -> str | None:
    """Return a text as ``text_of`` does; None if there is none."""
    return None if raw.get(key) is None else text_of(raw, key, most=most)


def order_of(request: DecodeRequest) -> DecodeOrder:
    """Return the order for a request: everything but its path."""
    suffix = request.path.suffix.lower()
    return DecodeOrder(
        suffix=suffix if suffix in _SUFFIXES else "",
        announced=request.announced,
        image=request.image,
        video=request.video,
        audio=request.audio,
        limits=request.limits,
        sound_only=request.sound_only,
        preview=request.preview,
    )


@lru_cache(maxsize=64)
def pack_order(order: DecodeOrder) -> bytes:
    """Return an order as a frame; files of one kind have the same."""
    return frame({"type": "decode", **_fields(order)})


@lru_cache(maxsize=64)
def parse_order(body: bytes) -> DecodeOrder:
    """Return the order that ``pack_order`` packed; its sender, the worker, is trusted.

    Args:
        body: The frame without its length.
    """
    header = parse_header(body)
    announced, image, video, audio = (header[k] for k in ("announced", "image", "video", "audio"))
    return DecodeOrder(
        suffix=header["suffix"],
        announced=MediaKind(announced) if announced else None,
        image=ImageSampling(**image) if image else None,
        video=VideoSampling(**video) if video else None,
        audio=AudioSampling(**audio) if audio else None,
        limits=MediaLimits(**header["limits"]),
        sound_only=header["sound_only"],
        preview=header["preview"],
    )


def pack_done(media: DecodedMedia) -> list[bytes | memoryview]:
    """Return a finished decode as buffers to send one after another."""
    header = {
        "type": "done",
        "info": media.info,
        "units": len(media.units),
        "frames": len(media.at_s),
        "shape": media.units.shape[1:],
        "thumbnails": None if media.thumbnails is None else media.thumbnails.shape[1:3],
    }
    times = media.at_s if media.end_s is None else np.stack([media.at_s, media.end_s], axis=1)
    arrays = [media.units, media.frame, times, media.boxes]
    if media.thumbnails is not None:
        arrays.append(media.thumbnails)
    return [frame(header), *(bytes_of(np.ascontiguousarray(a)) for a in arrays)]


def bytes_of(array: NDArray[Any]) -> memoryview:
    """Return the memory of a contiguous array."""
    return array.reshape(-1).view(np.uint8).data


def pack_failed(error: JobError) -> bytes:
    """Return a coded failure as a frame."""
    return frame({"type": "failed", "code": error.code, "message": error.message[:MAX_TEXT_CHARS]})
