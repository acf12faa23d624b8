"""The worker, with the CPU of its threads written to a file twice a second.

``python -m throughput.threads consume ...`` is ``detection-worker consume ...``. Threads are named
after the stages that they serve; those without a name are torch's. The kernel counts nanoseconds
(``schedstat``): many threads of a stage spend less than a tick each.
"""

import json
import os
import threading
import time
from pathlib import Path
from typing import Final

REPORT: Final = "DETECTION_BENCH_THREADS"
INTERVAL_S: Final = 0.5
STAGES: Final = {
    "MainThread": "start",
    "poll": "SQS",
    "acks": "SQS",
    "leases": "SQS",
    "download": "download",
    "s3-range": "download",
    "decode": "hand-over to decoders",
    "decoder-starter": "hand-over to decoders",
    "inference": "forward",
    "": "forward",
    "callback": "verdict and callback",
}
"""By the name of a thread without its number; any other name is a stage of its own."""


class ThreadTimes:
    """CPU seconds by stage, of threads that ended too."""

    def __init__(self) -> None:
        self._seen: dict[int, tuple[str, float]] = {}

    def look(self) -> dict[str, float]:
        """Return what was spent so far."""
        names = {t.native_id: t.name for t in threading.enumerate()}
        for task in Path("/proc/self/task").iterdir():
            try:
                spent_s = int((task / "schedstat").read_text().split()[0]) / 1e9
            except OSError:
                continue  # it ended just now
            number = int(task.name)
            known = self._seen.get(number, ("", 0.0))[0]
            name = stage_of(names[number]) if number in names else known or stage_of("")
            self._seen[number] = name, spent_s
        total: dict[str, float] = {}
        for name, seconds in self._seen.values():
            total[name] = total.get(name, 0.0) + seconds
        return total


def stage_of(thread: str) -> str:
    """Return the stage that a thread serves."""
    base = thread.rstrip("0123456789").rstrip("-_")
    return STAGES.get(base, STAGES.get(base.partition("_")[0], base))


def _watch(report: Path) -> None:
    times = ThreadTimes()
    part = report.with_suffix(".part")
    while True:
        part.write_text(json.dumps(times.look()))
        part.replace(report)
        time.sleep(INTERVAL_S)


if __name__ == "__main__":
    from detection_worker.__main__ import main

    if Path("/proc/self/schedstat").exists():  # else no stage is told
        watcher = threading.Thread(
            target=_watch, args=(Path(os.environ[REPORT]),), name="this benchmark", daemon=True
        )
        watcher.start()
    raise SystemExit(main())
