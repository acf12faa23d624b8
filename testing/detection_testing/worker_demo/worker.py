"""The demo's worker: the very command a user runs, as a child process."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self

EXIT_TIMEOUT_S = 30.0
TAIL_CHARS = 4_000


class WorkerProcess:
    """``detection-worker consume`` against local services.

    Args:
        options: Queue and destinations, as a user would write them.
        endpoint_url: Local AWS.
        environment: Credentials for them.
        log_path: Where its log goes.
        models_dir: None takes the bundled models.
        verbose: Log everything.
    """

    def __init__(
        self,
        *,
        options: Sequence[str],
        endpoint_url: str,
        environment: Mapping[str, str],
        log_path: Path,
        models_dir: str | None,
        verbose: bool,
    ) -> None:
        self._arguments = [
            "consume",
            *options,
            *("--endpoint-url", endpoint_url),
            *("--wait-time", "5"),
            *("--callback-attempts", "1"),  # the outbox makes the others
            "--callback-allow-private",
            *(("--models-dir", models_dir) if models_dir else ()),
            *(("--verbose",) if verbose else ()),
        ]
        self._environment = environment
        self._log_path = log_path
        self._log: IO[bytes] | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def command_line(self) -> str:
        """What a user would type."""
        return " ".join(["detection-worker", *self._arguments])

    @property
    def running(self) -> bool:
        """It has not ended."""
        return self._process is not None and self._process.poll() is None

    def stop(self) -> int:
        """Let it drain and return its exit code."""
        process = self._process
        assert process is not None  # noqa: S101 - only called inside the context
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            return process.wait(EXIT_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()

    def log_tail(self) -> str:
        """Return the end of its log."""
        return self._log_path.read_text(errors="replace")[-TAIL_CHARS:]

    def __enter__(self) -> Self:
        self._log = self._log_path.open("wb")
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "detection_worker", *self._arguments],
            env={**os.environ, **self._environment, "LOG_FORMAT": "plain"},
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.running:
            self.stop()
        if self._log is not None:
            self._log.close()
