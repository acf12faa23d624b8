"""Running the command line as a user does: as a process of its own."""

import os
import pty
import select
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import pytest

from detection_testing.aws.local_aws import LocalAws
from detection_testing.forks import Ended, Forks

TIMEOUT_S = 120


RunCli = Callable[..., Ended]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """An empty working directory, which is also the home directory."""
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


@pytest.fixture
def clean_environment(home: Path) -> dict[str, str]:
    """No AWS settings from outside, no metadata service."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "AWS_EC2_METADATA_DISABLED": "true",
        "PYTHONWARNINGS": "default",
        "TERM": "dumb",
    }


@pytest.fixture
def run_cli(home: Path, clean_environment: dict[str, str]) -> RunCli:
    """Run ``detection-worker`` with arguments, standard input and extra environment."""

    def run(*args: str, stdin: str = "", env: Mapping[str, str] | None = None) -> Ended:
        done = subprocess.run(
            [sys.executable, "-m", "detection_worker", *args],
            input=stdin,
            capture_output=True,
            text=True,
            cwd=home,
            env={**clean_environment, **(env or {})},
            timeout=TIMEOUT_S,
            check=False,
        )
        return Ended(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture(scope="session")
def forks() -> Iterator[Forks]:
    with Forks({"PATH": os.environ["PATH"], "PYTHONWARNINGS": "default"}) as running:
        yield running


@pytest.fixture
def run_forked(forks: Forks, home: Path, clean_environment: dict[str, str]) -> RunCli:
    """Do as ``run_cli``, in a process that need not load torch: for commands that use it."""

    def run(*args: str, stdin: str = "", env: Mapping[str, str] | None = None) -> Ended:
        environment = {**clean_environment, **(env or {})}
        return forks.run(
            args, folder=home, environment=environment, stdin=stdin, timeout_s=TIMEOUT_S
        )

    return run


class Terminal:
    """A command at a pseudo-terminal; answers are typed when their question has appeared."""

    def __init__(self, args: tuple[str, ...], cwd: Path, env: dict[str, str]) -> None:
        self._pid, self._fd = pty.fork()
        if self._pid == 0:
            os.chdir(cwd)
            command = [sys.executable, "-m", "detection_worker", *args]
            os.execve(sys.executable, command, env)
        self.seen = ""
        self._expected = 0

    def expect(self, text: str) -> None:
        """Read until ``text`` has appeared after what was expected before."""
        while (found := self.seen.find(text, self._expected)) < 0:
            ready, _, _ = select.select([self._fd], [], [], TIMEOUT_S)
            chunk = os.read(self._fd, 65536) if ready else b""
            assert chunk, f"{text!r} never came; seen: {self.seen!r}"
            self.seen += chunk.decode()
        self._expected = found + len(text)

    def answer(self, question: str, text: str) -> None:
        """Type ``text`` and Return once ``question`` has appeared."""
        self.expect(question)
        self.press(text + "\n")

    def press(self, keys: str) -> None:
        """Type without Return."""
        os.write(self._fd, keys.encode())

    def interrupt(self) -> None:
        """Press Ctrl-C, again if need be.

        Python notices no signal that comes after it has shown a prompt and before it reads.
        """
        while "Interrupted" not in self.seen:
            self.press("\x03")
            ready, _, _ = select.select([self._fd], [], [], 5)
            while ready and "Interrupted" not in self.seen:
                self.seen += os.read(self._fd, 65536).decode()
                ready, _, _ = select.select([self._fd], [], [], 5)

    def end(self) -> int:
        """Read what is left and return the exit code."""
        with suppress(OSError):  # Linux reports the end of a terminal as an error
            while chunk := os.read(self._fd, 65536):
                self.seen += chunk.decode()
        os.close(self._fd)
        _, status = os.waitpid(self._pid, 0)
        return os.waitstatus_to_exitcode(status)


@pytest.fixture
def at_terminal(home: Path, clean_environment: dict[str, str]) -> Callable[..., Terminal]:
    """Start a command at a terminal."""

    def start(*args: str, env: Mapping[str, str] | None = None) -> Terminal:
        return Terminal(args, home, {**clean_environment, **(env or {})})

    return start


@pytest.fixture
def local_aws() -> Iterator[LocalAws]:
    """SQS, S3 and STS that take one access key alone, and a callback receiver."""
    with LocalAws.in_thread() as aws:
        yield aws
