"""One feeder as its parent sees it: start it, ask it, end it."""

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from typing import Any, Final

from detection_worker.pipeline.service.feeders.channel import Channel, ChannelClosed, Packet
from detection_worker.pipeline.service.feeders.orders import Orders, packed

PROGRAM: Final = (sys.executable, "-P", "-m", "detection_worker.pipeline.service.feeders.feeder")
ENVIRONMENT: Final = {"OPENBLAS_NUM_THREADS": "1"}
"""A feeder computes next to nothing: threads for it would only take memory."""
SEND_TIMEOUT_S: Final = 1.0
REAP_TIMEOUT_S: Final = 5.0


class FeederProcess:
    """A running feeder; one thread at a time may use it.

    The thread that creates it must outlive it: the kernel kills the feeder when that thread ends.

    Args:
        orders: Its first packet.
        device: The feeder's end of its connection to the device; closed here once it has it.

    Attributes:
        started_s: When it was started, on ``time.monotonic``.
        failed: Why it cannot start however often it is tried; None if nothing is wrong.
        last_words: What it said when it had stopped; None before.

    Raises:
        OSError: No process could be started.
    """

    def __init__(self, orders: Orders, device: socket.socket) -> None:
        self.started_s = time.monotonic()
        self.failed: str | None = None
        self.last_words: Packet | None = None
        self._asked = 0
        ours, theirs = socket.socketpair()
        self._channel = Channel(ours)
        with theirs, device:
            try:
                self._process = _start(theirs.fileno(), device.fileno())
            except BaseException:
                self._channel.close()
                raise
        self.tell(packed(orders))

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def ended(self) -> str | None:
        """Return how it ended, such as ``was ended by SIGKILL``; None while it runs.

        What it said before is known then.
        """
        status = self._process.poll()
        if status is None:
            return None
        self._hear_out()
        if status < 0:
            return f"was ended by {signal.Signals(-status).name}"
        return f"ended with status {status}"

    def tell(self, packet: Packet) -> None:
        """Send a packet; one that does not arrive shows in its end."""
        with suppress(ChannelClosed):
            self._channel.send(packet, timeout_s=SEND_TIMEOUT_S)

    def ask(self, what: str, **facts: Any) -> None:
        """Ask or tell it something; ``answer`` returns what it says."""
        self._asked += 1
        self.tell({"n": self._asked, "ask": what, **facts})

    def answer(self, *, deadline_s: float) -> Packet | None:
        """Return its answer to what it was asked last; None if there is none in time."""
        while True:
            try:
                left_s = max(0.0, deadline_s - time.monotonic())
                packet = self._channel.receive(timeout_s=left_s)
            except ChannelClosed:
                return None
            if packet is None or packet.get("n") == self._asked:
                return packet
            self._hear(packet)

    def _hear_out(self) -> None:
        with suppress(ChannelClosed):
            while (packet := self._channel.receive(timeout_s=0.0)) is not None:
                self._hear(packet)

    def _hear(self, packet: Packet) -> None:
        """Note what it says by itself; late answers are of no use any more."""
        if packet.get("event") == "failed":
            self.failed = packet["text"]
        elif packet.get("event") == "stopped":
            self.last_words = packet

    def kill(self) -> None:
        """End it now, whatever it does, and reap it."""
        self._process.kill()
        try:
            self._process.wait(REAP_TIMEOUT_S)
        finally:
            self._channel.close()


def _start(control: int, device: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603 - our own module under our own interpreter
        [*PROGRAM, str(control), str(device), str(os.getpid())],
        env=os.environ | ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        pass_fds=(control, device),
        start_new_session=True,
    )
