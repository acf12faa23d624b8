"""The processor cores that this process may use, and how its idle threads leave them alone."""

import math
import os
from pathlib import Path

CGROUP_CPU_MAX = Path("/sys/fs/cgroup/cpu.max")
"""Quota and period in microseconds, or ``max`` (Linux, control group v2)."""


def usable_cores(cpu_max: Path = CGROUP_CPU_MAX) -> int:
    """Return the number of cores within CPU affinity and the container's CPU limit, at least 1.

    ``os.cpu_count`` counts the cores of the node: a pod limited to two of 96 would start 96
    decoders.

    Args:
        cpu_max: File with the control group's limit; missing or unreadable means no limit.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    try:
        quota, period = cpu_max.read_text().split()
        limit = math.ceil(int(quota) / int(period))
    except (OSError, ValueError):
        return max(1, allowed or 1)
    return max(1, min(allowed or 1, limit))


def let_idle_threads_sleep() -> None:
    """Have the threads of a forward pass sleep between its layers; call it before torch is loaded.

    By default they spin, on cores that decoding and networking need. ``OMP_WAIT_POLICY`` of the
    user's own wins.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
