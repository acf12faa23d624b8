"""Contenders as processes: started alike, stopped, and their CPU told apart."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from detection_testing.aws.local_aws import LocalAws
from detection_testing.cpu import tree_cpu_s
from throughput.threads import REPORT

FOLDER: Final = Path(__file__).parents[1]
OPENMP: Final = {"OMP_WAIT_POLICY": "PASSIVE"}
"""For all contenders: threads that spin between two layers burn what others would use."""
STOP_S: Final = 60.0
DECODERS: Final = "decoders"


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A contender that was started.

    Attributes:
        stop: Ends it.
        ended: Whether it ended by itself.
        cpu_s: CPU seconds of its processes so far.
        stages: The same by what they were spent on; empty if that is not known.
    """

    stop: Callable[[], None]
    ended: Callable[[], bool]
    cpu_s: Callable[[], float]
    stages: Callable[[], Mapping[str, float]] = field(default=dict)


def worker(
    aws: LocalAws,
    models_dir: Path,
    *options: str,
    core: int | None = None,
    environment: Mapping[str, str] | None = None,
    report: Path | None = None,
) -> Callable[[str], Running]:
    """Return how to run ``detection-worker consume`` with its defaults and these options.

    Args:
        aws: What it works with.
        models_dir: Its models.
        options: Further ones of the command; they win.
        core: The only core that it may use; None for all.
        environment: Further variables.
        report: Where it writes the CPU of its threads; None leaves its stages unknown.
    """

    def start(queue_url: str) -> Running:
        module = "detection_worker" if report is None else "throughput.threads"
        watched = {} if report is None else {REPORT: str(report)}
        process = _started(
            [
                *(sys.executable, "-P", "-m", module, "consume"),
                *("--queue-url", queue_url),
                *("--endpoint-url", aws.endpoint_url),
                *("--models-dir", str(models_dir)),
                *("--wait-time", "2"),
                "--callback-allow-private",
                *options,
            ],
            {**aws.environment(), "LOG_LEVEL": "WARNING", **watched, **(environment or {})},
            core=core,
        )
        if report is None:
            return _running(process)
        return _running(process, stages=lambda: _stages(report, process.pid))

    return start


def contender(
    aws: LocalAws, models_dir: Path, name: str, *, threads: int
) -> Callable[[str], Running]:
    """Return how to run a loop of ``throughput.contenders`` on a queue."""

    def start(queue_url: str) -> Running:
        options = ["--queue-url", queue_url, "--threads", str(threads)]
        return _running(_started(_command(name, models_dir, *options), aws.environment()))

    return start


def limit(models_dir: Path, folder: Path, *, count: int) -> tuple[list[float], float]:
    """Return when each of ``count`` files was decoded and scored, and its CPU ms."""
    options = ["--folder", str(folder), "--count", str(count)]
    ended = subprocess.run(
        _command("limit", models_dir, *options),
        env=_environment({}),
        stdout=subprocess.PIPE,
        check=True,
    )
    found = json.loads(ended.stdout)
    return found["times"], found["cpu_ms"]


@contextmanager
def pinned(core: int | None) -> Iterator[None]:
    """Run on one core meanwhile, this thread and what it starts; None changes nothing."""
    before = os.sched_getaffinity(0)
    if core is not None:
        os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _command(name: str, models_dir: Path, *options: str) -> list[str]:
    module = "throughput.contenders"
    return [sys.executable, "-P", "-m", module, name, "--models-dir", str(models_dir), *options]


def _environment(more: Mapping[str, str]) -> dict[str, str]:
    paths = os.pathsep.join([str(FOLDER), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, **OPENMP, "PYTHONPATH": paths, **more}


def _started(
    command: list[str], environment: Mapping[str, str], *, core: int | None = None
) -> subprocess.Popen[bytes]:
    with pinned(core):  # a process has the cores of the thread that starts it
        return subprocess.Popen(command, env=_environment(environment))


def _running(
    process: subprocess.Popen[bytes], *, stages: Callable[[], Mapping[str, float]] = dict
) -> Running:
    def stop() -> None:
        process.send_signal(signal.SIGTERM)
        if process.wait(STOP_S) != 0:
            raise SystemExit(f"a contender did not end cleanly: {process.args!r}")

    return Running(
        stop=stop,
        ended=lambda: process.poll() is not None,
        cpu_s=lambda: tree_cpu_s(process.pid),
        stages=stages,
    )


def _stages(report: Path, pid: int) -> Mapping[str, float]:
    """Return CPU seconds by stage: of the threads as last written, and of the decoders."""
    if not report.exists():
        return {}
    threads: dict[str, float] = json.loads(report.read_text())
    return threads | {DECODERS: tree_cpu_s(pid) - sum(threads.values())}
