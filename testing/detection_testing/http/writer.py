"""Writes a response: whole, in pieces, late, truncated or not at all."""

import asyncio
import http
import socket
import struct
from collections.abc import Iterator
from typing import BinaryIO

from detection_testing.http.values import PLAIN, FileSlice, Request, Response

_PIECE_BYTES = 262_144
_REASONS = {status.value: status.phrase for status in http.HTTPStatus}


class Writer:
    """Writes answers to one client, no faster than it reads.

    Args:
        transport: The connection's transport.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._writable = asyncio.Event()
        self._writable.set()

    def pause(self) -> None:
        """Wait with the next piece."""
        self._writable.clear()

    def resume(self) -> None:
        """Go on."""
        self._writable.set()

    def send_now(self, request: Request, response: Response) -> bool:
        """Send a short answer without special delivery; return whether it was one."""
        body = response.body
        if response.delivery is not PLAIN or isinstance(body, FileSlice):
            return False
        if len(body) > _PIECE_BYTES:
            return False
        head = _head(request, response)
        self._transport.write(head if request.method == "HEAD" else head + body)
        return True

    async def send(self, request: Request, response: Response) -> None:
        """Send an answer as its ``delivery`` says."""
        delivery = response.delivery
        if delivery.reset:
            self._reset()
            return
        if delivery.drop:
            response.close = True
            return
        self._transport.write(_head(request, response))
        if request.method == "HEAD":
            return
        sent = 0
        stalled = delivery.stall_s == 0
        for piece in _pieces(response):
            if not stalled and sent >= delivery.stall_after_bytes:
                stalled = True
                await asyncio.sleep(delivery.stall_s)
            elif sent and delivery.piece_pause_s:
                await asyncio.sleep(delivery.piece_pause_s)
            await self._writable.wait()
            if self._transport.is_closing():
                return
            self._transport.write(piece)
            sent += len(piece)
        if delivery.stop_after_bytes is not None:
            response.close = True

    def _reset(self) -> None:
        connection: socket.socket = self._transport.get_extra_info("socket")
        linger_0 = struct.pack("ii", 1, 0)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger_0)
        self._transport.abort()


def _head(request: Request, response: Response) -> bytes:
    length = response.body_bytes if response.length is None else response.length
    close = response.close or not request.keep_alive
    lines = [f"HTTP/1.1 {response.status} {_REASONS.get(response.status, 'Unknown')}"]
    lines += [f"{name}: {value}" for name, value in response.headers.items()]
    if response.status >= 200 and response.status not in (204, 304):
        lines.append(f"Content-Length: {length}")
    if close:
        lines.append("Connection: close")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")


def _pieces(response: Response) -> Iterator[bytes]:
    delivery = response.delivery
    left = response.body_bytes
    if delivery.stop_after_bytes is not None:
        left = min(left, delivery.stop_after_bytes)
    size = delivery.piece_bytes or _PIECE_BYTES
    if delivery.stall_s and delivery.stall_after_bytes:
        size = min(size, delivery.stall_after_bytes)
    body = response.body
    if isinstance(body, FileSlice):
        with body.path.open("rb") as file:
            file.seek(body.offset)
            yield from _read(file, left=left, size=size)
    else:
        for start in range(0, left, size):
            yield body[start : min(start + size, left)]


def _read(file: BinaryIO, *, left: int, size: int) -> Iterator[bytes]:
    while left:
        piece = file.read(min(size, left))
        if not piece:
            return
        left -= len(piece)
        yield piece
