"""One worker pod as a process of this machine: ``detection-worker consume`` with its env."""

import contextlib
import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from detection_contract import environment as env
from detection_operator.kube.port import Object

LOOPBACK: Final = "127.0.0.1"
LOG: Final = "worker.log"
WORKER: Final = (sys.executable, "-P", "-m", "detection_worker", "consume")
PROBE_S: Final = 2.0
STATE_S: Final = 20.0
"""For a worker that is about to go: one that is starved of CPU is not a busy one."""
PORTS: Final = range(20_000, 30_000)
"""Below those that systems give to connections: a port must stay free while the worker loads."""
KEPT: Final = ("LANG", "LC_ALL", "LD_LIBRARY_PATH", "PATH", "PYTHONPATH", "VIRTUAL_ENV")
"""Variables by which Python finds its packages: this process's stand in for the pod's image."""


@dataclass(frozen=True, slots=True)
class Answer:
    """State that a worker reports.

    Attributes:
        busy: It holds a message.
        drained: It was asked to drain, and has.
    """

    busy: bool
    drained: bool


class Container:
    """The process of a pod, started at once.

    Args:
        pod: With its container.
        folder: A new folder for its ``/tmp`` and its log.
        port: For its control server.
        command: To run.

    Attributes:
        name: Pod name.
        port: Port of its control server, on the loopback interface.
        ready: It has passed its readiness probe.
        started_s: Monotonic seconds.
        stopping_s: When SIGTERM was sent, monotonic seconds; None before.

    Raises:
        OSError: It cannot be started.
    """

    def __init__(
        self, pod: Object, folder: Path, *, port: int, command: Sequence[str] = WORKER
    ) -> None:
        self.name = str(pod["metadata"]["name"])
        self.port = port
        self.ready = False
        self.started_s = time.monotonic()
        self.stopping_s: float | None = None
        folder.mkdir(parents=True)
        with (folder / LOG).open("wb") as log:
            self._process = subprocess.Popen(
                command,
                env=environment(pod, folder, port, os.environ),
                # No file of the user's, such as a configuration, is where the worker looks.
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative for a signal."""
        return self._process.poll()

    def is_ready(self) -> bool:
        """Ask its readiness probe; an answer in time counts."""
        return self._get(env.READY_PATH) is not None

    def ask(self) -> Answer | None:
        """Return the state it reports; None without a response."""
        body = self._get(env.STATE_PATH, STATE_S)
        if body is None:
            return None
        state = json.loads(body)
        busy = bool(state.get("busy")) or int(state.get("in_flight") or 0) > 0
        return Answer(busy, state.get("drained") is True)

    def terminate(self) -> None:
        """Send SIGTERM, once."""
        if self.stopping_s is None:
            self.stopping_s = time.monotonic()
            self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL and wait for the end."""
        self._process.kill()
        self._process.wait()

    def _get(self, path: str, timeout_s: float = PROBE_S) -> bytes | None:
        with contextlib.closing(
            http.client.HTTPConnection(LOOPBACK, self.port, timeout=timeout_s)
        ) as connection:
            try:
                connection.request("GET", path)
                response = connection.getresponse()
                body = response.read()
            except (OSError, http.client.HTTPException):
                return None
        return body if response.status == http.client.OK else None


def environment(
    pod: Object, folder: Path, port: int, environ: Mapping[str, str]
) -> dict[str, str]:
    """Return the variables of a pod's process: the container's, as they are on this machine.

    Args:
        pod: Whose container.
        folder: Stands in for the pod's own ``/tmp``.
        port: Pods of one machine share its addresses, so each gets a port of its own.
        environ: Environment of this process.
    """
    container: Mapping[str, Any] = next(
        item for item in pod["spec"]["containers"] if item["name"] == env.CONTAINER_WORKER
    )
    # Values from secrets or fields are not known here, and the demonstration uses none.
    said = {item["name"]: item.get("value", "") for item in container.get("env", ())}
    mounted = {
        name: str(folder) + value.removeprefix(env.POD_TEMP_DIR)
        for name, value in said.items()
        if value.startswith(f"{env.POD_TEMP_DIR}/")
    }
    kept = {name: environ[name] for name in KEPT if name in environ}
    own = {
        "HOME": str(folder),
        "TMPDIR": str(folder),
        env.CONTROL_HOST: LOOPBACK,
        env.CONTROL_PORT: str(port),
    }
    return {**kept, **said, **mounted, **own}


def free_port(taken: Collection[int] = ()) -> int:
    """Return a port that is free and not among those given away.

    Raises:
        OSError: None was found.
    """
    for port in random.sample(PORTS, k=len(PORTS)):
        if port in taken:
            continue
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((LOOPBACK, port))
            return port
    raise OSError("no free port was found on the loopback interface")
