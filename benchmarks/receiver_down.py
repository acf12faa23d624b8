"""What a receiver that is down costs the others, and whether its callbacks arrive later.

Workers with ``--outbox`` and ``--results`` consume photos from a strict local SQS and S3 at full
load: the queue is never empty. A quarter of the callbacks go to one host, the rest to another.
First both answer. Then the one host accepts connections and never answers (``--fault hang``),
resets them (``reset``), or answers 503 (``error``), for ten minutes; then it is back. Compared is
the rate at which the other host gets results. Part two does the same while workers are killed with
SIGKILL.

``--scale 10`` divides the outage, timeouts (to no less than 2 s) and the outbox's schedule by ten.
At scale 1 a part takes an hour, for the third attempt comes 35 minutes after the first;
``--outbox-scale 20`` divides the outbox's schedule alone, by twenty.

    python benchmarks/receiver_down.py                # an outage of one minute, both parts
    python benchmarks/receiver_down.py --scale 1 --outbox-scale 20   # of ten minutes
    python benchmarks/receiver_down.py --scale 60 --kills 4 --json
"""

import argparse
import hashlib
import json
import random
import signal
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from detection_testing.aws.faults import Fault
from detection_testing.aws.local_aws import LocalAws
from detection_testing.crashes.fleet import ForkedWorker, fork_worker, wait_for
from detection_testing.crashes.process import speed_up_outbox
from detection_testing.media.sample_media import make_image
from detection_worker.settings import (
    AwsSettings,
    CallbackSettings,
    ConsumerSettings,
    DataSettings,
    ResultSettings,
    Settings,
)

BUCKET = "media"
FILES = 16
S3_LATENCY_S = 0.040
CALLBACK_LATENCY_S = 0.080
OUTAGE_S = 600.0
MAX_BEFORE_S = 120.0
SHARE_OF_DOWN = 0.25
BACKLOG = 400
"""Messages that wait at least, so that the worker is never idle."""
WARM_UP_S = 5.0
VISIBILITY_S = 10
UNNOTICED_S = 60.0
"""How much longer the host stays down at most, while no callback has come to the outbox."""
MIN_TIMEOUT_S = 2.0
"""A busy machine must not look like a receiver that is down."""
GOAL_SHARE = 0.95
DOWN, UP = "down", "up"
QUIET, KILLS = "outage", "kills"
PARTS = (QUIET, KILLS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One part.

    Attributes:
        outage_s: How long the one host was down.
        kills: SIGKILLs meanwhile.
        sent: Messages sent.
        for_down: Those whose callback goes to the host that was down.
        through_outbox: Callbacks that waited in the outbox.
        before_per_s: Results a second that the other host got before the outage.
        during_per_s: The same during the outage.
        share: The second by the first.
        lost: Messages without a callback in the end.
        repeated: Callbacks that were answered with 200 more than once.
        changed: Repeated callbacks with another id or other bytes.
        wrong_ids: Callbacks whose id is not that of their message.
        recovery_s: From the end of the outage to the last callback.
    """

    outage_s: float
    kills: int
    sent: int
    for_down: int
    through_outbox: int
    before_per_s: float
    during_per_s: float
    share: float
    lost: int
    repeated: int
    changed: int
    wrong_ids: int
    recovery_s: float


class Arrived(NamedTuple):
    """A callback that was answered with 200."""

    at_s: float
    request_id: str
    webhook_id: str
    digest: str


@dataclass(slots=True)
class Lab:
    """Local AWS with a work queue that never runs empty, and an outbox."""

    aws: LocalAws
    folder: Path
    scale: float
    outbox_scale: float
    fault: str
    sent: dict[str, str] = field(default_factory=dict)
    """SQS message id by request id."""
    arrived: list[Arrived] = field(default_factory=list)
    workers: list[ForkedWorker] = field(default_factory=list)
    _seen: int = 0
    _stop: threading.Event = field(default_factory=threading.Event)
    _sending: threading.Lock = field(default_factory=threading.Lock)
    _feeder: threading.Thread | None = None
    queue_url: str = ""
    outbox_url: str = ""

    def __enter__(self) -> Self:
        self.queue_url, _ = self.aws.create_queue("work", max_receive_count=1000)
        self.outbox_url, _ = self.aws.create_queue("outbox", max_receive_count=1000)
        self.aws.s3().create_bucket(Bucket="results")
        for i in range(FILES):
            path = make_image(self.folder / f"{i}.jpg", width=160, height=144, seed=i)
            self.aws.put_object(BUCKET, path.name, path.read_bytes())
        self._feeder = threading.Thread(target=self._feed)
        self._feeder.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop_feeding()
        for worker in self.workers:
            worker.end(signal.SIGTERM if kind is None else signal.SIGKILL)

    def stop_feeding(self) -> None:
        """Send no more messages."""
        self._stop.set()
        if self._feeder is not None:
            self._feeder.join()

    def start_worker(self) -> None:
        """Start one more worker."""
        credentials, scale = self.aws.credentials, self.scale
        callback = CallbackSettings()
        settings = Settings(
            aws=AwsSettings(
                access_key_id=credentials.access_key_id,
                secret_access_key=credentials.secret_access_key,
                endpoint_url=self.aws.endpoint_url,
            ),
            data=DataSettings(s3_cache_dir=self.folder / "cache"),
            callback=CallbackSettings(
                allow_private=True,
                connect_timeout_s=max(0.1, callback.connect_timeout_s / scale),
                read_timeout_s=max(MIN_TIMEOUT_S, callback.read_timeout_s / scale),
                retry_base_s=callback.retry_base_s / scale,
                max_elapsed_s=max(2 * MIN_TIMEOUT_S, callback.max_elapsed_s / scale),
            ),
            results=ResultSettings(
                outbox_url=self.outbox_url, results_url="s3://results/envelopes/"
            ),
        )
        consumer = ConsumerSettings(
            queue_url=self.queue_url,
            wait_time_s=2,
            visibility_timeout_s=VISIBILITY_S,
            poll_interval_s=0.2,
            max_backoff_s=2,
        )
        log = self.folder / "workers.log"
        prepare = partial(speed_up_outbox, self.outbox_scale)
        with self._sending:  # a fork copies a lock that another thread holds
            self.workers.append(fork_worker(settings, consumer, log=log, prepare=prepare))

    def replace_worker(self) -> None:
        """Kill the oldest worker and start another."""
        self.workers.pop(0).end(signal.SIGKILL)
        self.start_worker()

    def begin_outage(self) -> None:
        """Let the one host fail from now on."""
        kind = "latency" if self.fault == "hang" else self.fault
        self.aws.inject(
            Fault(
                operation="callback.*",
                kind=kind,  # type: ignore[arg-type] # one of the choices of --fault
                path=f"*/ok/{DOWN}",
                seconds=86_400 if self.fault == "hang" else 0,
            )
        )

    def end_outage(self) -> None:
        """Let it answer again."""
        self.aws.clear_faults()
        slow_down(self.aws)

    def look(self) -> None:
        """Fetch the callbacks that arrived since the last look."""
        fresh = self.aws.callbacks(since=self._seen)
        self._seen += len(fresh)
        for callback in fresh:
            if callback.accepted:
                headers = callback.headers
                self.arrived.append(
                    Arrived(
                        callback.at_s,
                        headers["x-request-id"],
                        headers["webhook-id"],
                        hashlib.sha256(callback.body).hexdigest(),
                    )
                )

    def rate(self, since_s: float, until_s: float) -> float:
        """Return the results a second that the host which is never down got in a time."""
        self.look()
        times = [a.at_s for a in self.arrived if a.request_id.startswith(UP)]
        return sum(since_s <= at < until_s for at in times) / (until_s - since_s)

    def now_s(self) -> float:
        """Return the time on the clock of the local services."""
        return float(self.aws.stats()["now_s"])

    def open_messages(self) -> int:
        """Return how many messages and callbacks are not done."""
        queues = self.aws.stats()["queues"]
        return sum(sum(queues[name].values()) for name in ("work", "outbox"))

    def through_outbox(self) -> set[str]:
        """Return the ids of the callbacks that waited in the outbox so far."""
        entries = (e.detail for e in self.aws.journal() if (e.queue, e.kind) == ("outbox", "sent"))
        return {json.loads(entry)["webhook_id"] for entry in entries}

    def _feed(self) -> None:
        """Keep the backlog up."""
        while not self._stop.wait(0.2):
            with self._sending:
                if self.aws.stats()["queues"]["work"]["visible"] < BACKLOG:
                    self._send(BACKLOG)

    def _send(self, count: int) -> None:
        start = len(self.sent)
        hosts_of = [random.random() < SHARE_OF_DOWN for _ in range(count)]
        ids = [f"{DOWN if d else UP}-{start + i}" for i, d in enumerate(hosts_of)]
        bodies = [
            json.dumps(
                {
                    "sqs_to_ml_url": f"s3://{BUCKET}/{i % FILES}.jpg",
                    "callback_url": self._receiver(DOWN if down else UP),
                    "request_id": ids[i],
                }
            )
            for i, down in enumerate(hosts_of)
        ]
        self.sent.update(zip(ids, self.aws.send(self.queue_url, bodies), strict=True))

    def _receiver(self, name: str) -> str:
        """Return a callback URL; the two hosts have names of their own for the same machine."""
        url = self.aws.callback_url(f"/ok/{name}")
        return url.replace("127.0.0.1", "localhost") if name == DOWN else url


def slow_down(aws: LocalAws) -> None:
    """Let S3 and callbacks take their time, as over a network."""
    for operation in ("s3.GetObject", "s3.PutObject"):
        aws.inject(Fault(operation=operation, kind="latency", seconds=S3_LATENCY_S))
    aws.inject(Fault(operation="callback.*", kind="latency", seconds=CALLBACK_LATENCY_S))


def run_part(lab: Lab, *, workers: int, kills: int) -> Report:
    """Measure before and during the outage, then wait until every callback has arrived."""
    outage_s = OUTAGE_S / lab.scale
    slow_down(lab.aws)
    for _ in range(workers):
        lab.start_worker()
    for worker in lab.workers:
        worker.wait_ready()
    time.sleep(WARM_UP_S)
    began_s = lab.now_s()
    _pass_time(lab, min(outage_s, MAX_BEFORE_S), kills=0)
    before = lab.rate(began_s, lab.now_s())
    lab.begin_outage()
    began_s = lab.now_s()
    _pass_time(lab, outage_s, kills=kills)
    wait_for(lambda: bool(lab.through_outbox()), timeout_s=UNNOTICED_S)
    ended_s = lab.now_s()
    during = lab.rate(began_s, ended_s)
    lab.stop_feeding()
    lab.end_outage()
    _say(f"  {before:.1f}/s before, {during:.1f}/s during the outage; waiting for the rest")
    patience_s = 120 + 2 * 3600 / lab.outbox_scale
    if not wait_for(lambda: lab.open_messages() == 0, timeout_s=patience_s):
        _say(f"  {lab.open_messages()} messages are still open after {patience_s:.0f} s")
    lab.look()
    return _report(lab, before, during, kills=kills, began_s=began_s, ended_s=ended_s)


def _pass_time(lab: Lab, seconds: float, *, kills: int) -> None:
    """Let time pass, and meanwhile kill a worker now and then."""
    began = time.monotonic()
    for at_s in sorted(random.uniform(0, seconds) for _ in range(kills)):
        time.sleep(max(0.0, began + at_s - time.monotonic()))
        lab.replace_worker()
    time.sleep(max(0.0, began + seconds - time.monotonic()))


def _report(
    lab: Lab, before: float, during: float, *, kills: int, began_s: float, ended_s: float
) -> Report:
    by_id: dict[str, list[Arrived]] = {}
    for arrived in lab.arrived:
        by_id.setdefault(arrived.request_id, []).append(arrived)
    return Report(
        outage_s=round(ended_s - began_s, 1),
        kills=kills,
        sent=len(lab.sent),
        for_down=sum(request_id.startswith(DOWN) for request_id in lab.sent),
        through_outbox=len(lab.through_outbox()),
        before_per_s=round(before, 1),
        during_per_s=round(during, 1),
        share=round(during / before, 3),
        lost=len(lab.sent.keys() - by_id.keys()),
        repeated=sum(len(found) - 1 for found in by_id.values()),
        changed=sum(len({(a.webhook_id, a.digest) for a in f}) - 1 for f in by_id.values()),
        wrong_ids=sum(a.webhook_id != f"msg_{lab.sent[a.request_id]}_0" for a in lab.arrived),
        recovery_s=round(max(a.at_s for a in lab.arrived) - ended_s, 1),
    )


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> int:
    """Run both parts and print their figures; exit 1 if anything was lost, changed or slow."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--scale", type=float, default=10.0)
    parser.add_argument("--outbox-scale", type=float, help="as --scale where not given")
    parser.add_argument("--fault", choices=["hang", "reset", "error"], default="hang")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=20261130)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args()
    random.seed(args.seed)
    reports = {}
    for name in args.parts:
        _say(name)
        kills = args.kills if name == KILLS else 0
        with tempfile.TemporaryDirectory() as folder, LocalAws.in_process() as aws:
            lab = Lab(aws, Path(folder), args.scale, args.outbox_scale or args.scale, args.fault)
            with lab:
                reports[name] = run_part(lab, workers=args.workers, kills=kills)
    if args.json:
        print(json.dumps({name: asdict(report) for name, report in reports.items()}))
    else:
        for name, report in reports.items():
            print(name)
            for key, value in asdict(report).items():
                print(f"  {key:16} {value}")
    return 1 if any(_falls_short(report) for report in reports.values()) else 0


def _falls_short(report: Report) -> bool:
    wrong = bool(report.lost or report.changed or report.wrong_ids)
    quiet = not report.kills
    return wrong or (quiet and (report.repeated > 0 or report.share < GOAL_SHARE))


if __name__ == "__main__":
    raise SystemExit(main())
