"""Whichever process is killed, and however: no child goes on running."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from detection_testing.operator_demo.supervisor import supervise

PATIENCE_S = 60.0

WATCHING = """
import os, sys
from detection_testing.operator_demo.supervisor import supervise
sys.exit(supervise([sys.executable, "-c", sys.argv[1], *sys.argv[2:]], os.environ))
"""
ORDERLY = """
import os, subprocess, sys, time
from detection_testing.operator_demo import supervisor
supervisor.end_when_asked()
other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
open(sys.argv[1], "w").write(f"{os.getpid()} {other.pid}\\n")
try:
    time.sleep(600)
except supervisor.Interrupted:
    other.terminate()
    other.wait()
    sys.exit(130)
"""
DEAF = """
import os, signal, subprocess, sys, time
def asked(*_):
    open(sys.argv[1] + ".asked", "w").close()
signal.signal(signal.SIGTERM, asked)
other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
open(sys.argv[1], "w").write(f"{os.getpid()} {other.pid}\\n")
time.sleep(600)
"""


def alive(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except OSError:
        return False
    # In a container without an init nobody collects orphans.
    return "\nState:\tZ" not in status


def wait_until(so: Callable[[], bool]) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while not so():
        assert time.monotonic() < end_s, f"it did not happen within {PATIENCE_S:.0f} s"
        time.sleep(0.02)


class Watched:
    """A supervisor, its child and its grandchild."""

    def __init__(self, code: str, notes: Path) -> None:
        self.front = subprocess.Popen([sys.executable, "-c", WATCHING, code, str(notes)])
        wait_until(lambda: notes.exists() and notes.read_text().endswith("\n"))
        self.child, self.grandchild = map(int, notes.read_text().split())

    def all_gone(self) -> None:
        wait_until(lambda: not alive(self.child) and not alive(self.grandchild))


@pytest.mark.skipif(not Path("/proc").exists(), reason="looks into /proc")
class TestNothingSurvives:
    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
    def test_when_asked_to_end(self, tmp_path: Path, number: int) -> None:
        watched = Watched(ORDERLY, tmp_path / "pids")

        watched.front.send_signal(number)

        assert watched.front.wait(PATIENCE_S) == 130
        watched.all_gone()

    def test_when_the_child_is_killed(self, tmp_path: Path) -> None:
        watched = Watched(ORDERLY, tmp_path / "pids")

        os.kill(watched.child, signal.SIGKILL)

        assert watched.front.wait(PATIENCE_S) == 1
        watched.all_gone()

    def test_when_the_supervisor_is_killed(self, tmp_path: Path) -> None:
        watched = Watched(ORDERLY, tmp_path / "pids")

        watched.front.kill()

        watched.front.wait(PATIENCE_S)
        watched.all_gone()

    def test_when_a_child_that_does_not_listen_is_asked_twice(self, tmp_path: Path) -> None:
        watched = Watched(DEAF, tmp_path / "pids")

        watched.front.send_signal(signal.SIGINT)
        # Signals of one kind that come together are one.
        wait_until(Path(f"{tmp_path / 'pids'}.asked").exists)
        assert watched.front.poll() is None
        watched.front.send_signal(signal.SIGINT)

        assert watched.front.wait(PATIENCE_S) == 130
        watched.all_gone()


@pytest.mark.parametrize("code", [0, 1, 2])
def test_the_exit_code_is_that_of_the_command(code: int) -> None:
    assert supervise([sys.executable, "-c", f"raise SystemExit({code})"], os.environ) == code
