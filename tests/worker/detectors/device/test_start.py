"""What is found out at the start: precision, size of a batch, graphs; and what if it fails."""

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from detection_worker.core import batch_size
from detection_worker.core.golden import ScoreChange
from detection_worker.detectors import registry
from detection_worker.detectors.base import DeviceLost
from detection_worker.detectors.device import golden, start, timing
from detection_worker.detectors.device.start import DeviceStart
from detection_worker.detectors.device.timing import Measured
from detection_worker.settings import AnalysisSettings

CPU = torch.device("cpu")


def times(
    monkeypatch: pytest.MonkeyPatch, seconds: Callable[[int], float], unit_bytes: int = 0
) -> None:
    """Let passes take what the test says: their results are the sizes of their units."""

    def measure(work: Callable[[], Any], device: torch.device, *, repeats: int = 3) -> Measured:
        units = len(work())
        return Measured(seconds=seconds(units), peak_bytes=unit_bytes * units)

    monkeypatch.setattr(timing, "measure", measure)


def test_a_batch_is_as_large_as_the_times_ask_for(make: Any, monkeypatch: Any) -> None:
    detector, _ = make()
    times(monkeypatch, lambda n: 0.003 + 0.001 * n)

    found = DeviceStart(device=CPU).prepare(detector)

    assert found is not None
    assert found.cost.fixed_s == pytest.approx(0.003)
    assert found.cost.unit_s == pytest.approx(0.001)
    # 57 units reach 19/20 of the best rate; 64 is the next size.
    assert detector.batch_units == found.batch_units == 64
    assert detector.passes is not None
    assert found.asynchronous
    assert found.change is None


def test_memory_and_the_setting_bound_it(make: Any, monkeypatch: Any) -> None:
    times(monkeypatch, lambda n: 0.1 + 0.0001 * n, unit_bytes=100)
    monkeypatch.setattr(timing, "free_bytes", lambda _: 4000)
    detectors = [make()[0] for _ in range(2)]

    DeviceStart(device=CPU).prepare(detectors[0])
    DeviceStart(device=CPU, batch_units=12).prepare(detectors[1])

    assert [d.batch_units for d in detectors] == [20, 12]


def test_sizes_without_memory_are_not_tried_further(make: Any, monkeypatch: Any) -> None:
    detector, network = make()
    network.no_memory_above = 40
    times(monkeypatch, lambda n: 0.1 + 0.0001 * n)

    found = DeviceStart(device=CPU).prepare(detector)

    assert found is not None
    assert found.batch_units == 32
    assert max(network.passes) == 64


def test_the_time_is_bounded(make: Any, monkeypatch: Any) -> None:
    detector, _ = make()
    times(monkeypatch, lambda n: 0.1 + 0.0001 * n)
    now_s = [0.0]

    def clock_s() -> float:
        now_s[0] += 0.3
        return now_s[0]

    found = DeviceStart(device=CPU, budget_s=4.0, clock_s=clock_s).prepare(detector)

    assert found is not None
    assert found.batch_units == 8, "four sizes were measured in a second"
    assert now_s[0] < 4.0


@pytest.mark.parametrize(
    ("graph_s", "sizes"),
    [
        pytest.param(
            lambda n: 0.5e-3 + 0.001 * n, (1, 2, 4, 8, 16, 32), id="gains on small batches"
        ),
        pytest.param(lambda n: 0.003 + 0.001 * n, (), id="no gain"),
    ],
)
def test_graphs_are_kept_where_they_gain(
    make: Any, monkeypatch: Any, graph_s: Callable[[int], float], sizes: tuple[int, ...]
) -> None:
    detector, _ = make()
    times(monkeypatch, lambda n: 0.003 + 0.001 * n)
    plain = timing.measure

    class Graph:
        def __init__(self, example: torch.Tensor) -> None:
            self._example = example

        def __call__(self, units: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = detector.forward(units)
            return logits

    def measure(work: Any, device: torch.device) -> Measured:
        found = plain(work, device)
        if isinstance(work.func, Graph):
            return Measured(seconds=graph_s(len(work.args[0])), peak_bytes=0)
        return found

    monkeypatch.setattr(timing, "measure", measure)

    found = DeviceStart(device=CPU, make_graphs=lambda *_: Graph).prepare(detector)

    assert found is not None
    assert found.graphs == sizes
    assert found.asynchronous


def test_a_network_that_cannot_be_captured_runs_without(make: Any, monkeypatch: Any) -> None:
    detector, _ = make()
    times(monkeypatch, lambda n: 0.003 + 0.001 * n)

    def refuse(_: torch.Tensor) -> Any:
        raise RuntimeError("operation not permitted when stream is capturing")

    found = DeviceStart(device=CPU, make_graphs=lambda *_: refuse).prepare(detector)

    assert found is not None
    assert (found.graphs, found.asynchronous) == ((), True)


def test_passes_with_other_logits_are_not_used(
    make: Any, monkeypatch: Any, caplog: pytest.LogCaptureFixture
) -> None:
    detector, _ = make()
    times(monkeypatch, lambda n: 0.003 + 0.001 * n)
    wrong = lambda units: detector.forward(units) + 1  # noqa: E731 - a graph
    monkeypatch.setattr(batch_size, "is_gain", lambda *_: True)

    found = DeviceStart(device=CPU, make_graphs=lambda *_: lambda _: wrong).prepare(detector)

    assert found is not None
    assert (found.asynchronous, detector.passes) == (False, None)
    assert "passes on streams are off by 1" in caplog.text


def test_what_cannot_be_measured_scores_as_before(
    make: Any, monkeypatch: Any, caplog: pytest.LogCaptureFixture
) -> None:
    detector, _ = make()

    def broken(*_: object) -> None:
        raise RuntimeError("no events here")

    monkeypatch.setattr(timing, "measure", broken)

    assert DeviceStart(device=CPU).prepare(detector) is None
    assert detector.passes is None
    assert len(detector.logits(golden.golden_units(detector.card.sampling))) == 32
    assert "the device is not measured" in caplog.text


def test_a_device_lost_at_the_start_is_told(make: Any, monkeypatch: Any) -> None:
    detector, _ = make()

    def lost(*_: object) -> None:
        raise DeviceLost("gone")

    monkeypatch.setattr(timing, "measure", lost)

    with pytest.raises(DeviceLost):
        DeviceStart(device=CPU).prepare(detector)


@pytest.mark.parametrize(
    ("holding", "precision"),
    [
        (("float16", "bfloat16"), "float16"),
        (("bfloat16",), "bfloat16"),
        ((), "float32"),
    ],
)
def test_half_precision_is_taken_where_scores_hold(
    make: Any, monkeypatch: Any, holding: tuple[str, ...], precision: str
) -> None:
    detector, _ = make()
    times(monkeypatch, lambda n: 0.003 + 0.001 * n)

    def compare(_: object, half: str) -> ScoreChange:
        return ScoreChange(files=32, delta=0.001, flips=0 if half in holding else 1)

    monkeypatch.setattr(start, "compare_precision", compare)

    found = DeviceStart(device=CPU, precision="auto").prepare(detector)

    assert found is not None
    assert found.change is not None
    assert found.change.holds is (precision != "float32")
    assert detector.card.precision == precision


@pytest.mark.parametrize("sound", [False, True])
def test_the_golden_set_is_scored_in_both_and_the_precision_stays(
    make: Any, *, sound: bool
) -> None:
    detector, _ = make(sound=sound)

    change = golden.compare_precision(detector, "bfloat16")

    assert change.files == 32
    assert 0 < change.delta < 0.01
    assert detector.card.precision == "float32"


def test_golden_units_are_no_two_alike_and_valid(make: Any) -> None:
    for sound in (False, True):
        detector, _ = make(sound=sound)
        units = golden.golden_units(detector.card.sampling)
        detector.check(units)
        assert len(np.unique(units.reshape(len(units), -1), axis=0)) == len(units)


def test_the_setting_reaches_the_network_and_its_card(make_model: Any) -> None:
    models_dir = make_model("a").parent

    cards = {
        choice: registry.load_detectors(
            models_dir, analysis=AnalysisSettings(precision=choice)
        ).cards[0]
        for choice in ("auto", "float32", "float16", "bfloat16")
    }

    assert {choice: card.precision for choice, card in cards.items()} == {
        "auto": "float32",
        "float32": "float32",
        "float16": "float16",
        "bfloat16": "bfloat16",
    }


def test_what_was_found_is_logged(
    make: Any, monkeypatch: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    detector, _ = make()
    times(monkeypatch, lambda n: 0.003 + 0.001 * n)

    DeviceStart(device=CPU).prepare(detector)

    assert (
        "tiny on the device: float32, up to 64 units a pass, 3.00 ms + 1.000 ms a unit, "
        "graphs for no size" in caplog.text
    )
