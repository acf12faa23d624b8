"""Time and memory of work on a device."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Work on a device.

    Attributes:
        seconds: Until it was done, the fastest of several times.
        peak_bytes: Device memory that it took beyond what was there; 0 on a CPU.
    """

    seconds: float
    peak_bytes: int


def measure(work: Callable[[], object], device: torch.device, *, repeats: int = 3) -> Measured:
    """Do something once to warm up, then ``repeats`` times, and wait for each."""
    before = _reset_peak(device)
    times = []
    for _ in range(repeats + 1):
        began_s = time.perf_counter()
        work()
        synchronize(device)
        times.append(time.perf_counter() - began_s)
    return Measured(seconds=min(times[1:]), peak_bytes=_peak(device) - before)


def synchronize(device: torch.device) -> None:
    """Wait until a device has done everything."""
    torch.get_device_module(device).synchronize(device)


def free_bytes(device: torch.device) -> int:
    """Return the memory of a device that nobody uses, with what torch keeps of it for later.

    0 for a CPU, whose memory is not a device's.
    """
    if device.type != "cuda":
        return 0
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + kept


def _reset_peak(device: torch.device) -> int:
    if device.type != "cuda":
        return 0
    torch.cuda.reset_peak_memory_stats(device)
    return torch.cuda.memory_allocated(device)


def _peak(device: torch.device) -> int:
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0
