"""What the worker and a decoding child say to each other, and the checks on what a child says.

JSON headers with a length in front, raw bytes of arrays behind; never pickle. A child may have
been taken over by a file, so nothing it says is used before it is checked: shapes are derived from
what was ordered, and the child only names how many units there are.
"""

import dataclasses
import json
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detection_contract.error_codes import ErrorCode
from detection_contract.media_types import EXTENSIONS, MediaKind
from detection_worker.core.channels import MOST_APART
from detection_worker.core.sampling import (
    FRAME_PX,
    FRAMES_PIXELS,
    AudioSampling,
    ImageSampling,
    Sampling,
    VideoSampling,
    frames_per_unit,
    pictures,
    unit_shape,
    units_per_picture,
)
from detection_worker.errors import JobError
from detection_worker.media.decode_order import DecodeOrder
from detection_worker.media.jail import wire_fields as fields
from detection_worker.media.jail.wire_fields import MAX_TEXT_CHARS, ProtocolError
from detection_worker.media.values import DecodedMedia, DecodeRequest, MediaInfo
from detection_worker.settings import MediaLimits

LENGTH = struct.Struct("!I")
MAX_HEADER_BYTES = 64 * 1024
MAX_WARNINGS = 16
CODES = frozenset(
    {
        ErrorCode.UNSUPPORTED_TYPE,
        ErrorCode.EMPTY_FILE,
        ErrorCode.TOO_LARGE,
        ErrorCode.TOO_LONG,
        ErrorCode.TOO_MANY_PIXELS,
        ErrorCode.UNDECODABLE,
        ErrorCode.NO_FRAMES,
        ErrorCode.NO_MODEL,
        ErrorCode.DECODE_MEMORY,
        ErrorCode.DECODE_CRASHED,
    }
)
"""All that a child may report."""

Receive = Callable[[memoryview], None]
"""Fills a buffer with the next bytes from the child."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Announced:
    """A checked header of a finished decode; its arrays follow on the wire.

    Attributes:
        info: Facts about the file.
        units: How many.
        frames: Distinct frames, clips or windows.
        shape: Of each unit.
    """

    info: MediaInfo
    units: int
    frames: int
    shape: tuple[int, ...]


def frame(header: dict[str, Any]) -> bytes:
    """Return a header with its length in front."""
    body = json.dumps(header, separators=(",", ":")).encode()
    return LENGTH.pack(len(body)) + body


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


def order_of(request: DecodeRequest) -> DecodeOrder:
    """Return what a child needs to know of a request."""
    suffix = Path(request.path).suffix.lower()
    known = any(suffix in extensions for extensions in EXTENSIONS.values())
    return DecodeOrder(
        suffix=suffix if known else "",
        announced=request.announced,
        image=request.image,
        video=request.video,
        audio=request.audio,
        limits=request.limits,
        sound_only=request.sound_only,
    )


def pack_order(order: DecodeOrder) -> bytes:
    """Return an order as a frame."""
    return frame({"type": "decode", **dataclasses.asdict(order)})


def parse_order(header: dict[str, Any]) -> DecodeOrder:
    """Return the order that ``pack_order`` packed; its sender, the worker, is trusted."""
    announced, image, video, audio = (header[k] for k in ("announced", "image", "video", "audio"))
    return DecodeOrder(
        suffix=header["suffix"],
        announced=MediaKind(announced) if announced else None,
        image=ImageSampling(**image) if image else None,
        video=VideoSampling(**video) if video else None,
        audio=AudioSampling(**audio) if audio else None,
        limits=MediaLimits(**header["limits"]),
        sound_only=header["sound_only"],
    )


def pack_done(media: DecodedMedia) -> list[bytes | memoryview]:
    """Return a finished decode as buffers to send one after another."""
    header = {
        "type": "done",
        "info": dataclasses.asdict(media.info),
        "units": len(media.units),
        "frames": len(media.at_s),
        "shape": media.units.shape[1:],
    }
    times = media.at_s if media.end_s is None else np.stack([media.at_s, media.end_s], axis=1)
    arrays = (media.units, media.frame, times, media.boxes)
    return [frame(header), *(_bytes_of(np.ascontiguousarray(a)) for a in arrays)]


def _bytes_of(array: NDArray[Any]) -> memoryview:
    return array.reshape(-1).view(np.uint8).data


def pack_failed(error: JobError) -> bytes:
    """Return a coded failure as a frame."""
    return frame({"type": "failed", "code": error.code, "message": error.message[:MAX_TEXT_CHARS]})


def parse_failed(header: dict[str, Any]) -> JobError:
    """Return the failure that a child reports.

    Raises:
        ProtocolError: The code is not one that a child may report, or the text is not printable.
    """
    code = header.get("code")
    if code not in CODES:
        raise ProtocolError("unknown error code")
    return JobError(ErrorCode(code), fields.text(header, "message"))


def parse_done(header: dict[str, Any], order: DecodeOrder) -> Announced:
    """Return the checked header of a finished decode.

    Raises:
        ProtocolError: It contradicts the order or itself.
    """
    raw = header.get("info")
    if not isinstance(raw, dict):
        raise ProtocolError("info is missing")
    info = _info(raw, order.limits)
    units_max, frames_max = _most(info.kind, order)
    units = fields.integer(header, "units", 1, units_max)
    frames = fields.integer(header, "frames", 1, min(frames_max, units))
    together = frames_per_unit(_sampling(info.kind, order))
    if not frames <= info.frames_analysed <= frames * together:
        raise ProtocolError("frames contradict info")
    shape = _shape(header, units, info.kind, order)
    return Announced(info=info, units=units, frames=frames, shape=shape)


def receive_arrays(announced: Announced, receive: Receive) -> DecodedMedia:
    """Return the media whose arrays come next on the wire.

    Args:
        announced: From ``parse_done``.
        receive: Fills buffers.

    Raises:
        ProtocolError: The values contradict the header.
    """
    sound = announced.info.kind is MediaKind.AUDIO
    n, clips = announced.units, len(announced.shape) == 4
    units = np.empty((n, *announced.shape), np.float32 if sound else np.uint8)
    frame_of = np.empty(n, np.int32)
    times = np.empty((announced.frames, 2 if clips else 1), np.float64)
    boxes = np.empty((0 if sound else n, 4), np.int32)
    for array in (units, frame_of, times, boxes):
        if array.size:
            receive(_bytes_of(array))
    _check_values(announced, units=units, frame_of=frame_of, times=times, boxes=boxes)
    return DecodedMedia(
        info=announced.info,
        units=units,
        frame=frame_of,
        at_s=times[:, 0],
        boxes=boxes,
        end_s=times[:, 1] if clips else None,
    )


def _most(kind: MediaKind, order: DecodeOrder) -> tuple[int, int]:
    sampling = _sampling(kind, order)
    if isinstance(sampling, AudioSampling):
        return sampling.max_windows * (1 + MOST_APART), sampling.max_windows
    frames = pictures(sampling)
    return frames * units_per_picture(sampling), frames


def _sampling(kind: MediaKind, order: DecodeOrder) -> Sampling:
    sampling: Sampling | None = {
        MediaKind.IMAGE: order.image,
        MediaKind.VIDEO: order.video,
        MediaKind.AUDIO: order.audio,
    }[kind]
    if sampling is None:
        raise ProtocolError("kind was not asked for")
    return sampling


def _shape(
    header: dict[str, Any], units: int, kind: MediaKind, order: DecodeOrder
) -> tuple[int, ...]:
    """Return the shape of a unit: as ordered, or what a child says of whole frames, in bounds."""
    sampling = _sampling(kind, order)
    if isinstance(sampling, AudioSampling) or sampling.view != "faces":
        return unit_shape(sampling)
    raw = header.get("shape")
    if not isinstance(raw, list) or len(raw) != 3:
        raise ProtocolError("shape is malformed")
    named = dict(zip(("height", "width", "channels"), raw, strict=True))
    height, width = (
        fields.integer(named, "height", 1, FRAME_PX),
        fields.integer(named, "width", 1, FRAME_PX),
    )
    if height * width * units > FRAMES_PIXELS:
        raise ProtocolError("frames are too large")
    return (height, width, fields.integer(named, "channels", 3, 3))


def _check_values(
    announced: Announced,
    *,
    units: NDArray[Any],
    frame_of: NDArray[np.int32],
    times: NDArray[np.float64],
    boxes: NDArray[np.int32],
) -> None:
    steps = np.diff(frame_of)
    if frame_of[0] != 0 or frame_of[-1] != announced.frames - 1:
        raise ProtocolError("frame numbers do not fit")
    if ((steps < 0) | (steps > 1)).any():
        raise ProtocolError("frame numbers skip")
    at_s = times[:, 0]
    if not np.isfinite(times).all() or at_s[0] < 0 or (np.diff(at_s) < 0).any():
        raise ProtocolError("times do not ascend")
    if (times[:, -1] < at_s).any():
        raise ProtocolError("times do not ascend")
    if len(boxes):
        info = announced.info
        left, top, right, bottom = boxes.T
        inside = (left >= 0) & (top >= 0) & (right <= info.width) & (bottom <= info.height)
        if not (inside & (left < right) & (top < bottom)).all():
            raise ProtocolError("boxes lie outside the picture")
    elif not (np.abs(units) <= 1.0).all():  # false for NaN too
        raise ProtocolError("samples out of range")


_NAME = re.compile(r"[A-Za-z0-9_.-]{1,32}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def _info(raw: dict[str, Any], limits: MediaLimits) -> MediaInfo:
    try:
        kind = MediaKind(str(raw.get("kind")))
    except ValueError as exc:
        raise ProtocolError("unknown kind") from exc
    pictures, image = kind is not MediaKind.AUDIO, kind is MediaKind.IMAGE
    width = fields.integer(raw, "width", 1, limits.max_pixels) if pictures else None
    height = fields.integer(raw, "height", 1, limits.max_pixels) if pictures else None
    return MediaInfo(
        kind=kind,
        container=fields.match(raw, "container", _NAME),
        codec=None if image else fields.match(raw, "codec", _NAME),
        size_bytes=fields.integer(raw, "size_bytes", 1, limits.max_bytes),
        sha256=fields.match(raw, "sha256", _SHA256),
        width=width,
        height=height,
        duration_s=None if image else fields.seconds(raw, "duration_s"),
        frames_analysed=fields.integer(raw, "frames_analysed", 1, limits.max_frames_decoded),
        sample_rate_hz=None if pictures else fields.integer(raw, "sample_rate_hz", 1, 2**31),
        truncated=raw.get("truncated") is True,
        warnings=_warnings(raw),
        sound_track=kind is MediaKind.VIDEO and raw.get("sound_track") is True,
        damaged=raw.get("damaged") is True,
        visible_px=_visible_px(raw, width, height) if image else None,
        streams=() if image else fields.streams(raw),
    )


def _visible_px(
    raw: dict[str, Any], width: int | None, height: int | None
) -> tuple[int, int] | None:
    pair = raw.get("visible_px")
    if pair is None or width is None or height is None:
        return None
    if not isinstance(pair, list) or len(pair) != 2:
        raise ProtocolError("visible_px is malformed")
    named = dict(zip(("width", "height"), pair, strict=True))
    return fields.integer(named, "width", 1, width), fields.integer(named, "height", 1, height)


def _warnings(raw: dict[str, Any]) -> tuple[str, ...]:
    values = raw.get("warnings")
    if not isinstance(values, list) or len(values) > MAX_WARNINGS:
        raise ProtocolError("warnings are malformed")
    return tuple(fields.text({"warning": v}, "warning") for v in values)
