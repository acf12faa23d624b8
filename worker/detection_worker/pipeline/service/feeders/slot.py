"""The place of one feeder in a worker, whichever process fills it."""

import logging
import socket
import time
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Final

from detection_contract.results import iso_utc
from detection_worker.core.feeders.state import State, ended
from detection_worker.pipeline.device.server import DeviceServer, feeder_sockets
from detection_worker.pipeline.service.feeders.channel import Packet
from detection_worker.pipeline.service.feeders.orders import Begin, Orders, packed
from detection_worker.pipeline.service.feeders.process import FeederProcess
from detection_worker.pipeline.service.feeders.series import Family

FIRST_PAUSE_S: Final = 1.0
MAX_PAUSE_S: Final = 60.0
SETTLED_S: Final = 60.0
"""A feeder that lived longer is started again at once."""
MOST_SILENT: Final = 20
"""Answers, asked for once a second, that a feeder may owe before it is killed: its leases still
hold then, and a node that stood still for minutes costs one answer."""
MOST_SILENT_AT_FIRST: Final = 120
"""As long as it has not answered yet: imports from a cold disk on a busy node."""
UNHEALTHY_SILENT: Final = 3

log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class Slot:
    """Not thread-safe.

    Attributes:
        orders: For each process in turn.
        process: The one that runs; None between two.
        device: The device's end of its connection, until the device is there.
        begun: It was told to begin.
        starts: Processes started so far.
        late: It owes an answer.
        silent: Times in a row that it was looked at and had not answered.
        status: Its last answer; None before the first.
        idle: The state while no process of its has a pipeline; None before the first had one.
        series: Its metrics when they were last asked for.
        pause_s: Between its next end and the start after that.
        start_at_s: When it is to be started, on ``time.monotonic``.
    """

    orders: Orders
    process: FeederProcess | None = None
    device: socket.socket | None = None
    begun: bool = False
    starts: int = 0
    late: bool = False
    silent: int = 0
    status: Packet | None = None
    idle: State | None = None
    series: list[Family] = field(default_factory=list)
    pause_s: float = FIRST_PAUSE_S
    start_at_s: float = 0.0

    @property
    def number(self) -> int:
        """Its number in logs, from 1."""
        return self.orders.index + 1

    @property
    def facts(self) -> dict[str, object]:
        """Fields of every log line about it, as of its own."""
        return {"feeder": self.number}

    @property
    def state(self) -> State | None:
        """The last known state of its process's pipeline; None before there is one."""
        found: State | None = self.status["state"] if self.status else None
        return found if found and "served" in found else None

    @property
    def drained(self) -> bool:
        """It says that it holds nothing and receives nothing; it needs no pipeline for that."""
        return bool(self.status and not self.late and self.status["state"]["drained"])

    @property
    def healthy(self) -> bool:
        """It answers, or has not come to it yet."""
        return self.status is None or self.silent <= UNHEALTHY_SILENT

    def start(self) -> None:
        """Start a process in this place, or try again later."""
        try:
            with ExitStack() as undo:
                ours, theirs = map(undo.enter_context, feeder_sockets())
                self.process = FeederProcess(self.orders, theirs)
                undo.pop_all()
        except OSError as exc:
            log.warning(
                "feeder %d cannot be started: %s", self.number, exc.strerror, extra=self.facts
            )
            self.put_off(lived_s=0.0)
            return
        self.starts += 1
        self.device, self.begun = ours, False

    def begin(self, begin: Begin, device: DeviceServer, *, draining: bool) -> None:
        """Let the process work."""
        if self.process and self.device:
            device.attach(self.device, number=self.number)
            self.device, self.begun = None, True
            self.process.ask("begin", begin=packed(replace(begin, draining=draining)))

    def put_off(self, *, lived_s: float) -> float:
        """Say when to start the next process; return in how many seconds."""
        if lived_s >= SETTLED_S:
            self.pause_s = 0.0
        pause_s, self.pause_s = (
            self.pause_s,
            min(max(2 * self.pause_s, FIRST_PAUSE_S), MAX_PAUSE_S),
        )
        self.start_at_s = time.monotonic() + pause_s
        return pause_s

    def leave(self) -> None:
        """End the process now, and forget what it said."""
        if self.state:
            self.idle = ended(self.state, at=iso_utc(datetime.now(UTC)))
        if self.process:
            self.process.kill()
        if self.device:
            self.device.close()
        self.process = self.device = self.status = None
        self.begun, self.late, self.silent, self.series = False, False, 0, []

    def hung(self) -> bool:
        """Note that it was looked at; return whether it has been silent for too long."""
        self.silent = self.silent + 1 if self.late else 0
        return self.silent > (MOST_SILENT if self.status else MOST_SILENT_AT_FIRST)
