"""Runs ``detection-worker`` in forks of a process that has loaded its heavy libraries.

A fork is a process with its own environment, folder, streams, signals and end, and loads our
modules itself. What Python or a library reads as it starts is that of the parent: variables for
Python, the locale and OpenMP do nothing here.
"""

import importlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from detection_worker.cores import let_idle_threads_sleep

HEAVY: Final = ("torch", "boto3.session", "botocore.endpoint", "pydantic", "requests")

MOST_BYTES: Final = 1 << 20
"""Limit of an order: arguments and environment."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended.

    Attributes:
        code: Its exit code; negative: the signal that killed it.
        out: What it wrote to standard output.
        err: What it wrote to standard error.
    """

    code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        """All that the user saw."""
        return self.out + self.err


class Forks:
    """Runs one command after the other; a context manager.

    Args:
        environment: What the process that is forked starts with.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment

    def __enter__(self) -> Self:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - this module
                [sys.executable, "-P", "-m", __name__, str(theirs.fileno())],
                env=dict(self._environment),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                pass_fds=(theirs.fileno(),),
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._socket.close()
        self._process.communicate()

    def run(
        self,
        arguments: Sequence[str],
        *,
        folder: Path,
        environment: Mapping[str, str],
        stdin: str,
        timeout_s: float,
    ) -> Ended:
        """Run a command to its end.

        Raises:
            TimeoutError: It took longer than ``timeout_s``, and was killed.
            RuntimeError: The process that is forked has ended.
        """
        order = json.dumps([list(arguments), str(folder), dict(environment)]).encode()
        pipes = [os.pipe() for _ in range(3)]
        (their_in, our_in), (our_out, their_out), (our_err, their_err) = pipes
        self._socket.settimeout(timeout_s)
        socket.send_fds(self._socket, [order], [their_in, their_out, their_err])
        for fd in (their_in, their_out, their_err):
            os.close(fd)
        texts: list[str] = ["", ""]
        readers = [
            threading.Thread(target=_read, args=(fd, texts, n))
            for n, fd in enumerate((our_out, our_err))
        ]
        for reader in readers:
            reader.start()
        pid = self._answer()
        try:
            _write(our_in, stdin)
            code = self._answer()
        except TimeoutError:
            os.kill(pid, signal.SIGKILL)
            self._answer()
            raise
        finally:
            for reader in readers:
                reader.join()
        return Ended(code, *texts)

    def _answer(self) -> int:
        answer = self._socket.recv(64)
        if not answer:
            raise RuntimeError("the process that is forked has ended")
        return int(answer)


def _read(fd: int, texts: list[str], index: int) -> None:
    with open(fd, encoding="utf-8") as stream:
        texts[index] = stream.read()


def _write(fd: int, text: str) -> None:
    try:
        with open(fd, "w", encoding="utf-8") as stream:
            stream.write(text)
    except BrokenPipeError:
        pass  # it has ended, or wants none


def serve(orders: socket.socket) -> None:
    """Fork for every order until there are no more; return in each fork, ready to run."""
    while True:
        order, fds, _, _ = socket.recv_fds(orders, MOST_BYTES, 3)
        if not order:
            orders.close()
            raise SystemExit(0)
        pid = os.fork()
        if pid == 0:
            orders.close()
            _become(order, fds)
            return
        for fd in fds:
            os.close(fd)
        orders.send(str(pid).encode())
        _, status = os.waitpid(pid, 0)
        orders.send(str(os.waitstatus_to_exitcode(status)).encode())


def _become(order: bytes, fds: Sequence[int]) -> None:
    arguments, folder, environment = json.loads(order)
    for stream, fd in enumerate(fds):
        os.dup2(fd, stream)
        os.close(fd)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["detection-worker", *arguments]


def main() -> None:
    """Load what takes seconds, then serve the socket that the first argument numbers."""
    let_idle_threads_sleep()
    for name in HEAVY:
        importlib.import_module(name)

    serve(socket.socket(fileno=int(sys.argv[1])))
    # In a fork; at the top, so that it ends as a program does.
    runpy.run_module("detection_worker", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
