"""Programs beside Python are found; skips are counted, and fail the run unless they are listed."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from detection_worker.cores import usable_cores

ALLOWED = (
    # Kubernetes's own binaries: no package registry has them.
    r"^NO REAL API SERVER",
    r"^NO CONTROLLERS",
    r"^NO REAL SCHEDULER",
    r"^NOT TESTED: the chart in a cluster\. NO REAL API SERVER",
    r"^kube-controller-manager not found in",
    r"^no CUDA device",
    # What a container's kernel does not give, and what only root or nobody but root can try.
    r"^no (PID|user) namespaces here",
    r"^this kernel only grants",
    r"^root may read every folder",
    r"^only root is given real-time priority",
    # A second opinion on what PyAV, which brings the same libraries, has shown already.
    r"^NOT RUN: there is no ffmpeg",
    # Files of others that are not ours to distribute.
    r"^the authors' .+ is not at",
    r"^NOT RUN: (no speech in|held-out speech cannot be had)",
)
"""Reasons for which a test may be skipped anywhere; ``ALLOW_SKIPS`` adds to them."""

# `make tools` puts helm, kubectl, promtool and prometheus there.
os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

# Three processes on two cores: idle threads of torch must not spin on cores that others need.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

PROCESSES_A_CORE = 1.5
"""Tests wait for processes, queues and clocks for nearly half of their time."""

MOTO_READY_S = 120.0
"""Until moto's server must answer; 1.5 s on an idle machine."""

# 200 ms for an example, which is Hypothesis's own limit, are soon over on a busy machine.
settings.register_profile(
    "no time limits", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("no time limits")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--strict-skips",
        action="store_true",
        help="fail the run if a test is skipped for a reason that tests/conftest.py does not list",
    )


def pytest_xdist_auto_num_workers() -> int:
    """Return what ``--numprocesses auto`` means."""
    return max(2, int(usable_cores() * PROCESSES_A_CORE))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files whose tests are given most time: last, they would run alone."""
    longest: dict[Path, float] = {}
    for item in items:
        longest[item.path] = max(longest.get(item.path, 0.0), _limit_s(item))
    items.sort(key=lambda item: -longest[item.path])


def _limit_s(item: pytest.Item) -> float:
    marker = item.get_closest_marker("timeout")
    return float(marker.args[0]) if marker else 0.0


@pytest.fixture(scope="session")
def moto_server() -> Iterator[str]:
    """The URL of moto's server, an independent implementation of AWS, in a process of its own.

    Any access key is accepted; queues, buckets and topics of all tests share its one account,
    123456789012.
    """
    program = shutil.which("moto_server")
    if program is None:
        pytest.skip("there is no moto_server: `make setup` installs it")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    command = [program, "--host", "127.0.0.1", "--port", str(port)]
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            _wait_for(f"{url}/moto-api/data.json", process)
            yield url
        finally:
            process.terminate()


def _wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    until_s = time.monotonic() + MOTO_READY_S
    while True:
        try:
            urllib.request.urlopen(url, timeout=MOTO_READY_S).close()
        except OSError:
            assert process.poll() is None, "moto's server ended at its start"
            assert time.monotonic() < until_s, "moto's server does not answer"
            time.sleep(0.05)
        else:
            return


class Skips:
    """Counts skipped tests by reason."""

    def __init__(self) -> None:
        self.by_reason: Counter[str] = Counter()

    def unexpected(self) -> Iterator[str]:
        allowed = (*ALLOWED, *os.environ.get("ALLOW_SKIPS", "").split())
        for reason in self.by_reason:
            if not any(re.search(pattern, reason) for pattern in allowed):
                yield reason

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped and not hasattr(report, "wasxfail"):
            self._count(report.longrepr)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.skipped:
            self._count(report.longrepr)

    def _count(self, longrepr: object) -> None:
        reason = longrepr[2] if isinstance(longrepr, tuple) else str(longrepr)
        self.by_reason[str(reason).removeprefix("Skipped: ")] += 1

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        strict = session.config.getoption("--strict-skips")
        if strict and session.exitstatus == pytest.ExitCode.OK and any(self.unexpected()):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(
        self, terminalreporter: pytest.TerminalReporter, config: pytest.Config
    ) -> None:
        if not self.by_reason:
            return
        unexpected = set(self.unexpected())
        terminalreporter.section("skips by reason")
        for reason, count in self.by_reason.most_common():
            mark = "NOT ALLOWED " if reason in unexpected else ""
            terminalreporter.line(f"{count:5} {mark}{reason}")
        if unexpected and config.getoption("--strict-skips"):
            terminalreporter.line(
                "The run fails for skips that are not allowed. `make tools` gets what the tests "
                "need; ALLOW_SKIPS allows more reasons (regular expressions)."
            )


def pytest_configure(config: pytest.Config) -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # A shell ignores it in what it runs in the background, and so would every child.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    config.pluginmanager.register(Skips(), "skips")
