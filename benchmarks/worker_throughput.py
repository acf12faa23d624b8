"""Messages a second: a sequential loop, a thread pool of it, this worker, the machine's limit.

One run, one machine, the same media, models and injected latency for all: a strict local SQS, S3
and callback receiver in a process of its own answers S3 reads after 40 ms and callbacks after
80 ms.

- ``sequential``: the loop of the original guide: receive, then for each message fetch, decode,
  score, post, delete.
- ``pool N``: N threads that run that loop; the best N counts.
- ``worker``: ``detection-worker consume`` with its defaults.
- ``limit``: decoding and scoring alone, files on the local disk, the worker's own processes and
  batch size, nothing else: what the machine could do if network and bookkeeping were free.

The local services share the machine's cores; their CPU share is printed next to each rate.

``--destinations`` compares the worker with itself: with the callback alone, and with every
destination (``--results``, an SNS topic and an EventBridge bus beside the callback; in a row of
its own an SQS queue too). S3 writes then take 40 ms as well, publications 20 ms. The rows take
turns, and the median of each counts. Beside each rate is the CPU that a message costs the worker
with all its processes, and the local services: neither depends on what else the machine does.
``--pin`` gives the worker a core of its own, so that its rate is not the local services' either.

    python benchmarks/worker_throughput.py                # two media sets, a few minutes
    python benchmarks/worker_throughput.py --destinations
    python benchmarks/worker_throughput.py --destinations --pin
    python benchmarks/worker_throughput.py --json
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path

import boto3
import numpy as np
import requests
import torch
from botocore.config import Config

from detection_contract.media_types import MediaKind
from detection_testing.aws.faults import Fault
from detection_testing.aws.local_aws import LocalAws
from detection_testing.cpu import tree_cpu_s
from detection_testing.media.sample_media import make_image, make_video
from detection_worker.core.verdict import judge
from detection_worker.detectors.base import Detector
from detection_worker.detectors.model_folder.listing import bundled_models_dir
from detection_worker.detectors.registry import load_detectors
from detection_worker.media.decode import decode_file
from detection_worker.media.jail.pool import ProcessDecoder
from detection_worker.media.jail.wire import order_of
from detection_worker.media.values import DecodedMedia
from detection_worker.pipeline.files.analysis import decode_request
from detection_worker.settings import MediaLimits

BUCKET = "media"
S3_LATENCY_S = 0.040
CALLBACK_LATENCY_S = 0.080
BATCH_UNITS = 32
POOL_SIZES = (2, 4, 8, 16, 32)
PUBLISH_LATENCY_S = 0.020
TURNS = 3
WARM_SHARE = 0.1
"""Share of the results at the start that does not count."""

Detectors = Mapping[MediaKind, Detector]


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaSet:
    """Files of one kind of load.

    Attributes:
        name: For the table.
        files: Contents by key.
        messages: For the worker, the pool and the limit.
        slow_messages: For the sequential loop, which needs no more for a steady rate.
    """

    name: str
    files: Mapping[str, bytes]
    messages: int
    slow_messages: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """One measured row.

    Attributes:
        name: Contender.
        per_s: Messages a second after the warm-up.
        sqs_calls: For each message; None where none are made.
        s3_calls: For each message.
        local_aws_cores: CPU of the local services while it ran, in cores.
        cpu_ms: CPU of the contender's processes for each message after the warm-up.
        local_aws_ms: CPU of the local services for each message.
    """

    name: str
    per_s: float
    sqs_calls: float | None = None
    s3_calls: float | None = None
    local_aws_cores: float | None = None
    cpu_ms: float | None = None
    local_aws_ms: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A contender that was started.

    Attributes:
        stop: Ends it.
        cpu_s: CPU seconds of its processes so far.
    """

    stop: Callable[[], None]
    cpu_s: Callable[[], float]


@dataclass(slots=True)
class Bench:
    """One media set on a running local AWS."""

    aws: LocalAws
    media: MediaSet
    folder: Path
    models_dir: Path
    rows: list[Rate] = field(default_factory=list)
    _queues: int = 0

    def measure(self, name: str, messages: int, run: Callable[[str], Running]) -> Rate:
        """Let a contender consume a fresh queue and return its steady rate.

        Args:
            name: Label of the row.
            messages: Number of messages to send.
            run: Starts the contender on a queue URL.
        """
        self._queues += 1
        queue_url, _ = self.aws.create_queue(f"bench-{self._queues}", max_receive_count=100)
        self.aws.send(queue_url, [self._body(i) for i in range(messages)])
        before = self.aws.stats()
        known = len(self.aws.callbacks())
        started = time.monotonic()
        running = run(queue_url)
        times, cpu_ms = self._wait_for(known, messages, running.cpu_s)
        wall_s = time.monotonic() - started
        running.stop()
        after = self.aws.stats()
        local_s = after["cpu_process_s"] - before["cpu_process_s"]
        calls = Counter(after["requests"])
        calls.subtract(before["requests"])
        row = Rate(
            name=name,
            per_s=_steady_rate(times),
            sqs_calls=sum(n for op, n in calls.items() if _is_consumer_call(op)) / messages,
            s3_calls=sum(n for op, n in calls.items() if _is_s3_call(op)) / messages,
            local_aws_cores=local_s / wall_s,
            cpu_ms=cpu_ms,
            local_aws_ms=local_s / messages * 1000,
        )
        self._say(row)
        return row

    def limit(self) -> Rate:
        """Decode and score from the local disk at the worker's batch size; nothing else."""
        paths = []
        for key, content in self.media.files.items():
            path = self.folder / key
            path.write_bytes(content)
            paths.append(path)
        detectors = load_detectors(self.models_dir).by_kind
        times = _decode_and_score(paths, detectors, count=self.media.messages)
        row = Rate(name="limit", per_s=_steady_rate(times))
        self._say(row)
        return row

    def _body(self, number: int) -> str:
        keys = list(self.media.files)
        return json.dumps(
            {
                "sqs_to_ml_url": f"s3://{BUCKET}/{keys[number % len(keys)]}",
                "callback_url": self.aws.callback_url("/ok"),
                "request_id": f"r{self._queues}-{number}",
            }
        )

    def _wait_for(
        self, known: int, messages: int, cpu_s: Callable[[], float]
    ) -> tuple[list[float], float]:
        """Return when each result came, and the CPU ms of each after the warm-up."""
        deadline = time.monotonic() + 600
        times: list[float] = []
        warm: tuple[int, float] | None = None
        while len(times) < messages:
            if time.monotonic() > deadline:
                raise SystemExit(f"only {len(times)} of {messages} results arrived in 600 s")
            fresh = self.aws.callbacks(since=known + len(times))
            times += [c.at_s for c in fresh]
            if warm is None and len(times) >= messages * WARM_SHARE:
                warm = len(times), cpu_s()
            time.sleep(0.1)
        count, before_s = warm or (0, 0.0)
        return times, (cpu_s() - before_s) / max(1, messages - count) * 1000

    def _say(self, row: Rate) -> None:
        self.rows.append(row)
        print(f"  {self.media.name}: {row.name} {row.per_s:.1f}/s", file=sys.stderr, flush=True)


# -- the guide's loop ----------------------------------------------------------------------------


class GuideLoop:
    """Receive, fetch, decode, score, post, delete; one message after the other.

    Kinder than the guide to itself: one S3 call a message, and a kept-alive callback connection.
    """

    def __init__(self, aws: LocalAws, queue_url: str, detectors: Detectors) -> None:
        session = boto3.Session(region_name=aws.region)
        keys = {
            "aws_access_key_id": aws.credentials.access_key_id,
            "aws_secret_access_key": aws.credentials.secret_access_key,
            "endpoint_url": aws.endpoint_url,
        }
        config = Config(max_pool_connections=64, s3={"addressing_style": "path"})
        self._sqs = session.client("sqs", config=config, **keys)
        self._s3 = session.client("s3", config=config, **keys)
        self._queue_url = queue_url
        self._detectors = detectors
        self._device = threading.Lock()
        self._local = threading.local()
        self.stopping = threading.Event()

    def run(self) -> None:
        """Consume until told to stop."""
        self._local.http = requests.Session()
        while not self.stopping.is_set():
            answer = self._sqs.receive_message(
                QueueUrl=self._queue_url, MaxNumberOfMessages=10, WaitTimeSeconds=1
            )
            for message in answer.get("Messages", []):
                self._process(json.loads(message["Body"]))
                self._sqs.delete_message(
                    QueueUrl=self._queue_url, ReceiptHandle=message["ReceiptHandle"]
                )

    def _process(self, body: Mapping[str, str]) -> None:
        key = body["sqs_to_ml_url"].rsplit("/", 1)[1]
        with tempfile.NamedTemporaryFile(suffix=key) as file:
            file.write(self._s3.get_object(Bucket=BUCKET, Key=key)["Body"].read())
            file.flush()
            decoded = _decode_here(Path(file.name), self._detectors)
        result = self._score(decoded)
        answer = self._local.http.post(body["callback_url"], json={**body, **result}, timeout=30)
        answer.raise_for_status()

    def _score(self, decoded: DecodedMedia) -> dict[str, object]:
        detector = self._detectors[decoded.info.kind]
        logits = detector.logits(decoded.units)
        verdict = judge(
            logits.tolist(),
            decoded.frame.tolist(),
            pooling=detector.card.pooling,
            calibration=detector.card.calibration,
            threshold=0.5,
        )
        return {"label": verdict.label, "prediction_score": verdict.score}


def guide(aws: LocalAws, detectors: Detectors, *, threads: int) -> Callable[[str], Running]:
    """Return how to run the guide's loop on ``threads`` threads."""

    def start(queue_url: str) -> Running:
        loop = GuideLoop(aws, queue_url, detectors)
        # A lone loop gives its forward pass all cores; many loops share them one each.
        torch.set_num_threads((os.cpu_count() or 1) if threads == 1 else 1)
        pool = ThreadPoolExecutor(threads)
        futures = [pool.submit(loop.run) for _ in range(threads)]

        def stop() -> None:
            loop.stopping.set()
            for future in futures:
                future.result()
            pool.shutdown()

        return Running(stop=stop, cpu_s=time.process_time)

    return start


# -- this worker ---------------------------------------------------------------------------------


def worker(
    aws: LocalAws, models_dir: Path, *options: str, core: int | None = None
) -> Callable[[str], Running]:
    """Return how to run ``detection-worker consume`` with its defaults and these options.

    Args:
        aws: What it works with.
        models_dir: Its models.
        options: Further ones of the command.
        core: The only core that it may use; None for all.
    """

    def start(queue_url: str) -> Running:
        with pinned(core):  # a process has the cores of the thread that starts it
            process = subprocess.Popen(
                [
                    *(sys.executable, "-P", "-m", "detection_worker", "consume"),
                    *("--queue-url", queue_url),
                    *("--endpoint-url", aws.endpoint_url),
                    *("--models-dir", str(models_dir)),
                    *("--wait-time", "2"),
                    "--callback-allow-private",
                    *options,
                ],
                env={**os.environ, **aws.environment(), "LOG_LEVEL": "WARNING"},
            )

        def stop() -> None:
            process.send_signal(signal.SIGTERM)
            if process.wait(60) != 0:
                raise SystemExit("the worker did not end cleanly")

        return Running(stop=stop, cpu_s=lambda: tree_cpu_s(process.pid))

    return start


@contextmanager
def pinned(core: int | None) -> Iterator[None]:
    """Run on one core meanwhile, this thread and what it starts; None changes nothing."""
    before = os.sched_getaffinity(0)
    if core is not None:
        os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


# -- the machine's limit -------------------------------------------------------------------------


def _decode_and_score(paths: list[Path], detectors: Detectors, *, count: int) -> list[float]:
    """Return when each of ``count`` files was decoded and scored."""
    cores = os.cpu_count() or 1
    waiting: deque[DecodedMedia] = deque()
    ready = threading.Semaphore(0)
    room = threading.Semaphore(BATCH_UNITS * 2)
    with ProcessDecoder(cores) as decoder, ThreadPoolExecutor(cores) as threads:
        decoder.warm()

        def decode(number: int) -> None:
            room.acquire()
            request = decode_request(
                paths[number % len(paths)],
                name=paths[number % len(paths)].name,
                detectors=detectors,
                limits=MediaLimits(),
            )
            waiting.append(
                decoder.decode(request, on_progress=lambda: None, cancelled=lambda: False)
            )
            ready.release()

        futures = [threads.submit(decode, i) for i in range(count)]
        times = _score_all(waiting, ready, room, detectors=detectors, count=count)
        for future in futures:
            future.result()
    return times


def _score_all(
    waiting: deque[DecodedMedia],
    ready: threading.Semaphore,
    room: threading.Semaphore,
    *,
    detectors: Detectors,
    count: int,
) -> list[float]:
    times: list[float] = []
    while len(times) < count:
        ready.acquire()
        batch = [waiting.popleft()]
        while sum(len(d.units) for d in batch) < BATCH_UNITS and ready.acquire(blocking=False):
            batch.append(waiting.popleft())
        kind = batch[0].info.kind
        units = np.concatenate([d.units for d in batch])
        for start in range(0, len(units), BATCH_UNITS):
            detectors[kind].logits(units[start : start + BATCH_UNITS])
        for _ in batch:
            times.append(time.time())
            room.release()
    return times


# -- media and figures ---------------------------------------------------------------------------


def small_images(folder: Path) -> MediaSet:
    """Photographs of one crop: network latency dominates a sequential loop."""
    files = {}
    for i in range(16):
        path = make_image(folder / f"small{i}.jpg", width=160, height=144, seed=i)
        files[path.name] = path.read_bytes()
    return MediaSet(name="images", files=files, messages=1500, slow_messages=80)


def videos(folder: Path) -> MediaSet:
    """Clips of five seconds: decoding and scoring dominate."""
    files = {}
    for i in range(4):
        path = folder / f"clip{i}.mp4"
        make_video(path, codec="h264", seconds=5, fps=25, width=640, height=360, seed=i)
        files[path.name] = path.read_bytes()
    return MediaSet(name="videos", files=files, messages=200, slow_messages=40)


def _decode_here(path: Path, detectors: Detectors) -> DecodedMedia:
    request = decode_request(path, name=path.name, detectors=detectors, limits=MediaLimits())
    with path.open("rb") as file:
        return decode_file(file, order_of(request), tick=lambda: None)


def _steady_rate(times: list[float]) -> float:
    ordered = sorted(times)
    first = max(1, int(len(ordered) * WARM_SHARE))
    return (len(ordered) - first) / (ordered[-1] - ordered[first - 1])


# -- the worker with and without destinations ----------------------------------------------------


def compare_destinations(
    aws: LocalAws,
    media: MediaSet,
    folder: Path,
    models_dir: Path,
    *,
    turns: int,
    core: int | None = None,
) -> dict[str, object]:
    """Measure the worker with more and more destinations, on one core or on all."""
    for key, content in media.files.items():
        aws.put_object(BUCKET, key, content)
    bench = Bench(aws, media, folder, models_dir)
    contenders = _destinations(aws)
    rows: dict[str, list[Rate]] = {name: [] for name in contenders}
    for _ in range(turns):
        for name, options in contenders.items():
            start = worker(aws, models_dir, *options, core=core)
            rows[name].append(bench.measure(name, media.messages, start))
    medians = {
        name: sorted(found, key=lambda row: row.per_s)[turns // 2] for name, found in rows.items()
    }
    alone, *others = medians.values()
    return {
        "rows": [asdict(row) for row in medians.values()],
        "shares": {row.name: row.per_s / alone.per_s for row in others},
    }


def _destinations(aws: LocalAws) -> dict[str, tuple[str, ...]]:
    """Return the options of each row."""
    topic = aws.create_topic("results")
    queue_url, _ = aws.create_queue("results", dead_letter=False)
    aws.s3().create_bucket(Bucket="results")
    bus = f"arn:aws:events:{aws.region}:123456789012:event-bus/default"
    every = ("--results", "s3://results/", "--on-success", f"{topic},{bus}")
    return {
        "callback": (),
        "S3, SNS, events": every,
        "and SQS": (*every[:-1], f"{every[-1]},{aws.queue_arn(queue_url)}"),
    }


def _print_destinations(name: str, report: Mapping[str, object]) -> None:
    print(f"\n{name}")
    print(
        f"  {'':16} {'msg/s':>8} {'share':>6} {'SQS/msg':>8} {'S3/msg':>7} {'CPU ms/msg':>11} "
        f"{'local AWS':>10}"
    )
    rows, shares = report["rows"], report["shares"]
    assert isinstance(rows, list)
    assert isinstance(shares, dict)
    for row in rows:
        share = f"{shares[row['name']]:.2f}" if row["name"] in shares else ""
        print(
            f"  {row['name']:16} {row['per_s']:8.1f} {share:>6} {row['sqs_calls']:8.2f} "
            f"{row['s3_calls']:7.2f} {row['cpu_ms']:11.2f} {row['local_aws_ms']:10.2f}"
        )


def _is_s3_call(operation: str) -> bool:
    # A call that a fault delays is counted a second time, as such.
    return operation.startswith("s3.") and not operation.endswith(" (fault)")


def _is_consumer_call(operation: str) -> bool:
    return operation.startswith("sqs.") and operation not in {
        "sqs.CreateQueue",
        "sqs.SendMessageBatch",
    }


def run_set(aws: LocalAws, media: MediaSet, folder: Path, models_dir: Path) -> dict[str, object]:
    """Measure every contender on one media set."""
    for key, content in media.files.items():
        aws.put_object(BUCKET, key, content)
    bench = Bench(aws, media, folder, models_dir)
    detectors = load_detectors(models_dir).by_kind
    for kind_file in list(media.files)[:1]:
        (folder / kind_file).write_bytes(media.files[kind_file])
        _decode_here(folder / kind_file, detectors)
    bench.measure("sequential", media.slow_messages, guide(aws, detectors, threads=1))
    pools = [
        bench.measure(
            f"pool {n}",
            min(media.messages, media.slow_messages * n),
            guide(aws, detectors, threads=n),
        )
        for n in POOL_SIZES
    ]
    ours = bench.measure("worker", media.messages, worker(aws, models_dir))
    torch.set_num_threads(os.cpu_count() or 1)
    limit = bench.limit()
    sequential = bench.rows[0]
    best = max(pools, key=lambda row: row.per_s)
    return {
        "rows": [asdict(row) for row in bench.rows],
        "times_sequential": ours.per_s / sequential.per_s,
        "times_best_pool": ours.per_s / best.per_s,
        "best_pool": best.name,
        "share_of_limit": ours.per_s / limit.per_s,
        "sqs_calls_per_message": ours.sqs_calls,
    }


def _print_table(name: str, report: Mapping[str, object]) -> None:
    print(f"\n{name}")
    print(f"  {'':12} {'msg/s':>8} {'SQS/msg':>8} {'S3/msg':>7} {'local AWS, cores':>17}")
    rows = report["rows"]
    assert isinstance(rows, list)
    for row in rows:
        cells = [row["sqs_calls"], row["s3_calls"], row["local_aws_cores"]]
        shown = ["" if c is None else f"{c:.2f}" for c in cells]
        print(f"  {row['name']:12} {row['per_s']:8.1f} {shown[0]:>8} {shown[1]:>7} {shown[2]:>17}")
    print(f"  worker / sequential {report['times_sequential']:.2f}")
    print(f"  worker / best pool  {report['times_best_pool']:.2f} ({report['best_pool']})")
    print(f"  worker / limit      {report['share_of_limit']:.2f}")


def main() -> int:
    """Run both media sets and print the table."""
    parser = argparse.ArgumentParser(description="Throughput of the worker against its peers.")
    parser.add_argument("--models-dir", type=Path, default=bundled_models_dir())
    parser.add_argument(
        "--sets", nargs="*", choices=["images", "videos"], default=["images", "videos"]
    )
    parser.add_argument(
        "--destinations", action="store_true", help="compare the worker with and without them"
    )
    parser.add_argument(
        "--pin",
        action="store_true",
        help="with --destinations: a core for the worker, another for the local services",
    )
    parser.add_argument("--messages", type=int, help="default: 1500 images, 200 videos")
    parser.add_argument(
        "--turns", type=int, default=TURNS, help="runs of each row with --destinations"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args()
    if args.pin and not args.destinations:
        parser.error("--pin needs --destinations: the other contenders run in this process")
    cores = sorted(os.sched_getaffinity(0))
    own, theirs = (cores[0], cores[-1]) if args.pin else (None, None)
    compare = partial(compare_destinations, turns=args.turns, core=own)
    run = compare if args.destinations else run_set
    show = _print_destinations if args.destinations else _print_table
    makers = {"images": small_images, "videos": videos}
    reports: dict[str, dict[str, object]] = {}
    with (
        tempfile.TemporaryDirectory() as name,
        pinned(theirs),
        LocalAws.in_process() as aws,
    ):
        aws.inject(Fault(operation="s3.GetObject", kind="latency", seconds=S3_LATENCY_S))
        aws.inject(Fault(operation="s3.PutObject", kind="latency", seconds=S3_LATENCY_S))
        aws.inject(Fault(operation="callback.*", kind="latency", seconds=CALLBACK_LATENCY_S))
        for publish in ("sns.PublishBatch", "events.PutEvents"):
            aws.inject(Fault(operation=publish, kind="latency", seconds=PUBLISH_LATENCY_S))
        for set_name in args.sets:
            folder = Path(name) / set_name
            folder.mkdir()
            media = makers[set_name](folder)
            media = replace(media, messages=args.messages or media.messages)
            reports[set_name] = run(aws, media, folder, args.models_dir)
    if args.json:
        print(json.dumps(reports))
        return 0
    for set_name, report in reports.items():
        show(set_name, report)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
