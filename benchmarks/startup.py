"""What a start costs, and what a unit costs the networks: CPU seconds, memory, CPU ms.

- ``predict``: ``detection-worker predict`` of one picture, from start to exit; ``goal_cpu_s`` is
  the goal for an idle machine.
- ``consume``: ``detection-worker consume`` on an empty queue of a strict local AWS, from start to
  ``/readyz``; then the memory of the process that holds the models, at rest. ``anonymous_mib`` is
  what the kernel cannot drop; the rest are pages of files, which it can read again. CUDA's
  libraries, which a build of torch for CPUs does not load, are ``nvidia_mib`` of the whole; what
  they allocate comes on top (about 140 MiB with CUDA 13). ``pod_mib`` is what counts against the
  limit of a pod and cannot be reclaimed: anonymous and shared memory and page tables of this
  process and its decoders.
- ``forward``: CPU time of a unit in a forward pass of each bundled model: its network as it was
  trained, and as the worker runs it.

CPU time counts, of children too, not time on the clock: it is nearly the same on a busy machine.
The median of a few turns is printed; memory is that of the last turn.

    python benchmarks/startup.py
    python benchmarks/startup.py --only forward --json
"""

import argparse
import json
import os
import resource
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import numpy as np
import torch

from detection_testing.aws.local_aws import LocalAws
from detection_testing.cpu import children_of, tree_cpu_s
from detection_testing.media.sample_media import make_image
from detection_worker.cores import let_idle_threads_sleep, usable_cores
from detection_worker.detectors import optimise, self_test
from detection_worker.detectors.architectures import build_network
from detection_worker.detectors.base import Units
from detection_worker.detectors.model_folder import listing, weights
from detection_worker.detectors.model_folder.manifest import Borrowed, Manifest
from detection_worker.detectors.torch_detector import TorchDetector

TURNS: Final = 3
PASSES: Final = 9
BATCHES: Final = (1, 8, 32)
READY_S: Final = 120.0
GOAL_S: Final = 3.0
"""Most CPU seconds of a start, on a machine that does nothing else: others' work on its caches
and sibling threads makes CPU time longer too."""
REST_S: Final = 2.0
"""After ``/readyz``, until memory is read."""
MIB_KIB: Final = 1024
COMMAND: Final = (sys.executable, "-P", "-m", "detection_worker")
Figures = dict[str, float]


def predict(*, turns: int) -> Figures:
    """Return the CPU seconds of ``predict`` of one picture, and the most memory of one process."""
    spent = []
    with tempfile.TemporaryDirectory() as folder:
        picture = make_image(Path(folder) / "one.jpg", width=640, height=480)
        for _ in range(turns):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            command = [*COMMAND, "predict", str(picture)]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    peak_mib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / MIB_KIB
    return {"cpu_s": statistics.median(spent), "goal_cpu_s": GOAL_S, "peak_rss_mib": peak_mib}


def consume(*, turns: int) -> Figures:
    """Return the CPU seconds until ``/readyz`` says yes, and the memory at rest after that."""
    spent = []
    memory: Figures = {}
    with LocalAws(own_process=True) as aws:
        queue_url, _ = aws.create_queue("startup")
        for _ in range(turns):
            with _consumer(aws, queue_url) as process:
                spent.append(tree_cpu_s(process.pid))
                time.sleep(REST_S)
                memory = memory_of(process.pid) | {"pod_mib": pod_mib(process.pid)}
    return {"cpu_s": statistics.median(spent), "goal_cpu_s": GOAL_S, **memory}


@contextmanager
def _consumer(aws: LocalAws, queue_url: str) -> Iterator[subprocess.Popen[bytes]]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [
            *(*COMMAND, "consume", "--queue-url", queue_url, "--wait-time", "2"),
            *("--endpoint-url", aws.endpoint_url),
            *("--control-host", "127.0.0.1", "--control-port", str(port)),
        ],
        env={**os.environ, **aws.environment(), "LOG_LEVEL": "WARNING"},
    )
    try:
        until_s = time.monotonic() + READY_S
        while not _is_ready(port):
            if process.poll() is not None or time.monotonic() > until_s:
                raise SystemExit("the consumer did not become ready")
            time.sleep(0.02)
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def _is_ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def memory_of(pid: int) -> Figures:
    """Return resident and proportional memory of one process and what of it is its own, MiB."""
    totals = {"Rss": 0, "Pss": 0, "Anonymous": 0, "nvidia": 0}
    mapped = ""
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        name, _, value = line.partition(":")
        if "-" in name:  # an address range and its file
            mapped = line
        elif name in totals:
            totals[name] += int(value.split()[0])
            if name == "Rss" and ("/nvidia/" in mapped or "_cuda" in mapped):
                totals["nvidia"] += int(value.split()[0])
    names = {"Rss": "rss", "Pss": "pss", "Anonymous": "anonymous", "nvidia": "nvidia"}
    return {f"{names[k]}_mib": total / MIB_KIB for k, total in totals.items()}


def pod_mib(pid: int) -> float:
    """Return the memory of a process and its descendants that cannot be reclaimed, MiB.

    In the terms of a control group's ``memory.stat``: anon, shmem and pagetables.
    """
    status = dict(
        line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines()
    )
    own_kib = sum(int(status[name].split()[0]) for name in ("RssAnon", "RssShmem", "VmPTE"))
    return own_kib / MIB_KIB + sum(map(pod_mib, children_of(pid)))


def forward(*, passes: int, batches: Sequence[int]) -> dict[str, Figures]:
    """Return CPU ms a unit of each bundled network, by batch and form."""
    rows: dict[str, Figures] = {}
    found, _ = listing.read_all(listing.bundled_models_dir())
    for manifest in found.values():
        if isinstance(manifest.network, Borrowed):
            continue
        unit = self_test.unit(manifest.sampling, seed=1)
        detectors = {"as trained": _trained(manifest), "as run": _as_run(manifest)}
        for count in batches:
            units: Units = np.repeat(unit, count, axis=0)  # type: ignore[assignment]
            row = {form: _cpu_ms(d, units, passes=passes) for form, d in detectors.items()}
            rows[f"{manifest.id} x {count}"] = row
    return rows


def _trained(manifest: Manifest) -> TorchDetector:
    assert not isinstance(manifest.network, Borrowed)
    architecture, file = manifest.network
    network = build_network(architecture.name, architecture.params, where=manifest.id).eval()
    folder = listing.bundled_models_dir() / manifest.id
    weights.fill(network, weights.load_weights(folder, file), where=manifest.id)
    return TorchDetector(card=manifest.card(), module=network)


def _as_run(manifest: Manifest) -> TorchDetector:
    network = _trained(manifest).network[0]
    unit = self_test.unit(manifest.sampling, seed=0)
    optimise.fold(network, unit, name=manifest.id)
    optimise.choose_threads(network, unit, most=usable_cores())
    module = optimise.laid_out(network, device="cpu")
    return TorchDetector(card=manifest.card(), module=module)


def _cpu_ms(detector: TorchDetector, units: Units, *, passes: int) -> float:
    torch.set_num_threads(usable_cores())
    detector.logits(units)
    spent = []
    for _ in range(passes):
        started = time.process_time()
        detector.logits(units)
        spent.append(time.process_time() - started)
    return statistics.median(spent) * 1e3 / len(units)


def main() -> None:
    """Measure, and print a table or JSON."""
    if "OMP_WAIT_POLICY" not in os.environ:
        # OpenMP has read it already, when torch was loaded above.
        let_idle_threads_sleep()
        os.execv(sys.executable, [sys.executable, *sys.argv])
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parts: dict[str, Callable[[], object]] = {
        "predict": lambda: predict(turns=args.turns),
        "consume": lambda: consume(turns=args.turns),
        "forward": lambda: forward(passes=args.passes, batches=args.batches),
    }
    parser.add_argument("--only", choices=parts, help="measure this alone")
    parser.add_argument("--turns", type=int, default=TURNS, help="starts of each command")
    parser.add_argument("--passes", type=int, default=PASSES, help="of each network and batch")
    parser.add_argument("--batches", type=int, nargs="+", default=BATCHES, help="units of a pass")
    parser.add_argument("--json", action="store_true", help="print JSON")
    args = parser.parse_args()
    report = {name: run() for name, run in parts.items() if args.only in (None, name)}
    print(json.dumps(report, indent=2) if args.json else _table(report))


def _table(report: dict[str, object]) -> str:
    lines = []
    for part, found in report.items():
        rows = found if isinstance(found, dict) else {}
        if part != "forward":
            rows = {"": rows}
        for name, figures in rows.items():
            text = ", ".join(f"{what} {value:.2f}" for what, value in figures.items())
            lines.append(f"{part} {name}: {text}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
