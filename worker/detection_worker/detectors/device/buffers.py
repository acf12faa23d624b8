"""Memory that units and logits pass through, made once and used again."""

import queue
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from detection_worker.detectors.base import Units


class Buffer:
    """Room for the units of one pass here and on the device, and for its logits here.

    On a GPU both parts here are pinned: a copy out of other memory would wait.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._pinned = device.type == "cuda"
        self._here = self._host(0, torch.uint8)
        self._there = torch.empty(0, dtype=torch.uint8, device=device)
        self._logits = self._host(0, torch.float32)

    def fill(self, parts: Sequence[Units]) -> tuple[Tensor, Tensor]:
        """Copy units into the part here; return them, and room for as many on the device."""
        shape = (sum(len(part) for part in parts), *parts[0].shape[1:])
        dtype = torch.uint8 if parts[0].dtype == np.uint8 else torch.float32
        size = int(np.prod(shape)) * dtype.itemsize
        if len(self._here) < size:
            self._here = self._host(size, torch.uint8)
            self._there = torch.empty(size, dtype=torch.uint8, device=self._device)
        here, there = (flat[:size].view(dtype).view(shape) for flat in (self._here, self._there))
        array = here.numpy()
        at = 0
        for part in parts:
            array[at : at + len(part)] = part
            at += len(part)
        return here, there

    def logits(self, units: int) -> Tensor:
        """Return room here for the logits of so many units."""
        if len(self._logits) < units:
            self._logits = self._host(units, torch.float32)
        return self._logits[:units]

    def _host(self, size: int, dtype: torch.dtype) -> Tensor:
        return torch.empty(size, dtype=dtype, pin_memory=self._pinned and size > 0)


class Buffers:
    """The buffers of one device, for all its detectors. Thread-safe.

    Args:
        device: Where units go.
        count: Passes that may be gathered or under way at once, >= 1.
    """

    def __init__(self, device: torch.device, *, count: int) -> None:
        self.device = device
        self.count = count
        self._free: queue.SimpleQueue[Buffer] = queue.SimpleQueue()
        for _ in range(count):
            self._free.put(Buffer(device))

    def take(self) -> Buffer:
        """Return one that nobody uses; waits for it."""
        return self._free.get()

    def give_back(self, buffer: Buffer) -> None:
        """Let others use a buffer."""
        self._free.put(buffer)


def owned(logits: Tensor) -> NDArray[np.float32]:
    """Return a copy of logits that lie in a buffer."""
    return np.array(logits.numpy(), dtype=np.float32)
