"""The same on a GPU as on a CPU, and what only a GPU can show.

Where a test means something on a CPU it runs there too, so that it is known to run.
"""

import gc
import os
import re
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from detection_testing.gpu_memory import little_memory
from detection_testing.samples import sample_path
from detection_worker.api import EnhancedDeepfakePredictor
from detection_worker.detectors import registry
from detection_worker.detectors.base import Units
from detection_worker.detectors.device.golden import compare_precision, golden_units
from detection_worker.detectors.device.start import DeviceStart
from detection_worker.detectors.model_folder.listing import bundled_models_dir
from detection_worker.detectors.self_test import TOLERANCE
from detection_worker.detectors.torch_detector import TorchDetector
from detection_worker.errors import UsageError

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]
gpu = pytest.mark.gpu

LOSE_THE_DEVICE = """
import numpy as np, torch
from detection_worker.detectors.base import DeviceLost
from detection_worker.detectors.registry import load_detectors
from detection_worker.detectors.model_folder.listing import bundled_models_dir
from detection_worker.detectors.device.golden import golden_units

detector = next(iter(load_detectors(bundled_models_dir(), device="cuda").by_kind.values()))
units = golden_units(detector.card.sampling)
torch.zeros(1, device="cuda")[torch.tensor([7], device="cuda")]
for use in (detector.logits, lambda u: detector.passes.gather([u]).submit().result()):
    try:
        use(units)
    except DeviceLost:
        print("lost")
"""


@pytest.fixture(autouse=True)
def a_gpu_if_it_is_needed(request: pytest.FixtureRequest) -> None:
    if request.node.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("no CUDA device")


def loaded(device: str) -> list[TorchDetector]:
    found = registry.load_detectors(bundled_models_dir(), device=device).by_kind.values()
    return [detector for detector in found if isinstance(detector, TorchDetector)]


def prepared(device: str) -> list[TorchDetector]:
    """Detectors with their passes, which on a CPU are made for the test alone."""
    detectors = loaded(device)
    if device == "cpu":
        start = DeviceStart(device=torch.device("cpu"), batch_units=8, budget_s=1.0)
        for detector in detectors:
            start.prepare(detector)
    return detectors


@pytest.fixture(scope="module")
def exact() -> dict[str, Any]:
    return {d.card.name: d.logits(golden_units(d.card.sampling)) for d in loaded("cpu")}


@gpu
def test_logits_are_those_of_a_cpu(exact: dict[str, Any]) -> None:
    for detector in prepared("cuda"):
        got = detector.logits(golden_units(detector.card.sampling))

        assert np.abs(got - exact[detector.card.name]).max() <= TOLERANCE["cuda"]


@pytest.mark.slow
@pytest.mark.parametrize("device", DEVICES)
def test_passes_that_overlap_mix_no_units(device: str) -> None:
    random = np.random.default_rng(1)
    for detector in prepared(device):
        assert detector.passes is not None
        units = golden_units(detector.card.sampling)
        wanted = detector.logits(units)
        under_way: list[tuple[Any, Any]] = []
        for _ in range(60 if device == "cuda" else 6):
            size = int(random.integers(1, 1 + min(detector.passes.batch_units, len(units))))
            chosen = random.permutation(len(units))[:size]
            parts: list[Units] = (
                [units[chosen[:1]], units[chosen[1:]]] if size > 1 else [units[chosen]]
            )
            under_way.append((chosen, detector.passes.gather(parts).submit()))
            if len(under_way) == detector.passes.at_once:
                which, pending = under_way.pop(0)
                assert np.abs(pending.result() - wanted[which]).max() <= TOLERANCE[device]
        for which, pending in under_way:
            assert np.abs(pending.result() - wanted[which]).max() <= TOLERANCE[device]


@pytest.mark.slow
@pytest.mark.parametrize("device", DEVICES)
def test_float16_keeps_the_scores_of_the_models_in_the_package(device: str) -> None:
    changes = {d.card.name: compare_precision(d, "float16") for d in loaded(device)}

    assert {name: change for name, change in changes.items() if not change.holds} == {}


@pytest.mark.slow
@pytest.mark.parametrize("device", DEVICES)
def test_a_file_has_the_score_that_it_has_on_a_cpu(device: str) -> None:
    results = []
    for each in ("cpu", device):
        with EnhancedDeepfakePredictor(device=each) as predictor:
            results.append(predictor.predict_auto(sample_path("cat.png")))

    here, there = results
    assert there["label"] == here["label"]
    assert there["prediction_score"] == pytest.approx(here["prediction_score"], abs=0.005)


@pytest.mark.parametrize("device", ["cuda:9", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_a_device_that_cannot_be_seen_stops_the_start(device: str) -> None:
    code = f"from detection_worker.detectors.registry import chosen_device as c; c({device!r})"
    hidden = {**os.environ, "CUDA_VISIBLE_DEVICES": "MIG-00000000-0000-0000-0000-000000000000"}

    done = subprocess.run(
        [sys.executable, "-c", code], env=hidden, capture_output=True, text=True, check=False
    )

    assert done.returncode != 0
    assert f"UsageError: No such device: {device}" in done.stderr


@gpu
def test_the_one_behind_the_last_gpu_is_no_device() -> None:
    count = torch.cuda.device_count()

    assert registry.chosen_device(f"cuda:{count - 1}") == f"cuda:{count - 1}"
    with pytest.raises(UsageError, match="No such device"):
        registry.chosen_device(f"cuda:{count}")


@gpu
def test_a_gpu_or_mig_slice_named_by_its_id_is_the_first_device() -> None:
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False)
    ids = re.findall(r"UUID: ((?:MIG|GPU)-[^)]+)", listed.stdout)
    assert ids, listed.stdout + listed.stderr
    # A GPU that is cut into slices is none itself.
    name = next((each for each in ids if each.startswith("MIG-")), ids[0])
    code = (
        "import torch; from detection_worker.detectors.registry import chosen_device\n"
        "print(chosen_device('cuda:0'), torch.zeros(3, device='cuda:0').sum().item())"
    )

    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": name},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.stdout.split() == ["cuda:0", "0.0"], done.stderr


@pytest.mark.parametrize(("device", "index"), [("cuda", 2), ("cuda:1", 1)])
def test_little_memory_is_that_of_one_gpu_beyond_what_torch_holds(
    monkeypatch: pytest.MonkeyPatch, device: str, index: int
) -> None:
    total = 1000 << 20
    limits: list[tuple[float, int]] = []
    faked: dict[str, Any] = {
        "current_device": lambda: 2,
        "empty_cache": lambda: None,
        "get_device_properties": lambda _: SimpleNamespace(total_memory=total),
        "memory_reserved": lambda _: 300 << 20,
        "memory_allocated": lambda _: 100 << 20,
        "_lazy_init": lambda: None,
    }
    for name, answer in faked.items():
        monkeypatch.setattr(torch.cuda, name, answer)
    # torch's own checks of the arguments run.
    monkeypatch.setattr(torch.cuda.memory, "_lazy_init", lambda: None)
    monkeypatch.setattr(
        torch._C,
        "_cuda_setMemoryFraction",
        lambda share, which: limits.append((share, which)),
        raising=False,
    )

    with little_memory(torch.device(device)):
        assert limits == [(0.5, index)]

    assert limits[1:] == [(1.0, index)]


@gpu
def test_out_of_memory_is_learnt_from_and_costs_no_unit(exact: dict[str, Any]) -> None:
    detector = loaded("cuda")[0]
    units = np.concatenate([golden_units(detector.card.sampling)] * 128)
    detector.batch_units = len(units)

    with little_memory(torch.device("cuda")):
        got = detector.logits(units)

    assert 1 <= detector.batch_units < len(units)
    assert np.abs(got - np.tile(exact[detector.card.name], 128)).max() <= TOLERANCE["cuda"]
    assert detector.passes is not None
    assert detector.passes.batch_units == detector.batch_units


@gpu
def test_memory_comes_back_when_detectors_go() -> None:
    torch.zeros(1, device="cuda")
    before = torch.cuda.memory_allocated()
    detectors = loaded("cuda")
    for detector in detectors:
        detector.logits(golden_units(detector.card.sampling))
    held = torch.cuda.memory_allocated() - before

    del detectors, detector
    gc.collect()

    assert held > 0
    assert torch.cuda.memory_allocated() - before <= max(1 << 20, held // 10)


@gpu
def test_a_device_that_answers_no_more_is_told_as_lost() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOSE_THE_DEVICE], capture_output=True, text=True, check=False
    )

    assert done.stdout.split() == ["lost", "lost"], done.stderr
