"""CPU time of processes, from ``/proc``."""

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_TICKS_S: Final = os.sysconf("SC_CLK_TCK")
_UTIME: Final = 11
"""Place of the first of four times (own user and system, those of children that were waited for)
after the name: proc(5), ``/proc/pid/stat``."""


_FEEDER: Final = b"feeders.feeder"
"""In the command line of a feeder."""


def tree_cpu_s(pid: int) -> float:
    """Return the CPU seconds of a process and of all that descend from it, ended ones included.

    Counts in ticks of 10 ms. What ended, and was not waited for yet, is missing; so is all of a
    process that is gone.
    """
    return sum(_ticks(pid)) / _TICKS_S + sum(map(tree_cpu_s, children_of(pid)))


def own_cpu_s(pid: int) -> float:
    """Return the CPU seconds of a process alone, in ticks of 10 ms; 0 once it is gone."""
    return sum(_ticks(pid)[:2]) / _TICKS_S


def children_of(pid: int) -> list[int]:
    """Return the process ids of a process's children; none once it is gone."""
    found: list[int] = []
    with suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with suppress(OSError):  # a thread may end meanwhile
                found += map(int, (thread / "children").read_text().split())
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerCpu:
    """CPU seconds of a worker's processes so far.

    Attributes:
        device: Its main process.
        feeders: Its feeders, without their decoders.
        decoders: All others; those that were replaced count too.
        feeder_count: How many feeders there are.
    """

    device: float
    feeders: float
    decoders: float
    feeder_count: int

    def since(self, other: "WorkerCpu") -> "WorkerCpu":
        """Return what was added."""
        return WorkerCpu(
            device=self.device - other.device,
            feeders=self.feeders - other.feeders,
            decoders=self.decoders - other.decoders,
            feeder_count=self.feeder_count,
        )


def worker_cpu(pid: int) -> WorkerCpu:
    """Return the CPU seconds of ``detection-worker consume``, by its main process's id."""
    device = own_cpu_s(pid)
    fed = [own_cpu_s(child) for child in children_of(pid) if _FEEDER in _command(child)]
    others = tree_cpu_s(pid) - device - sum(fed)
    return WorkerCpu(device=device, feeders=sum(fed), decoders=others, feeder_count=len(fed))


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:  # it ended just now
        return b""


def _ticks(pid: int) -> list[int]:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
    return [int(ticks) for ticks in fields[_UTIME : _UTIME + 4]]
