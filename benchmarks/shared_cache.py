"""How much faster a second pass over the same objects is with the cache that workers share.

A fresh ``detection-worker consume --cache`` works off one message an object, twice: the first pass
fills the cache, the second, by a new process, reads it. Both are pinned to one CPU; the local SQS
and S3 have another. Six of ten objects are photos of 1280 x 960 pixels, three are sounds of 10 s,
one is a video of 5 s at 640 x 360 pixels. A pass is measured from its first receive to its last
delete, by the journal of the local SQS.

    python benchmarks/shared_cache.py                 # 1,000 objects
    python benchmarks/shared_cache.py --objects 60 --json
"""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from detection_testing.aws.local_aws import LocalAws
from detection_testing.media.sample_media import make_audio, make_image, make_video

GOAL_TIMES = 20.0
GOAL_CALLS = 2.0
BUCKET = "media"
CACHE = "cache"
MIX = ("photo", "photo", "photo", "sound", "sound", "photo", "photo", "sound", "photo", "video")
"""Kinds of ten objects in a row."""
DISTINCT = 8
"""Files of each kind; the objects are copies under names of their own, which the cache must not
take for the same."""
TIMEOUT_S = 3600.0
_LINE = re.compile(r"Detection complete - (.+) for (\S+)$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """One pass over all objects.

    Attributes:
        seconds: From the first receive to the last delete.
        per_s: Objects a second.
        s3_calls: Calls to S3 for each object.
        verdicts: What the worker's log says of each request.
    """

    seconds: float
    per_s: float
    s3_calls: float
    verdicts: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Both passes.

    Attributes:
        objects: How many.
        first_s: Seconds of the first pass.
        second_s: Seconds of the second.
        times: How many times faster the second is.
        s3_calls_first: Calls to S3 for each object in the first pass.
        s3_calls_hit: The same in the second, where each is a hit.
        different: Objects whose label or confidence differs between the passes.
    """

    objects: int
    first_s: float
    second_s: float
    times: float
    s3_calls_first: float
    s3_calls_hit: float
    different: int


class Lab:
    """Local AWS with the objects, and one worker after the other on a CPU of its own."""

    def __init__(self, aws: LocalAws, folder: Path, *, objects: int, cpu: int) -> None:
        self._aws = aws
        self._folder = folder
        self._cpu = cpu
        self._keys = list(_upload(aws, folder, objects))
        aws.s3().create_bucket(Bucket=CACHE)

    def work_off(self, name: str) -> Pass:
        """Send a message for each object to a fresh queue, and let a fresh worker do them."""
        queue_url, _ = self._aws.create_queue(name, max_receive_count=100)
        self._aws.send(queue_url, [self._body(key) for key in self._keys])
        before = Counter(self._aws.stats()["requests"])
        log = self._folder / f"{name}.log"
        with log.open("wb") as output, self._worker(queue_url, output) as worker:
            self._wait_until_empty(name, worker)
            calls = Counter(self._aws.stats()["requests"]) - before
            worker.send_signal(signal.SIGTERM)
            if worker.wait(60) != 0:
                raise SystemExit(f"the worker did not end cleanly:\n{log.read_text()[-2000:]}")
        seconds = self._seconds_of(name)
        return Pass(
            seconds=seconds,
            per_s=len(self._keys) / seconds,
            s3_calls=sum(n for op, n in calls.items() if op.startswith("s3.")) / len(self._keys),
            verdicts=_verdicts(log),
        )

    def _body(self, key: str) -> str:
        return json.dumps({"sqs_to_ml_url": f"s3://{BUCKET}/{key}", "request_id": key})

    def _worker(self, queue_url: str, output: IO[bytes]) -> "subprocess.Popen[bytes]":
        process = subprocess.Popen(
            [
                *(sys.executable, "-P", "-m", "detection_worker", "consume"),
                *("--queue-url", queue_url),
                *("--cache", f"s3://{CACHE}/scores/"),
                *("--wait-time", "1"),
                *("--decoders", "1"),
                *("--torch-threads", "1"),
            ],
            env={**os.environ, **self._aws.environment(), "LOG_FORMAT": "plain"},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        # Before it has any thread or child: they inherit it.
        os.sched_setaffinity(process.pid, {self._cpu})
        return process

    def _wait_until_empty(self, name: str, worker: "subprocess.Popen[bytes]") -> None:
        deadline = time.monotonic() + TIMEOUT_S
        while sum(self._aws.stats()["queues"][name].values()):
            if worker.poll() is not None:
                raise SystemExit("the worker has ended; its log is above")
            if time.monotonic() > deadline:
                raise SystemExit(f"messages are left after {TIMEOUT_S:.0f} s")
            time.sleep(0.2)

    def _seconds_of(self, name: str) -> float:
        events = [e for e in self._aws.journal() if e.queue == name]
        first = min(e.at_s for e in events if e.kind == "received")
        return max(e.at_s for e in events if e.kind == "deleted") - first


def _upload(aws: LocalAws, folder: Path, objects: int) -> Iterator[str]:
    """Upload the objects and yield their keys."""
    makers: dict[str, Callable[[int], Path]] = {
        "photo": lambda n: make_image(folder / f"p{n}.jpg", width=1280, height=960, seed=n),
        "sound": lambda n: make_audio(
            folder / f"s{n}.wav", codec="pcm_s16le", seconds=10, rate_hz=16_000, seed=n
        ),
        "video": lambda n: make_video(
            folder / f"v{n}.mp4", codec="h264", seconds=5, fps=25, width=640, height=360, seed=n
        ),
    }
    made: dict[tuple[str, int], Path] = {}
    for number in range(objects):
        kind = MIX[number % len(MIX)]
        which = (kind, number // len(MIX) % DISTINCT)
        if which not in made:
            made[which] = makers[kind](which[1])
        key = f"{number:05d}{made[which].suffix}"
        aws.put_object(BUCKET, key, made[which].read_bytes())
        yield key


def _verdicts(log: Path) -> dict[str, str]:
    found = (_LINE.search(line) for line in log.read_text().splitlines())
    return {match[2]: match[1] for match in found if match}


def measure(objects: int) -> Report:
    """Run both passes."""
    every = os.sched_getaffinity(0)
    worker_cpu = min(every)
    os.sched_setaffinity(0, every - {worker_cpu} or every)  # the local AWS inherits it
    with tempfile.TemporaryDirectory() as name, LocalAws.in_process() as aws:
        lab = Lab(aws, Path(name), objects=objects, cpu=worker_cpu)
        first = lab.work_off("first")
        _say(f"  first pass: {first.seconds:.1f} s, {first.per_s:.1f}/s")
        second = lab.work_off("second")
        _say(f"  second pass: {second.seconds:.1f} s, {second.per_s:.1f}/s")
    if not len(first.verdicts) == len(second.verdicts) == objects:
        raise SystemExit("the log does not have every result")
    return Report(
        objects=objects,
        first_s=round(first.seconds, 2),
        second_s=round(second.seconds, 2),
        times=round(first.seconds / second.seconds, 1),
        s3_calls_first=round(first.s3_calls, 3),
        s3_calls_hit=round(second.s3_calls, 3),
        different=sum(first.verdicts[k] != second.verdicts[k] for k in first.verdicts),
    )


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> int:
    """Print the figures; exit 1 if the cache answers too slowly, too dearly or differently."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--objects", type=int, default=1000)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args()
    report = measure(args.objects)
    if args.json:
        print(json.dumps(asdict(report)))
    else:
        for key, value in asdict(report).items():
            print(f"{key:16} {value}")
    good = report.times >= GOAL_TIMES and report.s3_calls_hit <= GOAL_CALLS
    return 0 if good and report.different == 0 else 1


if __name__ == "__main__":
    raise SystemExit(main())
