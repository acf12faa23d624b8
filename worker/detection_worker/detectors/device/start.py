"""What is found out about a GPU at the start: precision, size of a batch, what runs faster."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import numpy as np
import torch
from torch import Tensor

from detection_worker.core import batch_size
from detection_worker.core.batch_size import PassCost
from detection_worker.core.golden import ScoreChange
from detection_worker.core.sampling import frames_per_unit
from detection_worker.detectors.base import DeviceLost, Precision, Units
from detection_worker.detectors.device import timing
from detection_worker.detectors.device.buffers import Buffers
from detection_worker.detectors.device.golden import compare_precision, golden_units
from detection_worker.detectors.device.graphs import GraphMaker
from detection_worker.detectors.device.passes import DeviceStreams, Forward, TorchPasses
from detection_worker.detectors.device_errors import is_out_of_memory, lost_device_told
from detection_worker.detectors.self_test import TOLERANCE
from detection_worker.detectors.torch_detector import TorchDetector
from detection_worker.settings import PrecisionChoice

log = logging.getLogger(__name__)

BUDGET_S: Final = 4.0
"""For all detectors together: the worker is to be ready in 15 s. What is not measured by then is
left as it is."""
HALF: Final[tuple[Precision, ...]] = ("float16", "bfloat16")
"""As fast as each other; the first one rounds to an eighth, but overflows earlier."""
PASSES_AT_ONCE: Final = 2
"""One runs, one waits behind it: more would only wait longer."""

MakeGraphs = Callable[[TorchDetector, DeviceStreams], Callable[[Tensor], Forward]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a detector does on a device.

    Attributes:
        batch_units: Most units of one pass.
        cost: Time of a pass.
        unit_bytes: Memory that one more unit takes.
        graphs: Sizes of batches that run as graphs.
        change: What half precision makes of the golden set, the last one tried; None if that was
            not asked.
        asynchronous: Passes on streams give the logits of blocking ones.
    """

    batch_units: int
    cost: PassCost
    unit_bytes: int
    graphs: tuple[int, ...]
    change: ScoreChange | None
    asynchronous: bool


@dataclass(slots=True, kw_only=True, eq=False)
class DeviceStart:
    """Prepares the detectors of one device, within a time.

    Attributes:
        device: Where they are.
        precision: As in the settings.
        batch_units: Most units of one pass; 0 lets measured times decide.
        budget_s: Time for all of them together.
        make_graphs: Makes faster passes; None where there is nothing of the kind.
        clock_s: Monotonic.
    """

    device: torch.device
    precision: PrecisionChoice = "float32"
    batch_units: int = 0
    budget_s: float = BUDGET_S
    make_graphs: MakeGraphs | None = None
    clock_s: Callable[[], float] = time.perf_counter
    streams: DeviceStreams = field(init=False)
    buffers: Buffers = field(init=False)

    def __post_init__(self) -> None:
        self.streams = DeviceStreams(self.device)
        self.buffers = Buffers(self.device, count=PASSES_AT_ONCE)
        if self.make_graphs is None and self.device.type == "cuda":
            self.make_graphs = GraphMaker

    def prepare(self, detector: TorchDetector) -> Found | None:
        """Give a detector its precision, size of batch and asynchronous form.

        None if that failed: it then scores as it would without.

        Raises:
            DeviceLost: The device answers no more.
        """
        try:
            with lost_device_told(self.device):
                return self._prepare(detector)
        except DeviceLost:
            raise
        except Exception:
            log.warning("%s: the device is not measured", detector.card.name, exc_info=True)
            return None

    def _prepare(self, detector: TorchDetector) -> Found:
        began_s = self.clock_s()
        change = self._choose_precision(detector)
        times, unit_bytes = self._measure(detector)
        cost = batch_size.fit_cost(times)
        detector.batch_units = self._batch_units(cost, unit_bytes, measured=times[-1][0])
        graphs = self._graphs(detector, dict(times))
        passes = TorchPasses(detector, streams=self.streams, buffers=self.buffers, graphs=graphs)
        agrees = _agrees(detector, passes)
        if agrees:
            detector.passes = passes
        found = Found(
            batch_units=detector.batch_units,
            cost=cost,
            unit_bytes=unit_bytes,
            graphs=tuple(graphs),
            change=change,
            asynchronous=agrees,
        )
        self.budget_s -= self.clock_s() - began_s
        _tell(detector, found)
        return found

    def _choose_precision(self, detector: TorchDetector) -> ScoreChange | None:
        if self.precision != "auto":
            detector.use_precision(self.precision)
            return None
        for half in HALF:
            change = compare_precision(detector, half)
            if change.holds:
                detector.use_precision(half)
                break
        return change

    def _measure(self, detector: TorchDetector) -> tuple[list[tuple[int, float]], int]:
        """Return the times of passes by size, and the memory that one unit takes."""
        most = self.batch_units or batch_size.GPU_UNITS
        most = max(1, most // frames_per_unit(detector.card.sampling))
        until_s = self.clock_s() + self.budget_s / 4
        times: list[tuple[int, float]] = []
        unit_bytes = 0
        for size in batch_size.buckets(most):
            units = self._example(detector, size)
            try:
                measured = timing.measure(partial(detector.forward, units), self.device)
            except Exception as exc:
                if not is_out_of_memory(exc) or not times:
                    raise
                break
            times.append((size, measured.seconds))
            unit_bytes = max(0, measured.peak_bytes // size)
            if self.clock_s() > until_s:
                break
        return times, unit_bytes

    def _batch_units(self, cost: PassCost, unit_bytes: int, *, measured: int) -> int:
        fits = batch_size.units_in_memory(
            free_bytes=timing.free_bytes(self.device), unit_bytes=unit_bytes, most=measured
        )
        if self.batch_units:
            return min(fits, self.batch_units)
        wanted = batch_size.efficient_units(cost, most=fits)
        # The sizes that were measured, and that graphs are made for.
        return batch_size.bucket_of(wanted, batch_size.buckets(fits)) or fits

    def _graphs(self, detector: TorchDetector, plain_s: dict[int, float]) -> dict[int, Forward]:
        """Return graphs from the smallest size up to the first that gains nothing."""
        found: dict[int, Forward] = {}
        if self.make_graphs is None:
            return found
        make = self.make_graphs(detector, self.streams)
        until_s = self.clock_s() + self.budget_s / 4
        for size in batch_size.buckets(detector.batch_units):
            if self.clock_s() > until_s or size not in plain_s:
                break
            try:
                graph = make(self._example(detector, size))
                units = self._example(detector, size)
                with self.streams.use(self.streams.computing):
                    measured = timing.measure(partial(graph, units), self.device)
            except Exception as exc:  # noqa: BLE001 - the plain way remains
                log.info("%s: no graph of %d units: %s", detector.card.name, size, exc)
                break
            if not batch_size.is_gain(plain_s[size], measured.seconds):
                break
            found[size] = graph
        return found

    def _example(self, detector: TorchDetector, size: int) -> Tensor:
        units = golden_units(detector.card.sampling)
        return torch.from_numpy(np.resize(units, (size, *units.shape[1:]))).to(self.device)


def _agrees(detector: TorchDetector, passes: TorchPasses) -> bool:
    """Return whether passes on streams give what ``logits`` gives; if not, they stay unused."""
    units: Units = golden_units(detector.card.sampling)[: detector.batch_units]
    there = passes.gather([units]).submit().result()
    here = detector.logits(units)
    off = float(np.abs(there - here).max())
    if off <= TOLERANCE["cuda"]:
        return True
    log.warning("%s: passes on streams are off by %g: not used", detector.card.name, off)
    return False


def _tell(detector: TorchDetector, found: Found) -> None:
    log.info(
        "%s on the device: %s, up to %d units a pass, %.2f ms + %.3f ms a unit, graphs for %s",
        detector.card.name,
        detector.card.precision,
        found.batch_units,
        1000 * found.cost.fixed_s,
        1000 * found.cost.unit_s,
        list(found.graphs) or "no size",
    )
