"""The measurements of ``benchmarks/gpu.py``, each in a process of its own: rows as JSON lines.

A CUDA error that ends a process ends one section, and every section starts from a clean device.

    PYTHONPATH=benchmarks python -m on_gpu.sections SECTION --device cuda [--quick]
"""

import argparse
import json
import os
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from typing import Any, Final

import numpy as np

from on_gpu.busy import nvidia_smi
from on_gpu.plan import QUICK_NETWORKS, Plan, Row, detectors_of, units_of, untrained

# -- the device ----------------------------------------------------------------------------------


def device(plan: Plan) -> Iterator[Row]:
    """What is measured on."""
    import torch
    import torchvision

    from detection_worker.detectors.registry import chosen_device

    chosen_device(plan.device)  # refuses what is not there
    row: Row = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "cuda": torch.version.cuda,
        "cores": len(os.sched_getaffinity(0)),
    }
    if plan.cuda:
        facts = torch.cuda.get_device_properties(torch.device(plan.device))
        row |= {"name": facts.name, "memory_gib": round(facts.total_memory / 2**30, 1)}
        row |= {"visible": os.environ.get("CUDA_VISIBLE_DEVICES"), "driver": _driver()}
    yield row


def _driver() -> str | None:
    found = nvidia_smi("driver_version")
    return found[0] if found else None


# -- forward passes ------------------------------------------------------------------------------


def forward(plan: Plan) -> Iterator[Row]:
    """Units a second of every architecture, by batch size and precision; graphs beside them."""
    import torch

    from detection_worker.detectors.device import timing
    from detection_worker.detectors.device.graphs import GraphMaker
    from detection_worker.detectors.device.passes import DeviceStreams

    where = torch.device(plan.device)
    for name in plan.networks:
        detector = untrained(name, plan)
        for precision in ("float32", "float16", "bfloat16"):
            detector.use_precision(precision)
            make = GraphMaker(detector, DeviceStreams(where)) if plan.cuda else None
            for batch in plan.batches:
                row: Row = {"network": name, "precision": precision, "units": batch}
                try:
                    example = units_of(detector, batch, where)
                    found = timing.measure(partial(detector.forward, example), where)
                    row["per_s"] = batch / found.seconds
                    row["peak_mib"] = round(found.peak_bytes / 2**20, 1)
                    if make is not None and batch <= 64:
                        run, units = make(example), example.clone()
                        graphed = timing.measure(partial(run, units), where)
                        row["graph_per_s"] = batch / graphed.seconds
                except Exception as exc:  # noqa: BLE001 - the other rows count
                    row["error"] = _first_line(exc)
                yield row
        del detector


def compiled(plan: Plan) -> Iterator[Row]:
    """What torch.compile gains on the networks in the package, and what it costs at the start."""
    import torch

    from detection_worker.detectors.device import timing

    where = torch.device(plan.device)
    for name in () if plan.quick else QUICK_NETWORKS:
        detector = untrained(name, plan)
        example = units_of(detector, 32, where)
        plain = timing.measure(partial(detector.forward, example), where)
        began_s = time.perf_counter()
        run: Any = torch.compile(detector.forward, dynamic=False)
        run(example)
        timing.synchronize(where)
        start_s = time.perf_counter() - began_s
        fast = timing.measure(partial(run, example), where)
        yield {
            "network": name,
            "units": 32,
            "per_s": 32 / plain.seconds,
            "compiled_per_s": 32 / fast.seconds,
            "start_s": start_s,
        }


# -- half precision ------------------------------------------------------------------------------


def golden(plan: Plan) -> Iterator[Row]:
    """How far half precision moves the scores of the models in the package."""
    from detection_worker.detectors.device.golden import compare_precision
    from detection_worker.detectors.device.start import HALF

    cases = [(detector, half) for detector in detectors_of(plan) for half in HALF]
    for detector, half in cases:
        change = compare_precision(detector, half)
        yield {
            "model": detector.card.name,
            "precision": half,
            "files": change.files,
            "delta": change.delta,
            "flips": change.flips,
            "holds": change.holds,
        }


# -- the inference stage -------------------------------------------------------------------------


@dataclass(slots=True, eq=False)
class _Ticket:
    """A file that nobody waits for."""

    request_id: str = "r"
    cancelled: bool = False
    carrier: None = None

    @property
    def facts(self) -> dict[str, object]:
        return {}


STAGE_LARGE: Final = ("clip-b16", "univfd")
"""Networks whose passes take long on a GPU, beside the small ones in the package."""
UNITS_EACH: Final = 16
"""In a file, as many as frames of a video."""
STAGE_S: Final = 5.0


def stage(plan: Plan) -> Iterator[Row]:
    """Units a second through the inference stage, against those of bare forward passes.

    Files with their units lie ready before, so that the stage is measured and not the making.
    """
    import torch

    from detection_worker.detectors.device import timing
    from detection_worker.pipeline.stages.inference import InferenceStage

    where = torch.device(plan.device)
    for detector in _staged(plan):
        limit_units = detector.batch_units if plan.cuda else 32
        example = units_of(detector, limit_units, where)
        bare = timing.measure(partial(detector.forward, example), where)
        wanted = (0.5 if plan.quick else STAGE_S) / bare.seconds * limit_units
        count = max(4 * limit_units, int(wanted)) // UNITS_EACH
        files = _files(detector, count)
        batches: list[int] = []
        inference: InferenceStage[_Ticket] = InferenceStage(
            max_units=0,
            max_wait_s=0.004,
            more_coming=lambda: True,
            on_scored=lambda *_: None,
            on_progress=lambda _: None,
            on_batch=batches.append,
            capacity=4 * limit_units // UNITS_EACH,
        )
        began_s, cpu_s = time.perf_counter(), time.process_time()
        for file in files:
            inference.put(file)
        inference.close()
        wall_s = time.perf_counter() - began_s
        units = sum(batches)
        yield {
            "model": detector.card.name,
            "passes": type(detector.passes).__name__,
            "batch": limit_units,
            "mean_batch": units / len(batches),
            "scored": units / (count * UNITS_EACH),
            "limit_per_s": limit_units / bare.seconds,
            "stage_per_s": units / wall_s,
            "share": units / wall_s / (limit_units / bare.seconds),
            "cpu_ms_a_unit": 1000 * (time.process_time() - cpu_s) / units,
        }


def _staged(plan: Plan) -> Iterator[Any]:
    """Yield the models in the package, then large untrained networks, prepared as a worker's."""
    import torch

    from detection_worker.detectors.device.start import DeviceStart

    yield from detectors_of(plan)
    for name in () if plan.quick else STAGE_LARGE:
        detector = untrained(name, plan)
        if plan.cuda:
            DeviceStart(device=torch.device(plan.device)).prepare(detector)
        yield detector


def _files(detector: Any, count: int) -> list[Any]:
    from detection_testing.media.sample_info import media_info
    from detection_worker.media.values import DecodedMedia
    from detection_worker.pipeline.files.handovers import Decoded, DecodedTrack

    media = DecodedMedia(
        info=media_info(side_px=256, kind=detector.card.kind),
        units=units_of(detector, UNITS_EACH, "cpu").numpy(),
        frame=np.zeros(UNITS_EACH, dtype=np.int32),
        at_s=np.zeros(1),
        boxes=np.zeros((UNITS_EACH, 4), dtype=np.int32),
    )
    track = DecodedTrack(media=media, detector=detector)
    return [Decoded(ticket=_Ticket(), main=track) for _ in range(count)]


# -- the whole worker ----------------------------------------------------------------------------


def worker(plan: Plan) -> Iterator[Row]:
    """Messages a second of ``consume`` on local services, by media, and what limits them."""
    from on_gpu import whole_worker

    yield from whole_worker.worker(plan)


# -- the start -----------------------------------------------------------------------------------


def start(plan: Plan) -> Iterator[Row]:
    """Seconds of each part of a start in this process: import, context, models, first result."""
    began_s = time.perf_counter()

    def lap(part: str) -> Row:
        nonlocal began_s
        now_s = time.perf_counter()
        row = {"part": part, "seconds": now_s - began_s}
        began_s = now_s
        return row

    import torch

    yield lap("import torch")
    where = torch.device(plan.device)
    torch.zeros(1, device=where)
    yield lap("context")
    from detection_worker.detectors.device.start import DeviceStart
    from detection_worker.detectors.registry import load_detectors  # noqa: F401 - its time counts

    yield lap("import the worker")
    cold = DeviceStart.prepare
    seconds = 0.0

    def timed(*args: Any) -> Any:
        nonlocal seconds
        before_s = time.perf_counter()
        found = cold(*args)
        seconds += time.perf_counter() - before_s
        return found

    patched: Any = DeviceStart
    patched.prepare = timed  # its part of the time
    detectors = detectors_of(plan)
    patched.prepare = cold
    row = lap("load, self-test")
    yield row | {"seconds": row["seconds"] - seconds}
    yield {"part": "measure, warm up", "seconds": seconds}
    for detector in detectors:
        detector.logits(units_of(detector, 1, "cpu").numpy())
    yield lap("first results")


# -- no memory -----------------------------------------------------------------------------------


def memory(plan: Plan) -> Iterator[Row]:
    """What running out of memory costs, and whether memory comes back."""
    import torch

    from detection_testing.gpu_memory import little_memory
    from detection_worker.detectors.device_errors import give_back_memory

    if not plan.cuda:
        yield {"skipped": "only a GPU has memory of its own"}
        return
    where = torch.device(plan.device)
    detector = next(iter(detectors_of(plan)))
    units = units_of(detector, 2048, "cpu").numpy()
    detector.batch_units = 64
    wanted = detector.logits(units)
    give_back_memory(where)
    before = torch.cuda.memory_allocated(where)
    detector.batch_units = 2048
    with little_memory(where):
        began_s = time.perf_counter()
        got = detector.logits(units)
        wall_s = time.perf_counter() - began_s
    yield {
        "asked_units": 2048,
        "learnt_units": detector.batch_units,
        "scored": len(got),
        "delta": float(np.abs(got - wanted).max()),
        "seconds": wall_s,
        "kept_bytes": torch.cuda.memory_allocated(where) - before,
    }


# -- decoding ------------------------------------------------------------------------------------


def decoding(plan: Plan) -> Iterator[Row]:
    """JPEG by nvJPEG and by the CPU; video decoders of GPUs that are installed."""
    import torch
    from PIL import Image
    from torchvision.io import ImageReadMode, decode_jpeg

    from detection_worker.detectors.device import timing

    side = (640, 480) if plan.quick else (2000, 1500)
    pixels = np.random.default_rng(1).integers(0, 255, (side[1] // 8, side[0] // 8, 3), np.uint8)
    file = BytesIO()
    Image.fromarray(pixels).resize(side, Image.Resampling.BICUBIC).save(file, "JPEG", quality=90)
    data = torch.frombuffer(bytearray(file.getvalue()), dtype=torch.uint8)
    exact = np.asarray(Image.open(BytesIO(file.getvalue())).convert("RGB"))
    for name in ("cpu", plan.device) if plan.cuda else ("cpu",):
        row: Row = {"decoder": f"torchvision.io {name}", "pixels": side[0] * side[1]}
        count = 4 if plan.quick else 64
        decode = partial(decode_jpeg, [data] * count, mode=ImageReadMode.RGB, device=name)
        try:
            found = timing.measure(decode, torch.device(name))
            row["per_s"] = count / found.seconds
            off = np.abs(decode()[0].cpu().permute(1, 2, 0).numpy().astype(int) - exact)
            row |= {"largest_difference": int(off.max()), "mean_difference": float(off.mean())}
        except Exception as exc:  # noqa: BLE001 - the other decoder counts
            row["error"] = _first_line(exc)
        yield row
    for module in ("torchcodec", "PyNvVideoCodec"):
        try:
            __import__(module)
        except Exception as exc:  # noqa: BLE001 - a missing library of its own raises whatever
            yield {"decoder": module, "error": _first_line(exc)}
        else:
            yield {"decoder": module, "installed": True}


def _first_line(exc: BaseException) -> str:
    lines = str(exc).splitlines()
    return f"{type(exc).__name__}: {lines[0][:200] if lines else ''}"


SECTIONS: Final[dict[str, Callable[[Plan], Iterator[Row]]]] = {
    "device": device,
    "start": start,
    "golden": golden,
    "stage": stage,
    "worker": worker,
    "memory": memory,
    "forward": forward,
    "compiled": compiled,
    "decoding": decoding,
}
"""By name, the most telling first: those at the end are cut off when time is short."""


def main() -> int:
    """Print the rows of one section as JSON lines."""
    parser = argparse.ArgumentParser(description="One section of gpu.py.")
    parser.add_argument("section", choices=SECTIONS)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    # A GPU by its number, as the worker calls it: some calls of torch refuse "cuda" alone.
    name = "cuda:0" if args.device == "cuda" else args.device
    for row in SECTIONS[args.section](Plan(device=name, quick=args.quick)):
        print(json.dumps(row), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
