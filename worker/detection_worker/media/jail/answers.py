"""Checks on what a decoding child answers.

A child may have been taken over by a file, so nothing it sends is used before it is checked:
shapes are derived from the order, and the child only names how many units there are.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detection_contract.error_codes import ErrorCode
from detection_contract.media_types import MediaKind
from detection_worker.core.sampling import (
    FRAME_PX,
    FRAMES_PIXELS,
    AudioSampling,
    Sampling,
    frames_per_unit,
    most_units,
    pictures,
    unit_shape,
)
from detection_worker.errors import JobError
from detection_worker.media.jail.provenance import parse_provenance
from detection_worker.media.jail.wire import ProtocolError, bytes_of, optional_text, text_of
from detection_worker.media.previews import PREVIEW_PIXELS, PREVIEW_PX
from detection_worker.media.values import (
    MAX_STREAMS,
    DecodedMedia,
    DecodeOrder,
    Empty,
    MediaInfo,
    MediaStream,
)
from detection_worker.settings import MediaLimits

MAX_SIDE_PX = 2**31
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
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,32}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Announced:
    """A checked header of a finished decode; its arrays follow on the wire.

    Attributes:
        info: Facts about the file.
        units: Number of units.
        frames: Number of distinct frames, clips or windows.
        shape: Shape of each unit.
        thumbnails_px: Height and width of the small pictures, one for each frame; None if there
            are none.
    """

    info: MediaInfo
    units: int
    frames: int
    shape: tuple[int, ...]
    thumbnails_px: tuple[int, int] | None = None


def parse_failed(header: dict[str, Any]) -> JobError:
    """Return the failure that a child reports.

    Raises:
        ProtocolError: The code is not one that a child may report, or the text is not printable.
    """
    code = header.get("code")
    if code not in CODES:
        raise ProtocolError("unknown error code")
    return JobError(ErrorCode(code), text_of(header, "message"))


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
    units = _integer(header, "units", 1, units_max)
    frames = _integer(header, "frames", 1, min(frames_max, units))
    together = frames_per_unit(_sampling(info.kind, order))
    if not frames <= info.frames_analysed <= frames * together:
        raise ProtocolError("frames contradict info")
    shape = _shape(header, units, info.kind, order)
    thumbnails_px = _thumbnails_px(header, frames, info.kind, order)
    return Announced(
        info=info, units=units, frames=frames, shape=shape, thumbnails_px=thumbnails_px
    )


def receive_arrays(
    announced: Announced, receive: Receive, *, empty: Empty = np.empty
) -> DecodedMedia:
    """Return the media whose arrays come next on the wire.

    Args:
        announced: From ``parse_done``.
        receive: Fills buffers.
        empty: Makes the array of units.

    Raises:
        ProtocolError: The values contradict the header.
    """
    sound = announced.info.kind is MediaKind.AUDIO
    n, clips = announced.units, len(announced.shape) == 4
    units = empty((n, *announced.shape), np.float32 if sound else np.uint8)
    frame_of = np.empty(n, np.int32)
    times = np.empty((announced.frames, 2 if clips else 1), np.float64)
    boxes = np.empty((0 if sound else n, 4), np.int32)
    for array in (units, frame_of, times, boxes):
        if array.size:
            receive(bytes_of(array))
    thumbnails = None
    if announced.thumbnails_px is not None:
        thumbnails = np.empty((announced.frames, *announced.thumbnails_px, 3), np.uint8)
        receive(bytes_of(thumbnails))
    _check_values(announced, units=units, frame_of=frame_of, times=times, boxes=boxes)
    return DecodedMedia(
        info=announced.info,
        units=units,
        frame=frame_of,
        at_s=times[:, 0],
        boxes=boxes,
        end_s=times[:, 1] if clips else None,
        thumbnails=thumbnails,
    )


def _most(kind: MediaKind, order: DecodeOrder) -> tuple[int, int]:
    sampling = _sampling(kind, order)
    if isinstance(sampling, AudioSampling):
        return most_units(sampling), sampling.max_windows
    return most_units(sampling), pictures(sampling)


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
        _integer(named, "height", 1, FRAME_PX),
        _integer(named, "width", 1, FRAME_PX),
    )
    if height * width * units > FRAMES_PIXELS:
        raise ProtocolError("frames are too large")
    return (height, width, _integer(named, "channels", 3, 3))


def _thumbnails_px(
    header: dict[str, Any], frames: int, kind: MediaKind, order: DecodeOrder
) -> tuple[int, int] | None:
    """Return height and width of the small pictures, in bounds; None if there are none."""
    raw = header.get("thumbnails")
    if raw is None:
        return None
    if not order.preview or kind is MediaKind.AUDIO or not isinstance(raw, list) or len(raw) != 2:
        raise ProtocolError("thumbnails are malformed")
    named = dict(zip(("height", "width"), raw, strict=True))
    height, width = (_integer(named, side, 1, PREVIEW_PX) for side in named)
    if height * width * frames > PREVIEW_PIXELS:
        raise ProtocolError("thumbnails are too large")
    return height, width


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


def _info(raw: dict[str, Any], limits: MediaLimits) -> MediaInfo:
    try:
        kind = MediaKind(str(raw.get("kind")))
    except ValueError as exc:
        raise ProtocolError("unknown kind") from exc
    pictures, image = kind is not MediaKind.AUDIO, kind is MediaKind.IMAGE
    width = _integer(raw, "width", 1, limits.max_pixels) if pictures else None
    height = _integer(raw, "height", 1, limits.max_pixels) if pictures else None
    return MediaInfo(
        kind=kind,
        container=_match(raw, "container", _NAME),
        codec=None if image else _match(raw, "codec", _NAME),
        size_bytes=_integer(raw, "size_bytes", 1, limits.max_bytes),
        sha256=_match(raw, "sha256", _SHA256),
        width=width,
        height=height,
        duration_s=None if image else _seconds(raw, "duration_s"),
        frames_analysed=_integer(raw, "frames_analysed", 1, limits.max_frames_decoded),
        sample_rate_hz=None if pictures else _integer(raw, "sample_rate_hz", 1, 2**31),
        truncated=raw.get("truncated") is True,
        warnings=_warnings(raw),
        sound_track=kind is MediaKind.VIDEO and raw.get("sound_track") is True,
        damaged=raw.get("damaged") is True,
        visible_px=_visible_px(raw, width, height) if image else None,
        streams=() if image else _streams(raw),
        provenance=parse_provenance(raw.get("provenance")),
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
    return _integer(named, "width", 1, width), _integer(named, "height", 1, height)


def _warnings(raw: dict[str, Any]) -> tuple[str, ...]:
    values = raw.get("warnings")
    if not isinstance(values, list) or len(values) > MAX_WARNINGS:
        raise ProtocolError("warnings are malformed")
    return tuple(text_of({"warning": v}, "warning") for v in values)


def _integer(raw: dict[str, Any], key: str, least: int, most: int) -> int:
    """Return a whole number in bounds; a truth value is none."""
    value = raw.get(key)
    if type(value) is not int or not least <= value <= most:
        raise ProtocolError(f"{key} is out of bounds")
    return value


def _seconds(raw: dict[str, Any], key: str) -> float:
    """Return a finite time, >= 0."""
    value = raw.get(key)
    if type(value) not in {int, float} or not math.isfinite(value) or value < 0:  # type: ignore[arg-type,operator]
        raise ProtocolError(f"{key} is out of bounds")
    return float(value)  # type: ignore[arg-type]


def _match(raw: dict[str, Any], key: str, pattern: re.Pattern[str]) -> str:
    """Return a text that is of a pattern from end to end."""
    value = raw.get(key)
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise ProtocolError(f"{key} is malformed")
    return value


def _streams(raw: dict[str, Any]) -> tuple[MediaStream, ...]:
    """Return what is said of the streams of a container, at most ``MAX_STREAMS``."""
    values = raw.get("streams", [])
    if not isinstance(values, list) or len(values) > MAX_STREAMS:
        raise ProtocolError("streams are malformed")
    return tuple(_stream(value) for value in values)


def _stream(raw: Any) -> MediaStream:
    kind = raw.get("type") if isinstance(raw, dict) else None
    if kind not in {"video", "audio", "cover"}:
        raise ProtocolError("streams are malformed")
    return MediaStream(
        type=kind,
        codec=optional_text(raw, "codec"),
        language=optional_text(raw, "language"),
        title=optional_text(raw, "title"),
        default=raw.get("default") is True,
        analysed=raw.get("analysed") is True,
        width=None if kind == "audio" else _side(raw, "width"),
        height=None if kind == "audio" else _side(raw, "height"),
    )


def _side(raw: dict[str, Any], key: str) -> int | None:
    return None if raw.get(key) is None else _integer(raw, key, 0, MAX_SIDE_PX)
