"""A process that can be stopped, killed and started again with the same arguments."""

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

STOP_S: Final = 10.0


class Service:
    """One process at a time; its output goes to a file that is appended to.

    Args:
        command: With arguments.
        log: For stdout and stderr.
        environ: Environment of the process; None: that of this one.
    """

    def __init__(
        self, command: Sequence[str], log: Path, environ: Mapping[str, str] | None = None
    ) -> None:
        self._command = list(command)
        self._environ = dict(os.environ if environ is None else environ)
        self._process: subprocess.Popen[bytes] | None = None
        self.log = log

    def start(self) -> None:
        """Start it; what ran before must have ended."""
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603 - our own
                self._command, stdout=output, stderr=output, env=self._environ
            )

    def ended(self) -> int | None:
        """Return its exit status, the negative signal number if one ended it; None while it runs.

        Raises:
            RuntimeError: It was not started.
        """
        return self._running().poll()

    def wait(self, timeout_s: float = STOP_S) -> int:
        """Return its exit status once it has ended.

        Raises:
            TimeoutError: It did not end in time.
        """
        try:
            return self._running().wait(timeout_s)
        except subprocess.TimeoutExpired as exc:
            raise TimeoutError(f"{self._command[0]} did not end in {timeout_s:.0f} s") from exc

    def kill(self) -> None:
        """End it by SIGKILL: it has no last words."""
        self._running().kill()
        self.wait()

    def stop(self) -> None:
        """End it by SIGTERM, and where that is not heard by SIGKILL."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.terminate()
        try:
            self.wait()
        except TimeoutError:
            self.kill()

    def freeze(self) -> None:
        """Let it stand still, as on a node without a free core."""
        self._running().send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._running().send_signal(signal.SIGCONT)

    def words(self) -> str:
        """Return what it said last."""
        return self.log.read_text(encoding="utf-8", errors="replace")[-2000:]

    def memory_mib(self) -> float:
        """Return its resident memory; 0 where the system does not tell."""
        try:
            status = Path(f"/proc/{self._running().pid}/status").read_text(encoding="ascii")
        except OSError:
            return 0.0
        rows = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
        return int(rows.get("VmRSS", "0").split()[0]) / 1024

    def _running(self) -> "subprocess.Popen[bytes]":
        if self._process is None:
            raise RuntimeError("not started")
        return self._process
