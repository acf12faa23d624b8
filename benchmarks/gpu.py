"""What a GPU can do, and how much of it the worker makes use of: one run of at most 8 minutes.

- ``device``: what is measured on.
- ``start``: seconds from the process to the first result, by part.
- ``golden``: how far half precision moves the scores of the models in the package.
- ``stage``: the inference stage against bare forward passes of the same batch size, with the
  models in the package and two large untrained networks.
- ``worker``: ``detection-worker consume`` on images, photos and videos, with strict local SQS, S3
  (40 ms) and callback receivers (80 ms) in processes of their own: its rate, CPU by process, what
  each of these processes, decoding and forward passes could do (``limits_per_s``) and which of
  them is the slowest (``limited_by``); the GPU's busy share and memory.
- ``memory``: what running out of memory costs.
- ``forward``: units a second of every architecture by batch size, in float32, float16 and
  bfloat16, as plain passes and as CUDA graphs; weights are untrained.
- ``compiled``: what torch.compile gains and what it costs at the start.
- ``decoding``: JPEG by nvJPEG and by the CPU.

Each section runs in a process of its own for a bounded time (``on_gpu/sections.py``): one that
fails or takes too long keeps the rows that it had, and costs the others nothing.

    python benchmarks/gpu.py                       # on the first GPU
    python benchmarks/gpu.py --json > gpu.json
    python benchmarks/gpu.py --device cpu --quick  # shows that it runs; no figure of a GPU

It ends with 1 if nothing could be measured: no such device, or a package is missing.
"""

import argparse
import importlib.metadata
import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

Row = dict[str, Any]

SECONDS: Final = {
    "device": 30,
    "start": 45,
    "golden": 30,
    "stage": 75,
    "worker": 135,
    "memory": 25,
    "forward": 70,
    "compiled": 45,
    "decoding": 25,
}
"""Time of each section; 480 s together."""
CPU_FACTOR: Final = 3
"""A CPU may take so much longer: its figures are not what counts."""
LAST_LINES: Final = 5
"""How many lines of a section that failed are shown."""
PROJECT: Final = "detection-queue"
NEEDED: Final = [
    "detection_contract",
    "detection_testing",
    "detection_tracing",
    "detection_worker",
    "av",
    "boto3",
    "c2pa",
    "h11",
    "numpy",
    "PIL",
    "prometheus_client",
    "pydantic",
    "requests",
    "safetensors",
    "simplejpeg",
    "torch",
    "torchvision",
]
STAGE_GOAL: Final = 0.90
WORKER_GOAL: Final = 0.85
READY_GOAL_S: Final = 15.0


def run_section(name: str, *, device: str, quick: bool, seconds: float) -> Row:
    """Return a section's rows, and why it ended early if it did."""
    command = [sys.executable, "-P", "-m", "on_gpu.sections", name]
    command += ["--device", device, *(["--quick"] if quick else [])]
    paths = [str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    began_s = time.monotonic()
    late = threading.Event()
    said: list[str] = []
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # As the worker's commands: idle threads of torch leave the cores to decoding.
        env={**os.environ, "OMP_WAIT_POLICY": "PASSIVE", "PYTHONPATH": os.pathsep.join(paths)},
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None

        def stop() -> None:
            late.set()
            os.killpg(process.pid, signal.SIGKILL)  # with the worker that it may have started

        timer = threading.Timer(seconds, stop)
        timer.start()
        reader = threading.Thread(target=said.extend, args=(process.stderr,))
        reader.start()
        rows = [json.loads(line) for line in process.stdout if line.startswith("{")]
        reader.join()
        code = process.wait()
        timer.cancel()
    report: Row = {"rows": rows, "seconds": round(time.monotonic() - began_s, 1)}
    if late.is_set():
        report["error"] = f"stopped after {seconds:g} s"
    elif code:
        last = "".join(said[-LAST_LINES:]).strip()
        report["error"] = last or f"exit code {code}"
    return report


def missing() -> list[str]:
    """Return the packages that are not installed; the worker asks for the version of its own."""
    absent = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    try:
        importlib.metadata.version(PROJECT)
    except importlib.metadata.PackageNotFoundError:
        absent.append(PROJECT)
    return absent


def goals(report: Row) -> list[Row]:
    """Return each goal with what was measured; a section without rows has none."""
    found = [
        _goal(f"stage / forward limit, {row['model']}", row["share"], STAGE_GOAL)
        for row in report.get("stage", {}).get("rows", [])
    ]
    for row in report.get("worker", {}).get("rows", []):
        media, limit = row["media"], min(row["forward_limit_per_s"], row["decode_limit_per_s"])
        name = f"worker / forward and decode limit, {media}"
        limited = f"limited by {row['limited_by']}: {row['limit_per_s']:.0f}/s"
        found.append(_goal(name, row["per_s"] / limit, WORKER_GOAL) | {"note": limited})
        name = f"worker / its slowest part, {media}"
        found.append(_goal(name, row["per_s"] / row["limit_per_s"], WORKER_GOAL))
        if media == "images":
            found.append(_goal("ready, s", row["ready_s"], READY_GOAL_S, most=True))
    found += [
        {"goal": f"{row['precision']} keeps the scores of {row['model']}", "met": row["holds"]}
        for row in report.get("golden", {}).get("rows", [])
    ]
    return found


def _goal(name: str, measured: float, wanted: float, *, most: bool = False) -> Row:
    met = measured <= wanted if most else measured >= wanted
    return {"goal": name, "measured": round(measured, 3), "wanted": wanted, "met": met}


def print_report(report: Row) -> None:
    """Print a table for each section, and the goals."""
    for name in SECONDS:
        section = report[name]
        print(f"\n{name} ({section['seconds']} s)")
        for row in section["rows"]:
            flat = {key: value for key, value in row.items() if not isinstance(value, dict)}
            print("  " + _pairs(flat))
            for key, value in row.items():
                if isinstance(value, dict):
                    print(f"    {key}: {_pairs(value)}")
        if "error" in section:
            print("  NOT COMPLETE: " + section["error"].replace("\n", "\n    "))
    print("\ngoals" if report["device_name"] != "cpu" else "\ngoals (not of a GPU)")
    for goal in report["goals"]:
        figures = f"{goal['measured']} (wanted {goal['wanted']})" if "wanted" in goal else ""
        note = f", {goal['note']}" if "note" in goal else ""
        print(f"  {'met   ' if goal['met'] else 'MISSED'} {goal['goal']} {figures}{note}")


def _pairs(values: Row) -> str:
    return "  ".join(f"{key} {_short(value)}" for key, value in values.items())


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def main() -> int:
    """Run all sections and print what they found."""
    parser = argparse.ArgumentParser(description="What a GPU can do, and the worker with it.")
    parser.add_argument("--device", default="cuda", help="cuda, cuda:N, or cpu to try it out")
    parser.add_argument("--quick", action="store_true", help="little of everything")
    parser.add_argument("--sections", nargs="*", choices=SECONDS, default=list(SECONDS))
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args()
    if absent := missing():
        print(
            f"Not installed: {', '.join(absent)}\nSee docs/gpu.md, The benchmark.", file=sys.stderr
        )
        return 1
    report: Row = {"device_name": args.device}
    factor = CPU_FACTOR if args.device == "cpu" else 1
    for name in SECONDS:
        # "device" tells whether there is any; without it, nothing can be measured.
        if name != "device" and (name not in args.sections or not report["device"]["rows"]):
            report[name] = {"rows": [], "seconds": 0.0, "error": "left out"}
            continue
        print(f"  {name} …", file=sys.stderr, flush=True)
        report[name] = run_section(
            name, device=args.device, quick=args.quick, seconds=SECONDS[name] * factor
        )
    report["goals"] = goals(report)
    say: Callable[[Row], None] = (lambda r: print(json.dumps(r))) if args.json else print_report
    if not report["device"]["rows"] and not args.json:
        print(f"Nothing was measured.\n{report['device'].get('error')}", file=sys.stderr)
        return 1
    say(report)
    return 0 if report["device"]["rows"] else 1


if __name__ == "__main__":
    raise SystemExit(main())
