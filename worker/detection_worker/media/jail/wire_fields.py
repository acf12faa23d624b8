"""Checks on single fields of what a decoding child says; each refusal is a ``ProtocolError``."""

import math
import re
from typing import Any

from detection_worker.media.values import MAX_STREAMS, MediaStream

MAX_TEXT_CHARS = 300
MAX_SIDE_PX = 2**31


class ProtocolError(Exception):
    """A child said something that no sound child says."""


def integer(raw: dict[str, Any], key: str, least: int, most: int) -> int:
    """Return a whole number in bounds; a truth value is none."""
    value = raw.get(key)
    if type(value) is not int or not least <= value <= most:
        raise ProtocolError(f"{key} is out of bounds")
    return value


def seconds(raw: dict[str, Any], key: str) -> float:
    """Return a finite time, >= 0."""
    value = raw.get(key)
    if type(value) not in {int, float} or not math.isfinite(value) or value < 0:  # type: ignore[arg-type,operator]
        raise ProtocolError(f"{key} is out of bounds")
    return float(value)  # type: ignore[arg-type]


def match(raw: dict[str, Any], key: str, pattern: re.Pattern[str]) -> str:
    """Return a text that is of a pattern from end to end."""
    value = raw.get(key)
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise ProtocolError(f"{key} is malformed")
    return value


def text(raw: dict[str, Any], key: str) -> str:
    """Return a printable text of at most ``MAX_TEXT_CHARS``."""
    value = raw.get(key)
    if not isinstance(value, str) or len(value) > MAX_TEXT_CHARS or not value.isprintable():
        raise ProtocolError(f"{key} is malformed")
    return value


def streams(raw: dict[str, Any]) -> tuple[MediaStream, ...]:
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
        codec=_optional(raw, "codec"),
        language=_optional(raw, "language"),
        title=_optional(raw, "title"),
        default=raw.get("default") is True,
        analysed=raw.get("analysed") is True,
        width=None if kind == "audio" else _side(raw, "width"),
        height=None if kind == "audio" else _side(raw, "height"),
    )


def _optional(raw: dict[str, Any], key: str) -> str | None:
    return None if raw.get(key) is None else text(raw, key)


def _side(raw: dict[str, Any], key: str) -> int | None:
    return None if raw.get(key) is None else integer(raw, key, 0, MAX_SIDE_PX)
