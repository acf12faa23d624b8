"""Packets between the main process and a feeder: JSON over a private stream socket."""

import json
import select
import socket
import struct
import time
from typing import Any, Final

LENGTH: Final = struct.Struct("!I")
MAX_BYTES: Final = 64 * 1024 * 1024
"""Far above all metrics of a feeder."""
PIECE_BYTES: Final = 256 * 1024

Packet = dict[str, Any]


class ChannelClosed(Exception):  # noqa: N818 - reads as what it says
    """The other end is gone, or sent what is no packet."""


class Channel:
    """One end. One thread at a time receives, one at a time sends.

    Args:
        sock: A connected stream socket; it is taken over.
    """

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)  # noqa: FBT003 - the standard library's signature
        self._sock = sock
        self._received = bytearray()

    def close(self) -> None:
        """Close this end."""
        self._sock.close()

    def send(self, packet: Packet, *, timeout_s: float | None = None) -> None:
        """Send a packet.

        Raises:
            ChannelClosed: The other end is gone, or did not take it in time.
        """
        body = json.dumps(packet, separators=(",", ":")).encode()
        left = memoryview(LENGTH.pack(len(body)) + body)
        deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
        while left:
            try:
                left = left[self._sock.send(left) :]
            except BlockingIOError:
                if not self._wait(select.POLLOUT, deadline_s):
                    raise ChannelClosed("it takes nothing") from None
            except OSError as exc:
                raise ChannelClosed(str(exc)) from exc

    def receive(self, *, timeout_s: float | None = None) -> Packet | None:
        """Return the next packet; None if none has come in time.

        Raises:
            ChannelClosed: The other end is gone, or sent what is no packet.
        """
        deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
        while (packet := self._next()) is None:
            try:
                piece = self._sock.recv(PIECE_BYTES)
            except BlockingIOError:
                if not self._wait(select.POLLIN, deadline_s):
                    return None
                continue
            except OSError as exc:
                raise ChannelClosed(str(exc)) from exc
            if not piece:
                raise ChannelClosed("it has ended")
            self._received += piece
        return packet

    def _wait(self, event: int, deadline_s: float | None) -> bool:
        """Wait for an event of the socket; False once the deadline has passed."""
        ready = select.poll()
        ready.register(self._sock, event)
        if deadline_s is None:
            return bool(ready.poll())
        left_s = deadline_s - time.monotonic()
        return left_s > 0 and bool(ready.poll(left_s * 1000))

    def _next(self) -> Packet | None:
        if len(self._received) < LENGTH.size:
            return None
        (size,) = LENGTH.unpack_from(self._received)
        if size > MAX_BYTES:
            raise ChannelClosed(f"a packet of {size} bytes")
        end = LENGTH.size + size
        if len(self._received) < end:
            return None
        body = bytes(self._received[LENGTH.size : end])
        del self._received[:end]
        try:
            packet = json.loads(body)
        except ValueError as exc:
            raise ChannelClosed("it is not JSON") from exc
        if not isinstance(packet, dict):
            raise ChannelClosed("it is no object")
        return packet
