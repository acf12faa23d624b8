"""What feeders and the process that owns the device say to each other, one packet at a time.

Packets of a ``SOCK_SEQPACKET`` socket: a header, numbers, raw arrays; nothing is pickled. Units
lie in shared memory, so packets are small. All that a feeder sends is checked here or in
``server``.
"""

import json
import math
import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from detection_contract.error_codes import ErrorCode
from detection_contract.media_types import MediaKind
from detection_worker.core.faces import SeenFace
from detection_worker.core.messages.outcome import Failure

MAX_PACKET_BYTES: Final = 64 * 1024
"""Fits the send buffer of a socket as Linux makes it; longer answers are sent in parts."""
MAX_ID_BYTES: Final = 1024
MAX_TRACKS: Final = 2
"""Pictures and sound."""
MAX_DIMENSIONS: Final = 5
"""Units have at most so many: clips do."""

_HEADER: Final = struct.Struct("=BBQ")
_REQUEST: Final = struct.Struct("=BHB")
_TRACK: Final = struct.Struct("=BBBQIII")
_SCORED: Final = struct.Struct("=dB")
_SCORES: Final = struct.Struct("=IB")
_KINDS: Final = tuple(MediaKind)
_FACE_NUMBERS: Final = 5
"""Left, top, width, height, track."""

S = TypeVar("S", bound=np.generic)


class BadPacket(Exception):  # noqa: N818 - reads as what it says
    """The other side sent what it may not; the text says what."""


class Says(IntEnum):
    """What a packet is about."""

    WELCOME = 1
    SCORE = 2
    CANCEL = 3
    PROGRESS = 4
    SCORED = 5
    FAILED = 6
    DROPPED = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Packet:
    """A packet without its meaning.

    Attributes:
        says: What it is about.
        more: Another part of an answer follows; with units: others are being decoded.
        ticket: The feeder's number for a file; 0 if it is about none.
        body: What follows the header.
    """

    says: Says
    more: bool
    ticket: int
    body: memoryview


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class UnitsAt:
    """One track whose units lie in shared memory.

    Attributes:
        kind: Media kind.
        own: The units have a block of their own, whose descriptor comes with the packet.
        offset: Bytes from the start of the block.
        shape: That of the units.
        size_px: Width and height of the pictures; zeros for sound.
        boxes: What each frame shows of the picture, int32 ``(n, 4)``, if units have yet to be
            found in them; else empty.
    """

    kind: MediaKind
    own: bool
    offset: int
    shape: tuple[int, ...]
    size_px: tuple[int, int]
    boxes: NDArray[np.int32]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Request:
    """A file to score.

    Attributes:
        request_id: Names it in logs.
        tracks: One, or two for a video with its sound.
        traceparent: The W3C context of the span of its scoring; None without tracing.
    """

    request_id: str
    tracks: tuple[UnitsAt, ...]
    traceparent: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FoundUnits:
    """Units that were found in a track's frames; as in ``DecodedMedia``."""

    frame: NDArray[np.int32]
    boxes: NDArray[np.int32]
    faces: tuple[SeenFace, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrackScores:
    """The scores of one track.

    Attributes:
        logits: One for each unit, float32.
        found: The units, if they had yet to be found.
    """

    logits: NDArray[np.float32]
    found: FoundUnits | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FileScores:
    """The scores of a file: its tracks in the order of the request, and the device's seconds."""

    tracks: tuple[TrackScores, ...]
    seconds: float


def pack(says: Says, *, ticket: int = 0, more: bool = False, body: bytes = b"") -> bytes:
    """Return one packet."""
    return _HEADER.pack(says, more, ticket) + body


def in_parts(says: Says, *, ticket: int, body: bytes) -> list[bytes]:
    """Return an answer as packets that fit."""
    step = MAX_PACKET_BYTES - _HEADER.size
    return [
        pack(says, ticket=ticket, more=at + step < len(body), body=body[at : at + step])
        for at in range(0, max(len(body), 1), step)
    ]


def parse(data: memoryview) -> Packet:
    """Return a packet's header and body.

    Raises:
        BadPacket: It is nothing of the kind.
    """
    try:
        says, more, ticket = _HEADER.unpack_from(data)
        return Packet(says=Says(says), more=bool(more), ticket=ticket, body=data[_HEADER.size :])
    except (struct.error, ValueError) as exc:
        raise BadPacket("no packet") from exc


def request_body(request: Request) -> bytes:
    """Return the body of ``SCORE``."""
    name = request.request_id.encode(errors="replace")[:MAX_ID_BYTES]
    trace = (request.traceparent or "").encode()
    tracks = [part for track in request.tracks for part in _track_parts(track)]
    head = _REQUEST.pack(len(request.tracks), len(name), len(trace))
    return b"".join([head, name, trace, *tracks])


def _track_parts(track: UnitsAt) -> list[bytes]:
    width, height = track.size_px
    kind, dimensions = _KINDS.index(track.kind), len(track.shape)
    return [
        _TRACK.pack(kind, track.own, dimensions, track.offset, width, height, len(track.boxes)),
        np.array(track.shape, np.uint32).tobytes(),
        track.boxes.tobytes(),
    ]


def parse_request(body: memoryview) -> Request:
    """Return what ``request_body`` made; its numbers are not checked against anything yet.

    Raises:
        BadPacket: It is nothing of the kind.
    """
    reader = _Reader(body)
    tracks, name, trace = reader.numbers(_REQUEST)
    if not 1 <= tracks <= MAX_TRACKS or name > MAX_ID_BYTES:
        raise BadPacket("too many tracks, or too long a name")
    request_id = reader.raw(name).decode(errors="replace")
    traceparent = reader.raw(trace).decode(errors="replace") or None
    found = tuple(_track(reader) for _ in range(tracks))
    reader.end()
    return Request(request_id=request_id, tracks=found, traceparent=traceparent)


def _track(reader: "_Reader") -> UnitsAt:
    kind, own, dimensions, offset, width, height, boxes = reader.numbers(_TRACK)
    if kind >= len(_KINDS) or not 1 <= dimensions <= MAX_DIMENSIONS:
        raise BadPacket("units of no known kind or shape")
    shape = tuple(reader.array(np.uint32, dimensions).tolist())
    return UnitsAt(
        kind=_KINDS[kind],
        own=bool(own),
        offset=offset,
        shape=shape,
        size_px=(width, height),
        boxes=reader.array(np.int32, boxes, 4),
    )


def scores_body(scores: FileScores) -> bytes:
    """Return the body of ``SCORED``."""
    parts = [_SCORED.pack(scores.seconds, len(scores.tracks))]
    for track in scores.tracks:
        parts += [_SCORES.pack(len(track.logits), track.found is not None), track.logits.tobytes()]
        if track.found is not None:
            parts += _found_parts(track.found)
    return b"".join(parts)


def _found_parts(found: FoundUnits) -> list[bytes]:
    numbers = [(f.left, f.top, f.width, f.height, f.track) for f in found.faces]
    return [
        found.frame.tobytes(),
        found.boxes.tobytes(),
        np.array(numbers, np.int32).tobytes(),
        np.array([f.confidence for f in found.faces], np.float64).tobytes(),
    ]


def parse_scores(body: bytes) -> FileScores:
    """Return what ``scores_body`` made.

    Raises:
        BadPacket: It is nothing of the kind.
    """
    reader = _Reader(body)
    seconds, tracks = reader.numbers(_SCORED)
    found = tuple(_track_scores(reader) for _ in range(tracks))
    reader.end()
    return FileScores(tracks=found, seconds=seconds)


def _track_scores(reader: "_Reader") -> TrackScores:
    units, were_found = reader.numbers(_SCORES)
    logits = reader.array(np.float32, units)
    return TrackScores(logits=logits, found=_found(reader, units) if were_found else None)


def _found(reader: "_Reader", units: int) -> FoundUnits:
    frame, boxes = reader.array(np.int32, units), reader.array(np.int32, units, 4)
    numbers = reader.array(np.int32, units, _FACE_NUMBERS).tolist()
    confidences = reader.array(np.float64, units).tolist()
    faces = tuple(
        SeenFace(left=left, top=top, width=width, height=height, confidence=sure, track=track)
        for (left, top, width, height, track), sure in zip(numbers, confidences, strict=True)
    )
    return FoundUnits(frame=frame, boxes=boxes, faces=faces)


def failure_body(failure: Failure, *, seconds: float) -> bytes:
    """Return the body of ``FAILED``."""
    text = {
        "code": failure.code.value,
        "message": failure.message,
        "environment": failure.environment,
        "seconds": seconds,
    }
    return json.dumps(text).encode()


def parse_failure(body: bytes) -> tuple[Failure, float]:
    """Return why a file failed, and the device's seconds until then.

    Raises:
        BadPacket: It is nothing of the kind.
    """
    try:
        raw = json.loads(body)
        failure = Failure(
            code=ErrorCode(raw["code"]),
            message=str(raw["message"]),
            environment=raw["environment"] is True,
        )
        return failure, float(raw["seconds"])
    except (ValueError, TypeError, LookupError) as exc:
        raise BadPacket("no failure") from exc


class _Reader:
    """Takes numbers and arrays off a body, front to back; ``BadPacket`` if it ends too early."""

    def __init__(self, body: memoryview | bytes) -> None:
        self._body = body
        self._at = 0

    def numbers(self, form: struct.Struct) -> tuple[Any, ...]:
        try:
            found = form.unpack_from(self._body, self._at)
        except struct.error as exc:
            raise BadPacket("a packet ends too early") from exc
        self._at += form.size
        return found

    def array(self, dtype: type[S], *shape: int) -> NDArray[S]:
        size = math.prod(shape) * np.dtype(dtype).itemsize
        return np.frombuffer(self.raw(size), dtype).reshape(shape)

    def raw(self, size: int) -> bytes:
        """A copy: the memory of a packet is used again."""
        piece = bytes(self._body[self._at : self._at + size])
        if len(piece) != size:
            raise BadPacket("a packet ends too early")
        self._at += size
        return piece

    def end(self) -> None:
        if self._at != len(self._body):
            raise BadPacket("a packet is too long")
