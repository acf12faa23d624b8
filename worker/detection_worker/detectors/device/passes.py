"""Forward passes on streams of their own: copies to the device, kernels, logits by event."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from detection_worker.core.batch_size import bucket_of
from detection_worker.detectors.base import Units
from detection_worker.detectors.device.buffers import Buffer, Buffers, owned
from detection_worker.detectors.device_errors import is_out_of_memory, lost_device_told
from detection_worker.detectors.torch_detector import TorchDetector

Forward = Callable[[Tensor], Tensor]
"""From units on the device to their logits there."""


class DeviceStreams:
    """Where a device copies, and where it computes; on a CPU both are the caller.

    Args:
        device: Any of torch's.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._module: Any = torch.get_device_module(device)
        self.copying = self._stream()
        self.computing = self._stream()

    def use(self, stream: Any) -> AbstractContextManager[None]:
        """Send what the calling thread starts within to a stream."""
        used: AbstractContextManager[None] = self._module.stream(stream)
        return used

    def event(self) -> Any:
        """Return an event; waiting for it leaves the core to others."""
        if self.device.type == "cuda":
            return torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call] # torch's
        return self._module.Event()

    def _stream(self) -> Any:
        if self.device.type == "cuda":
            return torch.cuda.Stream(self.device)  # type: ignore[no-untyped-call] # torch's
        return torch.cpu.Stream()


class TorchPasses:
    """The asynchronous form of a detector; see ``DevicePasses``.

    Args:
        detector: Its network lies on the device.
        streams: Those of the device, for all its detectors.
        buffers: Those of the device, for all its detectors.
        graphs: Faster ways for some sizes of batches, by size; smaller batches are filled up.
    """

    def __init__(
        self,
        detector: TorchDetector,
        *,
        streams: DeviceStreams,
        buffers: Buffers,
        graphs: dict[int, Forward] | None = None,
    ) -> None:
        self._detector = detector
        self._streams = streams
        self._buffers = buffers
        self._graphs = graphs or {}
        self._sizes = sorted(self._graphs)

    @property
    def batch_units(self) -> int:
        """Most units of one pass at present."""
        return self._detector.batch_units

    @property
    def at_once(self) -> int:
        """Passes that may be gathered or under way at once."""
        return self._buffers.count

    def gather(self, parts: Sequence[Units]) -> "TorchGathered":
        """Copy units to the device; see ``DevicePasses``.

        Raises:
            ValueError: If the units are not of the shape and type of the card's sampling.
            MemoryError: There is none left for so many units.
            DeviceLost: The device answers no more.
        """
        for part in parts:
            self._detector.check(part)
        units = sum(map(len, parts))
        buffer = self._buffers.take()
        try:
            with lost_device_told(self._streams.device), self._streams.use(self._streams.copying):
                here, there = buffer.fill(parts)
                there.copy_(here, non_blocking=True)
                copied = self._streams.event()
                copied.record(self._streams.copying)
            return TorchGathered(passes=self, buffer=buffer, units=there, copied=copied)
        except Exception as exc:
            self._buffers.give_back(buffer)
            if not is_out_of_memory(exc):
                raise
        raise self._no_memory(units)

    def submit(self, gathered: "TorchGathered") -> "TorchPending":
        """Start a pass; see ``GatheredUnits``.

        Raises:
            MemoryError: The device has none left for so many units.
            DeviceLost: The device answers no more.
        """
        units, buffer = len(gathered.units), gathered.buffer
        try:
            with (
                lost_device_told(self._streams.device),
                self._streams.use(self._streams.computing),
            ):
                self._streams.computing.wait_event(gathered.copied)
                logits = buffer.logits(units)
                with torch.inference_mode():
                    logits.copy_(self._way(units)(gathered.units), non_blocking=True)
                done = self._streams.event()
                done.record(self._streams.computing)
            return TorchPending(buffers=self._buffers, buffer=buffer, logits=logits, done=done)
        except Exception as exc:
            self._buffers.give_back(buffer)
            if not is_out_of_memory(exc):
                raise
        raise self._no_memory(units)

    def _no_memory(self, units: int) -> MemoryError:
        """Learn; the error is a new one, for the first one's frames hold what was computed."""
        self._detector.learn_no_memory(units)
        return MemoryError(f"no memory on the device for {units} units in one pass")

    def _way(self, units: int) -> Forward:
        size = bucket_of(units, self._sizes)
        return self._detector.forward if size is None else self._graphs[size]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TorchGathered:
    """Units on their way to the device.

    Attributes:
        passes: That they were gathered by.
        buffer: What they lie in.
        units: There, on the device.
        copied: When they are there.
    """

    passes: TorchPasses
    buffer: Buffer
    units: Tensor
    copied: Any

    def submit(self) -> "TorchPending":
        """Start the forward pass; see ``GatheredUnits``."""
        return self.passes.submit(self)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TorchPending:
    """A pass under way.

    Attributes:
        buffers: Where the buffer goes back to.
        buffer: What its units lie in.
        logits: Where the logits will be.
        done: When they are there.
    """

    buffers: Buffers
    buffer: Buffer
    logits: Tensor
    done: Any

    def result(self) -> NDArray[np.float32]:
        """Wait for the logits; see ``PendingLogits``.

        Raises:
            DeviceLost: The device answers no more.
        """
        try:
            with lost_device_told(self.buffers.device):
                self.done.synchronize()
            return owned(self.logits)
        finally:
            self.buffers.give_back(self.buffer)
