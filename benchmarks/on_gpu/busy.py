"""How busy a GPU is, and how much of its memory is taken."""

import shutil
import subprocess
import threading
from collections.abc import Callable
from functools import partial
from typing import Final

from on_gpu.plan import Plan

SAMPLE_S: Final = 0.2


def nvidia_smi(fields: str, *, index: int = 0) -> list[str]:
    """Return what nvidia-smi says of a GPU; nothing if there is no such program."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    command = [program, f"--id={index}", f"--query-gpu={fields}", "--format=csv,noheader,nounits"]
    said = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    return [part.strip() for line in said.stdout.splitlines()[:1] for part in line.split(",")]


class BusyShare:
    """Samples a GPU: share of the time in which a kernel ran, and memory in use."""

    def __init__(self, plan: Plan) -> None:
        self._read = _reader(plan) if plan.cuda else None
        self._shares: list[float] = []
        self._memory: list[float] = []
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> "BusyShare":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def forget(self) -> None:
        """Begin again."""
        self._shares.clear()
        self._memory.clear()

    @property
    def share(self) -> float | None:
        """Mean since the samples were last forgotten; None if it cannot be told."""
        shares = list(self._shares)
        return sum(shares) / len(shares) if shares else None

    @property
    def memory_mib(self) -> float | None:
        """The most that was in use, by all processes."""
        return max(self._memory, default=None)

    def _sample(self) -> None:
        while self._read is not None and not self._end.wait(SAMPLE_S):
            share, memory = self._read()
            self._memory.append(memory)
            if share is not None:
                self._shares.append(share)


Reading = tuple[float | None, float]
"""Busy share, if it can be told, and MiB in use."""


def _reader(plan: Plan) -> Callable[[], Reading]:
    """Return the first way to read a GPU that works here; MIG slices tell no busy share."""
    index = int(plan.device.partition(":")[2] or 0)
    for make in (_by_library, _by_program):
        try:
            read = make(index)
            read()
        except Exception:  # noqa: BLE001 - NVML raises its own; the next way may work
            continue
        return read
    return partial(_by_torch, plan.device)


def _by_library(index: int) -> Callable[[], Reading]:
    import pynvml  # type: ignore[import-not-found] # nvidia-ml-py

    pynvml.nvmlInit()
    handle = pynvml.nvmlDeviceGetHandleByIndex(index)

    def read() -> Reading:
        share = pynvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100
        return share, pynvml.nvmlDeviceGetMemoryInfo(handle).used / 2**20

    return read


def _by_program(index: int) -> Callable[[], Reading]:
    def read() -> Reading:
        share, memory = nvidia_smi("utilization.gpu,memory.used", index=index)
        return float(share) / 100, float(memory)

    return read


def _by_torch(device_name: str) -> Reading:
    import torch

    free, total = torch.cuda.mem_get_info(torch.device(device_name))
    return None, (total - free) / 2**20
