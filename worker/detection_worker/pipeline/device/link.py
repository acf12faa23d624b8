"""One connected feeder, as seen by the process that owns the device."""

import array
import os
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final

import numpy as np

from detection_tracing.contexts import Carrier
from detection_worker.pipeline.device.memory import mapped, sealed_memory
from detection_worker.pipeline.device.wire import (
    MAX_TRACKS,
    BadPacket,
    Says,
    pack,
)

MAX_TICKETS: Final = 4096
"""Files of one feeder that may wait for their scores. Its own limit is far below; each costs an
answer that waits for a feeder that reads too slowly."""
_RIGHTS_BYTES: Final = socket.CMSG_SPACE(MAX_TRACKS * array.array("i").itemsize)


@dataclass(slots=True, eq=False)
class RemoteTicket:
    """What a feeder's file is scored for.

    Attributes:
        link: The feeder.
        number: The feeder's number for it.
        request_id: Names it in logs.
        cancelled: The feeder wants its result no longer, or has ended.
        carrier: The context of the span of its scoring, as the feeder says; None without tracing.
    """

    link: "Link"
    number: int
    request_id: str
    cancelled: bool = False
    carrier: Carrier | None = None

    @property
    def facts(self) -> dict[str, object]:
        """Fields of every log line about it; the feeder's own lines have the others."""
        return {"request_id": self.request_id, **self.link.facts}


class Link:
    """The socket and the memory of one feeder, and the files that it waits for.

    Only the reader's thread receives and closes; any thread sends.

    Args:
        sock: Connected to the feeder; it is taken over.
        number: The feeder's in log lines, from 1.
        memory_bytes: Size of the feeder's block of memory.
        on_full: Called when the socket takes no more for now.

    Raises:
        OSError: No memory or no descriptor is left; the socket is closed.
    """

    def __init__(
        self,
        sock: socket.socket,
        *,
        number: int,
        memory_bytes: int,
        on_full: Callable[["Link"], None],
    ) -> None:
        self.sock = sock
        self.number = number
        self.tickets: dict[int, RemoteTicket] = {}
        self.more_coming = False
        self._on_full = on_full
        self._lock = threading.Lock()
        self._unsent: deque[bytes] = deque()
        self._closed = False
        try:
            sock.setblocking(False)  # noqa: FBT003 - the standard library's signature
            fd = sealed_memory(memory_bytes)
        except BaseException:
            sock.close()
            raise
        try:
            self.memory = mapped(fd)
        except BaseException:
            os.close(fd)
            sock.close()
            raise
        self._memory_fd: int | None = fd

    def __repr__(self) -> str:
        return f"<Link {self.number} tickets={len(self.tickets)} unsent={len(self._unsent)}>"

    @property
    def facts(self) -> dict[str, object]:
        """Fields of every log line about it, as of the feeder's own."""
        return {"feeder": self.number}

    def welcome(self, body: bytes) -> None:
        """Send the first packet, with the feeder's memory.

        Raises:
            OSError: The feeder has ended.
        """
        assert self._memory_fd is not None  # noqa: S101 - sent once
        socket.send_fds(self.sock, [pack(Says.WELCOME, body=body)], [self._memory_fd])
        os.close(self._memory_fd)
        self._memory_fd = None

    @contextmanager
    def received(self, buffer: bytearray) -> Iterator[tuple[memoryview, Sequence[int]]]:
        """Receive one packet with its descriptors, which are closed at the end.

        An empty packet means that the feeder has ended.

        Raises:
            BlockingIOError: There is none for now.
            BadPacket: It is too long, or brought too many descriptors.
            OSError: The connection is broken.
        """
        size, ancillary, flags, _ = self.sock.recvmsg_into(
            [buffer], _RIGHTS_BYTES, socket.MSG_CMSG_CLOEXEC
        )
        fds = array.array("i")
        for level, what, data in ancillary:
            if (level, what) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
        try:
            if flags & socket.MSG_TRUNC:
                raise BadPacket("a packet is too long")
            if flags & socket.MSG_CTRUNC:  # too many, or more than this process may have
                raise BadPacket("descriptors were lost")
            yield memoryview(buffer)[:size], fds
        finally:
            for fd in fds:
                os.close(fd)

    def send(self, packets: Sequence[bytes]) -> None:
        """Send an answer, or keep it until the socket takes it; never waits."""
        with self._lock:
            if self._closed:
                return
            full = bool(self._unsent)
            self._unsent.extend(packets)
            if not full and not self._flush():
                self._on_full(self)

    def tell(self, packet: bytes) -> None:
        """Send a sign of life, or leave it out if the socket takes no more."""
        with self._lock:
            if not self._closed and not self._unsent:
                with suppress(OSError):
                    self.sock.send(packet)

    def flush(self) -> bool:
        """Send what is kept; False if some is left."""
        with self._lock:
            return self._closed or self._flush()

    def _flush(self) -> bool:
        while self._unsent:
            try:
                self.sock.send(self._unsent[0])
            except BlockingIOError:
                return False
            except OSError:  # the feeder has ended: the reader notices too
                self._unsent.clear()
                return True
            self._unsent.popleft()
        return True

    def close(self) -> None:
        """Let go of everything: nobody waits for its files any more."""
        with self._lock:
            self._closed = True
            self._unsent.clear()
            self.sock.close()
        if self._memory_fd is not None:
            os.close(self._memory_fd)
            self._memory_fd = None
        self.memory = np.empty(0, np.uint8)
        for ticket in list(self.tickets.values()):
            ticket.cancelled = True
