"""The program that forks watched workers, as a child process."""

import json
import subprocess
import sys
from dataclasses import asdict, replace
from types import TracebackType
from typing import Self

from detection_testing.crashes.process import Ended, Order


class ForkServer:
    """Runs one watched worker after the other; a context manager.

    A fork of the test runner itself would copy its threads' locks.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def run(self, order: Order) -> int:
        """Run one worker to its end and return its exit code; -9 if it killed itself.

        Raises:
            RuntimeError: The program ended.
        """
        code = self._ask(json.dumps(asdict(order))).code
        assert code is not None  # noqa: S101 - only ``freeze`` freezes
        return code

    def freeze(self, order: Order) -> int:
        """Run one worker until it freezes, and return its process id for ``resume``.

        Raises:
            RuntimeError: It ended without; or the program did.
        """
        ended = self._ask(json.dumps(asdict(replace(order, freeze=True))))
        if ended.code is not None:
            raise RuntimeError(f"the worker ended with {ended.code} and was never frozen")
        return ended.pid

    def resume(self, pid: int) -> int:
        """Let a frozen worker go on to its end and return its exit code."""
        code = self._ask(json.dumps(pid)).code
        assert code is not None  # noqa: S101 - it is waited for
        return code

    def _ask(self, line: str) -> Ended:
        process = self._process
        assert process is not None  # noqa: S101 - only called inside the context
        assert process.stdin is not None  # noqa: S101 - opened with it
        assert process.stdout is not None  # noqa: S101 - opened with it
        process.stdin.write(line + "\n")
        process.stdin.flush()
        answer = process.stdout.readline()
        if not answer:
            raise RuntimeError("the program that forks workers has ended")
        return Ended(*json.loads(answer))

    def __enter__(self) -> Self:
        command = [sys.executable, "-P", "-m", "detection_testing.crashes.process"]
        self._process = subprocess.Popen(  # noqa: S603 - our own module
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        process = self._process
        if process is not None:
            process.communicate()
