"""Passes in parts give what blocking ones give, whatever happens to earlier ones."""

from typing import Any

import numpy as np
import pytest
import torch

from detection_worker.detectors.base import DeviceLost, Units
from detection_worker.detectors.device.buffers import Buffers
from detection_worker.detectors.device.golden import golden_units
from detection_worker.detectors.device.passes import DeviceStreams, TorchPasses
from detection_worker.detectors.device_errors import is_out_of_memory, lost_device_told
from detection_worker.detectors.torch_detector import TorchDetector

CPU = torch.device("cpu")


def passes_of(detector: TorchDetector, **graphs: Any) -> TorchPasses:
    return TorchPasses(
        detector, streams=DeviceStreams(CPU), buffers=Buffers(CPU, count=2), **graphs
    )


def units_of(detector: TorchDetector) -> Units:
    return golden_units(detector.card.sampling)


@pytest.mark.parametrize("sound", [False, True])
def test_the_logits_are_those_of_a_blocking_pass(make: Any, *, sound: bool) -> None:
    detector, _ = make(sound=sound)
    units = units_of(detector)

    got = passes_of(detector).gather([units[:3], units[3:4], units[4:]]).submit().result()

    assert got.dtype == np.float32
    assert (got == detector.logits(units)).all()


def test_two_may_be_under_way_and_buffers_are_used_again(make: Any) -> None:
    detector, _ = make()
    passes, units = passes_of(detector), units_of(detector)
    wanted = detector.logits(units)

    first, second = passes.gather([units[:5]]).submit(), passes.gather([units[5:]]).submit()
    got = [first.result()]
    third = passes.gather([units[:1]]).submit()
    got += [second.result(), third.result()]

    assert passes.at_once == 2
    assert (np.concatenate(got) == np.concatenate([wanted, wanted[:1]])).all()


def test_units_of_another_shape_take_no_buffer(make: Any) -> None:
    detector, _ = make()
    passes = passes_of(detector)

    for _ in range(3):
        with pytest.raises(ValueError, match="wants uint8 units of shape"):
            passes.gather([np.zeros((1, 4, 4, 3), np.uint8)])

    assert len(passes.gather([units_of(detector)]).submit().result()) == len(units_of(detector))


def test_a_pass_without_memory_makes_later_ones_smaller(make: Any) -> None:
    detector, network = make()
    network.no_memory_above = 5
    passes, units = passes_of(detector), units_of(detector)

    for _ in range(3):  # more than there are buffers
        with pytest.raises(MemoryError, match="no memory on the device for 8 units"):
            passes.gather([units[:8]]).submit()

    assert passes.batch_units == detector.batch_units == 4
    assert len(passes.gather([units[:4]]).submit().result()) == 4


def test_an_error_of_a_network_costs_no_buffer(make: Any, monkeypatch: Any) -> None:
    detector, _ = make()
    passes, units = passes_of(detector), units_of(detector)
    with monkeypatch.context() as patch:
        patch.setattr(detector, "forward", lambda x: x.reshape(7, 7))
        for _ in range(3):
            with pytest.raises(RuntimeError, match="shape"):
                passes.gather([units]).submit()

    assert (passes.gather([units]).submit().result() == detector.logits(units)).all()


def test_a_batch_is_filled_up_to_the_next_size_that_runs_faster(make: Any) -> None:
    detector, network = make()
    static = torch.zeros((4, 8, 8, 3), dtype=torch.uint8)

    def replay(units: torch.Tensor) -> torch.Tensor:
        static[: len(units)].copy_(units)
        logits: torch.Tensor = detector.forward(static)[: len(units)]
        return logits

    passes, units = passes_of(detector, graphs={4: replay}), units_of(detector)
    wanted = detector.logits(units)
    network.passes.clear()

    got = [passes.gather([units[:n]]).submit().result() for n in (4, 2, 3, 5)]

    assert network.passes == [4, 4, 4, 5]
    for logits in got:
        np.testing.assert_allclose(logits, wanted[: len(logits)], atol=1e-6)


def test_blocking_passes_halve_until_they_fit(make: Any) -> None:
    detector, network = make()
    units = np.tile(units_of(detector), (2, 1, 1, 1))
    wanted = detector.logits(units)
    network.no_memory_above = 10
    network.passes.clear()

    assert (detector.logits(units) == wanted).all()
    assert network.passes[:4] == [64, 32, 16, 8]
    assert (detector.logits(units[:16]) == wanted[:16]).all()
    assert network.passes[-2:] == [8, 8]


def test_units_that_overflow_in_half_precision_are_scored_in_full(make: Any) -> None:
    detector, network = make()
    units = units_of(detector)
    with torch.no_grad():
        network.layer.weight.fill_(1e4)
    wanted = detector.logits(units)
    detector.use_precision("float16")
    with torch.inference_mode():
        assert not detector.forward(torch.from_numpy(units)).isfinite().all()

    assert (detector.logits(units) == wanted).all()
    assert detector.card.precision == "float16"


def test_a_unit_that_does_not_fit_by_itself_fails(make: Any) -> None:
    detector, network = make()
    network.no_memory_above = 0

    with pytest.raises(torch.OutOfMemoryError):
        detector.logits(units_of(detector))
    assert detector.batch_units == 1


@pytest.mark.parametrize(
    ("error", "no_memory"),
    [
        (torch.OutOfMemoryError("x"), True),
        (MemoryError(), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_errors_that_a_smaller_batch_may_not_have(error: Exception, *, no_memory: bool) -> None:
    assert is_out_of_memory(error) is no_memory


def test_a_device_is_lost_when_it_answers_no_more(monkeypatch: Any) -> None:
    def refuse(_: object) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(torch.cpu, "synchronize", refuse)
    with pytest.raises(DeviceLost, match=r"^illegal access$"), lost_device_told(CPU):
        raise torch.AcceleratorError("illegal access\nCompile with TORCH_USE_CUDA_DSA")


@pytest.mark.parametrize("text", ["invalid configuration argument", "out of memory"])
def test_an_error_that_passes_with_its_batch_is_raised_as_it_is(text: str) -> None:
    with pytest.raises(torch.AcceleratorError, match=text), lost_device_told(CPU):
        raise torch.AcceleratorError(text)
