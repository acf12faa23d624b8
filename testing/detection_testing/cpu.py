"""CPU time of processes, from ``/proc``."""

import os
from pathlib import Path
from typing import Final

_TICKS_S: Final = os.sysconf("SC_CLK_TCK")
_UTIME: Final = 11
"""Place of the first of four times (own user and system, those of children that were waited for)
after the name: proc(5), ``/proc/pid/stat``."""


def tree_cpu_s(pid: int) -> float:
    """Return the CPU seconds of a process and of all that descend from it, ended ones included.

    Counts in ticks of 10 ms. What ended, and was not waited for yet, is missing; so is all of a
    process that is gone.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        threads = list(Path(f"/proc/{pid}/task").iterdir())
        children = [int(each) for t in threads for each in (t / "children").read_text().split()]
    except OSError:
        return 0.0
    own_s = sum(int(ticks) for ticks in fields[_UTIME : _UTIME + 4]) / _TICKS_S
    return own_s + sum(tree_cpu_s(child) for child in children)
