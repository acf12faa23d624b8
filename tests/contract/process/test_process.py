"""Programs as the first process of a container."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from detection_contract.process.signals import EXIT_TERMINATED, end_by_sigterm

FIRST = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child"]
UP = "print('up', flush=True); import time; time.sleep(60)"
ENTRIES = {
    "worker": "detection_worker.__main__",
    "operator": "detection_operator.cli.main",
}


def can_be_first() -> bool:
    """Tell whether the machine lets us make a PID namespace."""
    try:
        return subprocess.run([*FIRST, "true"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


needs_namespaces = pytest.mark.skipif(not can_be_first(), reason="no PID namespaces here")


@pytest.fixture
def sigterm_as_before() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("sigterm_as_before")
def test_the_first_process_alone_gets_a_handler(monkeypatch: pytest.MonkeyPatch) -> None:
    codes: list[int] = []
    monkeypatch.setattr(os, "_exit", codes.append)
    before = signal.getsignal(signal.SIGTERM)

    end_by_sigterm()
    assert signal.getsignal(signal.SIGTERM) is before

    monkeypatch.setattr(os, "getpid", lambda: 1)
    end_by_sigterm()
    signal.raise_signal(signal.SIGTERM)
    assert codes == [EXIT_TERMINATED]


@contextmanager
def first_process(code: str) -> Iterator[tuple["subprocess.Popen[str]", int]]:
    """Run Python as PID 1; give what waits for it, and its PID out here, once it says ``up``."""
    command = [*FIRST, sys.executable, "-P", "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            while process.stdout.readline() not in {"up\n", ""}:
                pass
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
            yield process, int(children)
        finally:
            process.kill()


@needs_namespaces
@pytest.mark.slow
@pytest.mark.parametrize("module", ENTRIES.values(), ids=ENTRIES.keys())
def test_sigterm_ends_a_program_that_still_starts(module: str) -> None:
    code = f"""
import {module} as program
try:
    program.main(["--help"])
except SystemExit:
    pass
{UP}
"""
    with first_process(code) as (process, pid):
        os.kill(pid, signal.SIGTERM)

        assert process.wait(30) == EXIT_TERMINATED
