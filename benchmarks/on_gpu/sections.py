"""The measurements of ``benchmarks/gpu.py``, each in a process of its own: rows as JSON lines.

A CUDA error that ends a process ends one section, and every section starts from a clean device.

    python benchmarks/on_gpu/sections.py SECTION --device cuda [--quick]
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import numpy as np

Row = dict[str, Any]
BATCHES: Final = (1, 4, 16, 64, 256)
QUICK_BATCHES: Final = (1, 4)
CROP_PX: Final = {
    "clip-b16": 224,
    "efficientnet-b4": 380,
    "effort": 224,
    "image_residual": 128,
    "npr": 256,
    "univfd": 224,
    "xception": 299,
}
"""Side of the pictures that a network was trained on."""
WINDOW: Final = {
    "aasist": 64_600,
    "aasist-l": 64_600,
    "audio_lfb": 64_000,
    "lfcc-lcnn": 64_600,
    "rawnet2": 64_600,
    "xlsr-aasist": 64_600,
}
"""Samples of the sound that a network was trained on."""
QUICK_NETWORKS: Final = ("image_residual", "audio_lfb")
CALLBACK_LATENCY_S: Final = 0.080
S3_LATENCY_S: Final = 0.040
SAMPLE_S: Final = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to measure.

    Attributes:
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        quick: Little of everything, to show that it runs.
    """

    device: str
    quick: bool

    @property
    def batches(self) -> tuple[int, ...]:
        """Units of a pass."""
        return QUICK_BATCHES if self.quick else BATCHES

    @property
    def networks(self) -> tuple[str, ...]:
        """Architectures."""
        return QUICK_NETWORKS if self.quick else (*CROP_PX, *WINDOW)

    @property
    def cuda(self) -> bool:
        """It is a GPU."""
        return self.device.startswith("cuda")


# -- the device ----------------------------------------------------------------------------------


def device(plan: Plan) -> Iterator[Row]:
    """What is measured on."""
    import torch

    row: Row = {"torch": torch.__version__, "cuda": torch.version.cuda, "cores": os.cpu_count()}
    if plan.cuda:
        facts = torch.cuda.get_device_properties(torch.device(plan.device))
        row |= {"name": facts.name, "memory_gib": round(facts.total_memory / 2**30, 1)}
        row |= {"visible": os.environ.get("CUDA_VISIBLE_DEVICES"), "driver": _driver()}
    yield row


def _driver() -> str | None:
    found = _nvidia_smi("driver_version")
    return found[0] if found else None


def _nvidia_smi(fields: str, *, index: int = 0) -> list[str]:
    """Return what nvidia-smi says of a GPU; nothing if there is no such program."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    command = [program, f"--id={index}", f"--query-gpu={fields}", "--format=csv,noheader,nounits"]
    said = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    return [part.strip() for line in said.stdout.splitlines()[:1] for part in line.split(",")]


# -- forward passes ------------------------------------------------------------------------------


def forward(plan: Plan) -> Iterator[Row]:
    """Units a second of every architecture, by batch size and precision; graphs beside them."""
    import torch

    from detection_worker.detectors.device import timing
    from detection_worker.detectors.device.graphs import GraphMaker
    from detection_worker.detectors.device.passes import DeviceStreams

    where = torch.device(plan.device)
    for name in plan.networks:
        detector = _untrained(name, plan)
        for precision in ("float32", "float16", "bfloat16"):
            detector.use_precision(precision)
            make = GraphMaker(detector, DeviceStreams(where)) if plan.cuda else None
            for batch in plan.batches:
                row: Row = {"network": name, "precision": precision, "units": batch}
                try:
                    example = _units(detector, batch, where)
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
        detector = _untrained(name, plan)
        example = _units(detector, 32, where)
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


def _untrained(name: str, plan: Plan) -> Any:
    import torch

    from detection_contract.media_types import MediaKind
    from detection_worker.core.sampling import AudioSampling, ImageSampling
    from detection_worker.core.verdict import Calibration, Pooling
    from detection_worker.detectors.architectures import build_network
    from detection_worker.detectors.base import DetectorCard
    from detection_worker.detectors.torch_detector import TorchDetector

    sound = name in WINDOW
    card = DetectorCard(
        name=name,
        version="0",
        sha256="0" * 64,
        grade="demo",
        kind=MediaKind.AUDIO if sound else MediaKind.IMAGE,
        sampling=AudioSampling(window=WINDOW[name])
        if sound
        else ImageSampling(crop_px=CROP_PX[name]),
        pooling=Pooling(),
        calibration=Calibration(),
    )
    # Drawn where they are used: hundreds of millions of weights take seconds on one core.
    with torch.device(plan.device):
        module = build_network(name, {}, where=name)
    return TorchDetector(card=card, module=module, device=plan.device)


def _units(detector: Any, count: int, where: Any) -> Any:
    import torch

    from detection_worker.detectors.self_test import unit

    one = unit(detector.card.sampling, seed=1)
    return torch.from_numpy(np.repeat(one, count, axis=0)).to(where)


# -- half precision ------------------------------------------------------------------------------


def golden(plan: Plan) -> Iterator[Row]:
    """How far half precision moves the scores of the models in the package."""
    from detection_worker.detectors.device.golden import compare_precision
    from detection_worker.detectors.device.start import HALF

    cases = [(detector, half) for detector in _detectors(plan) for half in HALF]
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


def _detectors(plan: Plan) -> list[Any]:
    from detection_worker.detectors.model_folder.listing import bundled_models_dir
    from detection_worker.detectors.registry import load_detectors
    from detection_worker.detectors.torch_detector import TorchDetector

    loaded = load_detectors(bundled_models_dir(), device=plan.device)
    return [d for d in loaded.by_kind.values() if isinstance(d, TorchDetector)]


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


def stage(plan: Plan) -> Iterator[Row]:
    """Units a second through the inference stage, against those of bare forward passes."""
    import torch

    from detection_worker.detectors.device import timing
    from detection_worker.pipeline.stages.inference import InferenceStage

    where = torch.device(plan.device)
    for detector in _detectors(plan):
        limit_units = detector.batch_units if plan.cuda else 32
        example = _units(detector, limit_units, where)
        bare = timing.measure(partial(detector.forward, example), where)
        batches: list[int] = []
        inference: InferenceStage[_Ticket] = InferenceStage(
            max_units=0,
            max_wait_s=0.004,
            more_coming=lambda: True,
            on_scored=lambda *_: None,
            on_progress=lambda _: None,
            on_batch=batches.append,
            capacity=4 * limit_units,
        )
        files = _files(
            detector,
            max(4 * limit_units, int((0.5 if plan.quick else 5.0) / bare.seconds * limit_units)),
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
            "limit_per_s": limit_units / bare.seconds,
            "stage_per_s": units / wall_s,
            "share": units / wall_s / (limit_units / bare.seconds),
            "cpu_ms_a_unit": 1000 * (time.process_time() - cpu_s) / units,
        }


def _files(detector: Any, count: int) -> Iterator[Any]:
    from detection_worker.detectors.self_test import unit
    from detection_worker.media.values import DecodedMedia, MediaInfo
    from detection_worker.pipeline.files.handovers import Decoded, DecodedTrack

    info = MediaInfo(
        kind=detector.card.kind,
        container="",
        codec=None,
        size_bytes=0,
        sha256="",
        width=None,
        height=None,
        duration_s=None,
        frames_analysed=1,
        sample_rate_hz=None,
        truncated=False,
        warnings=(),
    )
    units = unit(detector.card.sampling, seed=1)
    for _ in range(count):
        media = DecodedMedia(
            info=info,
            units=units.copy(),
            frame=np.zeros(1, dtype=np.int32),
            at_s=np.zeros(1),
            boxes=np.zeros((1, 4), dtype=np.int32),
        )
        yield Decoded(ticket=_Ticket(), main=DecodedTrack(media=media, detector=detector))


# -- the whole worker ----------------------------------------------------------------------------


def worker(plan: Plan) -> Iterator[Row]:
    """Messages a second of ``consume`` on the local AWS, the GPU's busy share, time to ready."""
    from detection_testing.aws.faults import Fault
    from detection_testing.aws.local_aws import LocalAws
    from detection_testing.media.sample_media import make_image

    count = 40 if plan.quick else 4000
    with tempfile.TemporaryDirectory() as name, LocalAws.in_process() as aws:
        aws.inject(Fault(operation="s3.GetObject", kind="latency", seconds=S3_LATENCY_S))
        aws.inject(Fault(operation="callback.*", kind="latency", seconds=CALLBACK_LATENCY_S))
        paths = [
            make_image(Path(name) / f"{i}.jpg", width=160, height=144, seed=i) for i in range(16)
        ]
        for path in paths:
            aws.put_object("media", path.name, path.read_bytes())
        queue_url, _ = aws.create_queue("gpu", max_receive_count=100)
        aws.send(queue_url, [_body(aws, paths[i % 16].name, i) for i in range(count)])
        yield _consumed(plan, aws, queue_url, count) | _limits(plan, paths)


def _body(aws: Any, key: str, number: int) -> str:
    return json.dumps(
        {
            "sqs_to_ml_url": f"s3://media/{key}",
            "callback_url": aws.callback_url("/ok"),
            "request_id": f"r{number}",
        }
    )


def _consumed(plan: Plan, aws: Any, queue_url: str, count: int) -> Row:
    command = [
        *(sys.executable, "-P", "-m", "detection_worker", "consume", "--queue-url", queue_url),
        *("--endpoint-url", aws.endpoint_url, "--device", plan.device, "--wait-time", "2"),
        *("--callback-allow-private", "--max-in-flight", "512"),
    ]
    began_s = time.time()
    process = subprocess.Popen(
        command, env={**os.environ, **aws.environment(), "LOG_LEVEL": "WARNING"}
    )
    with BusyShare(plan) as busy:
        times: list[float] = []
        while len(times) < count and process.poll() is None:
            times += [c.at_s for c in aws.callbacks(since=len(times))]
            time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    process.wait(60)
    times.sort()
    first = max(1, len(times) // 10)
    return {
        "messages": len(times),
        "of": count,
        "ready_s": times[0] - began_s,
        "per_s": (len(times) - first) / max(1e-6, times[-1] - times[first - 1]),
        "gpu_busy": busy.share,
        "gpu_memory_mib": busy.memory_mib,
    }


def _limits(plan: Plan, paths: Sequence[Path]) -> Row:
    """What decoding on all cores, and forward passes, could do with the same files."""
    import torch

    from detection_contract.media_types import MediaKind
    from detection_worker.detectors.device import timing
    from detection_worker.media.decode import decode_file
    from detection_worker.media.jail.wire import order_of
    from detection_worker.pipeline.files.analysis import decode_request
    from detection_worker.settings import MediaLimits

    where = torch.device(plan.device)
    detector = next(d for d in _detectors(plan) if d.card.kind is MediaKind.IMAGE)
    units = detector.batch_units if plan.cuda else 32
    bare = timing.measure(partial(detector.forward, _units(detector, units, where)), where)
    cpu_s = time.process_time()
    crops = 0
    for path in paths:
        request = decode_request(
            path, name=path.name, detectors={MediaKind.IMAGE: detector}, limits=MediaLimits()
        )
        with path.open("rb") as file:
            crops += len(decode_file(file, order_of(request), tick=lambda: None).units)
    decode_s = (time.process_time() - cpu_s) / len(paths)
    cores = len(os.sched_getaffinity(0))
    return {
        "forward_limit_per_s": units / bare.seconds * len(paths) / crops,
        "decode_limit_per_s": cores / decode_s,
        "cores": cores,
    }


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

    @property
    def share(self) -> float | None:
        """Mean over the busier half of the samples: the start, without work, is in the other."""
        busier = sorted(self._shares)[len(self._shares) // 2 :]
        return sum(busier) / len(busier) if busier else None

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
        share, memory = _nvidia_smi("utilization.gpu,memory.used", index=index)
        return float(share) / 100, float(memory)

    return read


def _by_torch(device_name: str) -> Reading:
    import torch

    free, total = torch.cuda.mem_get_info(torch.device(device_name))
    return None, (total - free) / 2**20


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
    detectors = _detectors(plan)
    patched.prepare = cold
    row = lap("load, self-test")
    yield row | {"seconds": row["seconds"] - seconds}
    yield {"part": "measure, warm up", "seconds": seconds}
    for detector in detectors:
        detector.logits(_units(detector, 1, "cpu").numpy())
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
    detector = next(iter(_detectors(plan)))
    units = _units(detector, 2048, "cpu").numpy()
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
    for row in SECTIONS[args.section](Plan(device=args.device, quick=args.quick)):
        print(json.dumps(row), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
