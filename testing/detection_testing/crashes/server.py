"""The program that forks watched workers, as a child process."""

import subprocess
import sys
from types import TracebackType
from typing import Self

from detection_testing.crashes.process import Order, encode


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
        process = self._process
        assert process is not None  # noqa: S101 - only called inside the context
        assert process.stdin is not None  # noqa: S101 - opened with it
        assert process.stdout is not None  # noqa: S101 - opened with it
        process.stdin.write(encode(order))
        process.stdin.flush()
        answer = process.stdout.readline()
        if not answer:
            raise RuntimeError("the program that forks workers has ended")
        return int(answer)

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
