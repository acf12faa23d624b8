"""Real workers in forked processes, to be killed at any moment."""

import json
import logging
import os
import signal
import socket
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from detection_worker.pipeline.service.feeders.choice import make_worker
from detection_worker.settings import ConsumerSettings, Settings

READY_TIMEOUT_S = 60.0

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ForkedWorker:
    """A consumer in a process of its own.

    Attributes:
        pid: Process id.
        port: Where its control server listens.
    """

    pid: int
    port: int

    def state(self) -> dict[str, Any]:
        """Return its /state; empty while it does not answer."""
        try:
            url = f"http://127.0.0.1:{self.port}/state"
            with urllib.request.urlopen(url, timeout=2) as answer:
                state: dict[str, Any] = json.load(answer)
                return state
        except OSError:
            return {}

    def metrics(self) -> str:
        """Return its /metrics; empty while it does not answer."""
        try:
            url = f"http://127.0.0.1:{self.port}/metrics"
            with urllib.request.urlopen(url, timeout=2) as answer:
                return str(answer.read(), "utf-8")
        except OSError:
            return ""

    def wait_ready(self) -> None:
        """Wait until it receives messages.

        Raises:
            RuntimeError: It did not get ready within a minute.
        """
        if not wait_for(lambda: bool(self.state().get("ready")), timeout_s=READY_TIMEOUT_S):
            raise RuntimeError("a worker did not get ready")

    def feeders(self) -> list[int]:
        """Return the process ids of its feeders."""
        return [pid for pid in _children(self.pid) if b"feeder" in _command(pid)]

    def end(self, number: signal.Signals) -> int:
        """Send a signal, wait for the exit and return the exit code, negative for a signal."""
        os.kill(self.pid, number)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def fork_worker(
    settings: Settings,
    consumer: ConsumerSettings,
    *,
    log: Path,
    prepare: Callable[[], None] = lambda: None,
) -> ForkedWorker:
    """Start a worker with a control server, forked from this process.

    This process has the libraries loaded: a kill must not cost seconds of imports. Each worker
    starts its own decoders and loads its own models.

    Args:
        settings: The worker's.
        consumer: The worker's, but for the control server; it has no feeders unless this says so.
        log: File that its log is appended to.
        prepare: Called in the new process before the worker starts.
    """
    port = _free_port()
    pid = os.fork()
    if pid == 0:
        # The child never returns into this program.
        code = 1
        try:
            stream = log.open("a")
            os.dup2(stream.fileno(), 2)  # its feeders log to stderr
            logging.basicConfig(stream=stream, level=logging.WARNING, force=True)
            prepare()
            controlled = replace(
                consumer,
                control_host="127.0.0.1",
                control_port=port,
                feeders=consumer.feeders or 0,
            )
            code = make_worker(settings, controlled).run()
        except BaseException:  # noqa: BLE001 - whatever it is, the log has it
            _LOG.exception("the worker failed")
        finally:
            os._exit(code)
    return ForkedWorker(pid=pid, port=port)


def wait_for(condition: Callable[[], bool], *, timeout_s: float) -> bool:
    """Wait until ``condition`` holds; False if it did not in time."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return False


def _children(parent: int) -> list[int]:
    """Return the processes that a process has started and that still run."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended meanwhile
            state, ppid = stat.read_text().rpartition(")")[2].split()[:2]
            if int(ppid) == parent and state != "Z":
                found.append(int(stat.parent.name))
    return found


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
