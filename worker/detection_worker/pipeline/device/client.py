"""A feeder's side: its memory, the detectors that it knows of, and an ``Inference`` for them."""

import logging
import os
import select
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final, Generic

from detection_contract.error_codes import ErrorCode
from detection_contract.media_types import MediaKind
from detection_tracing.contexts import TRACEPARENT
from detection_worker.core.free_ranges import ALIGNMENT
from detection_worker.core.messages.outcome import Failure
from detection_worker.pipeline.device.cards import RemoteDetector, parse_welcome
from detection_worker.pipeline.device.memory import SharedMemory, place_of
from detection_worker.pipeline.device.outcomes import outcome_of, units_at
from detection_worker.pipeline.device.wire import (
    MAX_PACKET_BYTES,
    BadPacket,
    Packet,
    Request,
    Says,
    pack,
    parse,
    request_body,
)
from detection_worker.pipeline.files.handovers import (
    Decoded,
    DecodedTrack,
    Scored,
    T,
    Unscored,
)

LOOK_UP_MS: Final = 250
"""How often a feeder looks for files whose results are no longer wanted."""
CAPACITY: Final = 64
"""Files of a feeder that wait for their scores: two batches of one-unit files."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A feeder's connection to the process that owns the device.

    Attributes:
        detectors: By media kind.
        memory: Where decoded files should lie.
        sock: The feeder's end.
    """

    detectors: Mapping[MediaKind, RemoteDetector]
    memory: SharedMemory
    sock: socket.socket


class DeviceLost(Exception):  # noqa: N818 - reads as what it says
    """The process that owns the device has ended, or does not talk as it should."""


def connect(sock: socket.socket, *, timeout_s: float | None = None) -> Device:
    """Wait until the other side has loaded its detectors, and return the connection.

    Args:
        sock: The feeder's end of ``feeder_sockets``; it is taken over.
        timeout_s: How long to wait; None waits for ever.

    Raises:
        DeviceLost: The other side has ended, or took longer.
    """
    sock.settimeout(timeout_s)
    try:
        device = _welcomed(sock)
    except (OSError, BadPacket) as exc:
        sock.close()
        raise DeviceLost(f"not welcomed: {exc}") from exc
    sock.settimeout(None)
    return device


def _welcomed(sock: socket.socket) -> Device:
    data, fds, _, _ = socket.recv_fds(sock, MAX_PACKET_BYTES, 1)
    try:
        packet = parse(memoryview(data))
        if packet.says is not Says.WELCOME or not fds:
            raise BadPacket("no welcome")
        detectors = parse_welcome(bytes(packet.body))
        return Device(detectors=detectors, memory=SharedMemory(fds.pop()), sock=sock)
    finally:
        for fd in fds:
            os.close(fd)


@dataclass(slots=True, eq=False)
class _Pending(Generic[T]):
    """A file that is sent: its units may not be given back before it is answered."""

    decoded: Decoded[T]
    size: int
    answer: bytearray = field(default_factory=bytearray)
    sent: bool = False
    cancelled: bool = False


class RemoteInference(Generic[T]):
    """Has files scored by the process that owns the device; see ``Inference``.

    If that process ends, what waits ends with None: its messages are to be handed back.

    Args:
        device: The connection; it is taken over.
        decoding: How many files are in the stage before, with those that are being put in.
        on_scored: As for ``MakeInference``.
        on_progress: As for ``MakeInference``.
        on_lost: Called once if the other process ends first.
        capacity: Files that may wait for their scores.
        capacity_bytes: What their units may take together; a single file may take more.
    """

    def __init__(
        self,
        device: Device,
        *,
        decoding: Callable[[], int],
        on_scored: Callable[[T, Scored[T] | Unscored | None], None],
        on_progress: Callable[[T], None],
        on_lost: Callable[[], None] = lambda: None,
        capacity: int = CAPACITY,
        capacity_bytes: int | None = None,
    ) -> None:
        self._device = device
        self._decoding = decoding
        self._on_scored = on_scored
        self._on_progress = on_progress
        self._on_lost = on_lost
        self._capacity = capacity
        self._capacity_bytes = device.memory.size if capacity_bytes is None else capacity_bytes
        self._pending: dict[int, _Pending[T]] = {}
        self._pending_bytes = 0
        self._numbers = 0
        self._room = threading.Condition()
        self._lost = False
        self._closing = False
        self.alive_s = time.monotonic()
        self._looked_s = self.alive_s
        self._thread = threading.Thread(target=self._run, name="inference", daemon=True)
        self._thread.start()

    def __repr__(self) -> str:
        return f"<RemoteInference pending={len(self._pending)} {self._device.memory!r}>"

    @property
    def busy(self) -> int:
        """1 while the other process has a file, else 0."""
        return min(1, len(self._pending))

    @property
    def waiting(self) -> int:
        """Files that it has besides."""
        return len(self._pending) - self.busy

    def put(self, decoded: Decoded[T]) -> None:
        """Score a decoded file; blocks while too many or too large ones wait."""
        number = self._admitted(decoded)
        if number is None:
            self._on_scored(decoded.ticket, None)
            return
        try:
            self._send(number)
        except ConnectionError:
            pass  # the receiver's thread sees it too, and ends every file
        except OSError as exc:
            self._fail(number, f"the file cannot be handed to the device: {exc.strerror}")
        except Exception:
            log.exception("handing %s to the device failed", decoded.ticket.request_id)
            self._fail(number, "internal error")

    def close(self, *, timeout_s: float | None = None) -> bool:
        """Wait for the scores of what was put in, then stop.

        Args:
            timeout_s: What takes longer is not waited for; None waits for all.

        Returns:
            False if something was not scored in time.
        """
        with self._room:
            self._closing = True
            done = self._room.wait_for(lambda: self._lost or not self._pending, timeout_s)
        with suppress(OSError):
            self._device.sock.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        return done

    # -- sending -------------------------------------------------------------------------------

    def _admitted(self, decoded: Decoded[T]) -> int | None:
        """Wait for room and return the number of a file; None if nobody will score it."""
        size = decoded.size_bytes
        with self._room:
            self._room.wait_for(lambda: self._lost or self._has_room(size))
            if self._lost:
                return None
            self._numbers += 1
            self._pending[self._numbers] = _Pending(decoded, size)
            self._pending_bytes += size
            return self._numbers

    def _has_room(self, size: int) -> bool:
        if not self._pending:
            return True
        fits = self._pending_bytes + size <= self._capacity_bytes
        return fits and len(self._pending) < self._capacity

    def _send(self, number: int) -> None:
        pending = self._pending.get(number)
        if pending is None:  # the other process ended in between
            return
        decoded = pending.decoded
        main = self._shared(decoded.main)
        sound = None if decoded.sound is None else self._shared(decoded.sound)
        pending.decoded = decoded = replace(decoded, main=main, sound=sound)
        fds: list[int] = []
        tracks = tuple(units_at(track, fds) for track in decoded.tracks)
        carrier = decoded.ticket.carrier
        request = Request(
            request_id=decoded.ticket.request_id,
            tracks=tracks,
            traceparent=None if carrier is None else carrier[TRACEPARENT],
        )
        packet = pack(
            Says.SCORE, ticket=number, more=self._decoding() > 1, body=request_body(request)
        )
        if fds:
            socket.send_fds(self._device.sock, [packet], fds)
        else:
            self._device.sock.send(packet)
        pending.sent = True

    def _shared(self, track: DecodedTrack) -> DecodedTrack:
        """Return a track whose units lie in shared memory; usually they do already."""
        place = place_of(track.media.units)
        if place is not None and place.offset % ALIGNMENT == 0:
            return track
        units = self._device.memory.empty(track.media.units.shape, track.media.units.dtype)
        units[:] = track.media.units
        return replace(track, media=replace(track.media, units=units))

    # -- the receiver's thread -----------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._receive_all()
        except (OSError, BadPacket) as exc:
            log.warning("the connection to the device broke: %s", exc)
        self._end()

    def _receive_all(self) -> None:
        buffer = bytearray(MAX_PACKET_BYTES)
        readable = select.poll()
        readable.register(self._device.sock, select.POLLIN)
        while True:
            self.alive_s = time.monotonic()
            self._look_up()
            if not readable.poll(LOOK_UP_MS):
                continue
            size = self._device.sock.recv_into(buffer)
            if not size:
                return
            self._take(parse(memoryview(buffer)[:size]))

    def _take(self, packet: Packet) -> None:
        pending = self._pending.get(packet.ticket)
        if pending is None:
            raise BadPacket(f"it says {packet.says.name} of no file")
        ticket = pending.decoded.ticket
        if packet.says is Says.PROGRESS:
            if not ticket.cancelled:
                self._call(lambda: self._on_progress(ticket))
            return
        pending.answer += packet.body
        if packet.more:
            return
        outcome = outcome_of(packet.says, bytes(pending.answer), pending.decoded)
        self._forget(packet.ticket)
        self._call(lambda: self._on_scored(ticket, None if ticket.cancelled else outcome))

    def _look_up(self) -> None:
        """Say which files' results are no longer wanted."""
        if self.alive_s - self._looked_s < LOOK_UP_MS / 1000:
            return
        self._looked_s = self.alive_s
        for number, pending in list(self._pending.items()):
            told = pending.cancelled or not pending.sent
            if pending.decoded.ticket.cancelled and not told:
                with suppress(BlockingIOError):
                    self._device.sock.send(pack(Says.CANCEL, ticket=number), socket.MSG_DONTWAIT)
                    pending.cancelled = True

    def _forget(self, number: int) -> None:
        with self._room:
            self._pending_bytes -= self._pending.pop(number).size
            self._room.notify_all()

    def _end(self) -> None:
        """Nothing is scored any more: end what waits."""
        with self._room:
            self._lost = True
            tickets = [pending.decoded.ticket for pending in self._pending.values()]
            self._pending.clear()
            self._room.notify_all()
        self._device.sock.close()
        if not self._closing:
            log.error("the process that owns the device has ended")
            self._call(self._on_lost)
        for ticket in tickets:
            self._call(partial(self._on_scored, ticket, None))

    def _fail(self, number: int, why: str) -> None:
        pending = self._pending.get(number)
        if pending is not None:
            self._forget(number)
            failure = Failure(code=ErrorCode.INTERNAL, message=why)
            self._on_scored(pending.decoded.ticket, Unscored(failure=failure, seconds=0.0))

    def _call(self, callback: Callable[[], None]) -> None:
        try:
            callback()
        except Exception:
            # A bug here must not end the only thread that takes scores; the visibility extender
            # stops messages that make no progress.
            log.exception("taking scores failed")
