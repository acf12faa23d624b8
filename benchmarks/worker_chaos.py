"""Kill workers at random and count what is lost.

Workers consume real media from a strict local SQS and S3 in a process of its own. Part one kills
them with SIGKILL at random points, part two stops them with SIGTERM under load. Every message must
end as a result at every destination or as a dead letter; after SIGTERM nothing may stay in flight.

The destinations are a store (``--results``), an SNS topic, an SQS queue and an EventBridge bus
(``--on-success``), and a callback, of which one in ten is refused at first and goes through the
``--outbox``; there is a shared ``--cache``.
With ``--feeders`` every third SIGKILL hits one feeder of a worker that lives on.
``--no-destinations`` leaves all but the callback out. Every message has an object of its own. A
file counts as analysed a second time if S3 sent its object to a worker after its envelope, or the
scores in the cache, were there.

    python benchmarks/worker_chaos.py             # 200 kills over 2,000 messages, 50 stops
    python benchmarks/worker_chaos.py --feeders 2
    python benchmarks/worker_chaos.py --messages 100 --kills 8 --stops 3 --json
"""

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from detection_testing.aws.faults import Fault
from detection_testing.aws.journal import RecordedCallback
from detection_testing.aws.local_aws import LocalAws
from detection_testing.crashes.feeder import with_short_pauses
from detection_testing.crashes.fleet import ForkedWorker, fork_worker, wait_for
from detection_testing.media.sample_media import make_audio, make_image, make_video
from detection_worker.settings import (
    AwsSettings,
    CallbackSettings,
    ConsumerSettings,
    DataSettings,
    LoggingSettings,
    ResultSettings,
    Settings,
)

BUCKET, RESULTS, CACHE = "media", "results", "cache"
TOLD = ("told-by-topic", "told-directly", "told-by-bus")
SHARE_OF_REFUSALS = 0.1
OUTBOX_FACTOR = 10
"""What the outbox's pauses are divided by: the second is five minutes."""
LAST_S = 600.0
"""Longest wait for the last messages; the outbox's third pause is three minutes of it."""
VISIBILITY_S = 4
GRACE_S = 10.0
START_UP_SHARE = 0.2
"""Share of the kills that hit a worker while it starts and loads."""
START_UP_S = (0.1, 2.0)
WORKING_S = (0.02, 1.0)
"""Delay of the other kills after messages were sent to ready workers, seconds."""
S3_LATENCY_S = (0.0, 0.3)
CALLBACK_LATENCY_S = (0.0, 0.6)
"""Slow enough that a kill finds messages in every stage."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KillReport:
    """Part one.

    Attributes:
        messages: Messages sent.
        kills: SIGKILLs while the queue was worked on.
        kills_with_work: Kills that hit a worker with messages in flight.
        feeder_kills: Kills that hit one feeder of a worker.
        lost: Messages that are missing at a destination and in the dead-letter queue.
        dead_lettered: Messages that ended in the dead-letter queue.
        second_inferences: Finished files that were downloaded again.
        downloads: Objects that S3 sent, for each message; above 1 through kills before the end.
        through_outbox: Callbacks that waited in the outbox.
        duplicates: Callbacks repeated, beyond one a message.
        changed_duplicates: Repeated callbacks whose id or bytes differ from the first; without
            a store, whose score differs.
        repeated_notifications: Notifications repeated, beyond one a message.
        changed_notifications: Those that differ from the first.
        seconds: Wall time.
    """

    messages: int
    kills: int
    kills_with_work: int
    feeder_kills: int
    lost: int
    dead_lettered: int
    second_inferences: int
    downloads: float
    through_outbox: int
    duplicates: int
    changed_duplicates: int
    repeated_notifications: int
    changed_notifications: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StopReport:
    """Part two.

    Attributes:
        rounds: SIGTERMs under load.
        orphans: Messages still in flight after the process ended, summed over the rounds.
        unclean: Rounds whose exit code was not 0.
        slowest_exit_s: From SIGTERM to exit.
        grace_s: What the worker was given.
        lost: As in part one.
        duplicates: As in part one.
    """

    rounds: int
    orphans: int
    unclean: int
    slowest_exit_s: float
    grace_s: float
    lost: int
    duplicates: int


class Lab:
    """Local AWS, a queue, destinations, and forked workers."""

    def __init__(
        self,
        aws: LocalAws,
        folder: Path,
        models_dir: Path | None,
        *,
        destinations: bool,
        feeders: int,
    ) -> None:
        self.aws = aws
        self._models_dir = models_dir
        self.folder = folder
        self.destinations = destinations
        self.feeders = feeders
        self.queue_url, self.dead_letter_url = aws.create_queue(
            "chaos", visibility_s=VISIBILITY_S, max_receive_count=1000, dead_letter=True
        )
        self.outbox_url, _ = aws.create_queue("outbox", max_receive_count=1000)
        self._destinations = self._make_destinations()
        for bucket in (RESULTS, CACHE):
            aws.s3().create_bucket(Bucket=bucket)
        self.sent: dict[str, str] = {}
        """Keys of the media objects by request id."""
        self._files = self._make_files()

    def send(self, count: int) -> None:
        """Send ``count`` messages, each for a copy of a random file under a name of its own."""
        keys = {}
        for number in range(len(self.sent), len(self.sent) + count):
            file = random.choice(self._files)
            keys[f"r-{number:05d}"] = f"{number:05d}{file.suffix}"
            self.aws.put_object(BUCKET, keys[f"r-{number:05d}"], file.read_bytes())
        self.aws.send(
            self.queue_url,
            [
                json.dumps(
                    {
                        "sqs_to_ml_url": f"s3://{BUCKET}/{key}",
                        "callback_url": self.aws.callback_url(self._receiver()),
                        "request_id": request_id,
                    }
                )
                for request_id, key in keys.items()
            ],
        )
        self.sent.update(keys)

    def _receiver(self) -> str:
        """Return a path that answers at once, or only the second attempt."""
        refuses = self.destinations and random.random() < SHARE_OF_REFUSALS
        return "/flaky/1" if refuses else "/ok"

    def fork_worker(self) -> ForkedWorker:
        """Start a worker."""
        return fork_worker(
            self._settings(),
            self._consumer(),
            log=self.folder / "workers.log",
            prepare=with_short_pauses(OUTBOX_FACTOR),
        )

    def callbacks(self) -> dict[str, list[RecordedCallback]]:
        """Return the callbacks that were answered with 200, by request id."""
        by_id: dict[str, list[RecordedCallback]] = {}
        for callback in self.aws.callbacks():
            if callback.accepted:
                by_id.setdefault(callback.headers["x-request-id"], []).append(callback)
        return by_id

    def notifications(self, queue: str) -> dict[str, list[str]]:
        """Return the notifications that arrived at one of ``TOLD``, by request id."""
        by_id: dict[str, list[str]] = {}
        for text in self._sent_to(queue):
            told = json.loads(text)
            by_id.setdefault(told["request_id"], []).append(json.dumps(told, sort_keys=True))
        return by_id

    def through_outbox(self) -> int:
        """Return how many callbacks have waited in the outbox."""
        return len({json.loads(text)["webhook_id"] for text in self._sent_to("outbox")})

    def _sent_to(self, queue: str) -> list[str]:
        return [e.detail for e in self.aws.journal() if e.queue == queue and e.kind == "sent"]

    def dead_letters(self) -> int:
        """Return how many messages were dead-lettered."""
        return self._count(self.dead_letter_url)

    def open_messages(self) -> int:
        """Return how many messages and callbacks are not done."""
        return self._count(self.queue_url) + self._count(self.outbox_url)

    def _count(self, url: str) -> int:
        return sum(self.aws.stats()["queues"][url.rpartition("/")[2]].values())

    def _make_destinations(self) -> tuple[str, ...]:
        """Return the ARNs of a topic, a queue and a bus, each of which ends in one of ``TOLD``."""
        aws = self.aws
        urls = [aws.create_queue(name, dead_letter=False).queue_url for name in TOLD]
        bus = aws.events().create_event_bus(Name="results")["EventBusArn"]
        pattern = json.dumps({"source": ["detection-queue"]})
        aws.events().put_rule(Name="all", EventBusName="results", EventPattern=pattern)
        target = {"Id": "queue", "Arn": aws.queue_arn(urls[2]), "InputPath": "$.detail"}
        aws.events().put_targets(Rule="all", EventBusName="results", Targets=[target])
        return aws.create_topic("results", urls[0]), aws.queue_arn(urls[1]), str(bus)

    def _make_files(self) -> list[Path]:
        files = [
            make_image(self.folder / f"{i}.jpg", width=320, height=240, seed=i) for i in range(12)
        ]
        files += [
            make_audio(
                self.folder / f"{i}.wav", codec="pcm_s16le", seconds=3, rate_hz=16000, seed=i
            )
            for i in range(3)
        ]
        files.append(
            make_video(
                self.folder / "0.mp4",
                codec="h264",
                seconds=2,
                fps=10,
                width=320,
                height=240,
                seed=1,
            )
        )
        return files

    def _settings(self) -> Settings:
        credentials = self.aws.credentials
        everything = ResultSettings(
            results_url=f"s3://{RESULTS}/",
            on_success=self._destinations,
            on_failure=self._destinations,
            cache_url=f"s3://{CACHE}/",
            outbox_url=self.outbox_url,
        )
        return Settings(
            aws=AwsSettings(
                access_key_id=credentials.access_key_id,
                secret_access_key=credentials.secret_access_key,
                endpoint_url=self.aws.endpoint_url,
            ),
            data=DataSettings(s3_cache_dir=self.folder / "cache"),
            logging=LoggingSettings(level="WARNING"),
            callback=CallbackSettings(allow_private=True, attempts=1 if self.destinations else 3),
            results=everything if self.destinations else ResultSettings(),
            models_dir=self._models_dir,
        )

    def _consumer(self) -> ConsumerSettings:
        return ConsumerSettings(
            queue_url=self.queue_url,
            wait_time_s=2,
            visibility_timeout_s=VISIBILITY_S,
            feeders=self.feeders,
            decoders=1,
            torch_threads=1,
            downloaders=4,
            callback_workers=4,
            shutdown_grace_s=GRACE_S,
            poll_interval_s=0.2,
            max_backoff_s=2,
        )


def kill_round(lab: Lab, *, messages: int, kills: int, workers: int) -> KillReport:
    """Send messages and kill workers until both are used up; then let the rest finish."""
    started = time.monotonic()
    pool = [lab.fork_worker() for _ in range(workers)]
    with_work = feeders = 0
    for number in range(1, kills + 1):
        due = messages * number // kills - len(lab.sent)
        victim = pool.pop(0)
        if lab.feeders and number % 3 == 1:
            feeders += 1
            with_work += _kill_a_feeder(lab, victim, due=due)
            pool.append(victim)
        else:
            with_work += _kill_at_random(lab, victim, due=due)
            pool.append(lab.fork_worker())
        if number % 20 == 0:
            _say(
                f"  {number} kills, {with_work} with work in hand, {len(lab.sent)} sent, "
                f"{lab.open_messages()} open"
            )
    _wait_until_empty(lab)
    for worker in pool:
        worker.end(signal.SIGTERM)
    return _kill_report(
        lab, kills=kills, with_work=with_work, feeder_kills=feeders, started=started
    )


def _kill_report(
    lab: Lab, *, kills: int, with_work: int, feeder_kills: int, started: float
) -> KillReport:
    callbacks, dead = lab.callbacks(), lab.dead_letters()
    told = [lab.notifications(queue) for queue in TOLD]
    everywhere = set(callbacks)
    downloads = _downloads(lab)
    second = 0
    if lab.destinations:
        finished_s, scored_s = _finished(lab), _scored(lab)
        everywhere = everywhere.intersection(finished_s, *told)
        second = sum(
            any(at_s > min(found) for at_s in downloads.get(key, ()))
            for request_id, key in lab.sent.items()
            if (found := [t for t in (finished_s.get(request_id), scored_s.get(key)) if t])
        )
    return KillReport(
        messages=len(lab.sent),
        kills=kills,
        kills_with_work=with_work,
        feeder_kills=feeder_kills,
        lost=len(lab.sent.keys() - everywhere) - dead,
        dead_lettered=dead,
        second_inferences=second,
        downloads=round(sum(map(len, downloads.values())) / len(lab.sent), 3),
        through_outbox=lab.through_outbox(),
        duplicates=sum(len(found) - 1 for found in callbacks.values()),
        changed_duplicates=_changed(callbacks, exactly=lab.destinations),
        repeated_notifications=sum(len(f) - 1 for kind in told for f in kind.values()),
        changed_notifications=sum(len(set(f)) - 1 for kind in told for f in kind.values()),
        seconds=round(time.monotonic() - started, 1),
    )


def _downloads(lab: Lab) -> dict[str, list[float]]:
    """Return when S3 sent the first bytes of each media object."""
    found: dict[str, list[float]] = {}
    for each in lab.aws.s3_journal():
        if (each.operation, each.bucket) == ("GetObject", BUCKET) and each.status < 300:
            found.setdefault(each.key, []).append(each.at_s)
    return found


def _finished(lab: Lab) -> dict[str, float]:
    """Return when the envelope of each request was stored."""
    found: dict[str, float] = {}
    for each in lab.aws.s3_journal():
        if (each.operation, each.bucket) == ("PutObject", RESULTS) and each.status < 300:
            found.setdefault(Path(each.key).stem, each.at_s)
    return found


def _scored(lab: Lab) -> dict[str, float]:
    """Return when the scores of each media object were first in the cache."""
    s3 = lab.aws.s3()
    found: dict[str, float] = {}
    for each in lab.aws.s3_journal():
        if (each.operation, each.bucket) == ("PutObject", CACHE) and each.status < 300:
            entry = json.loads(s3.get_object(Bucket=CACHE, Key=each.key)["Body"].read())
            found.setdefault(entry["key"], each.at_s)
    return found


def _kill_at_random(lab: Lab, victim: ForkedWorker, *, due: int) -> bool:
    """Kill while starting or while working; say whether messages were in hand just before."""
    if random.random() < START_UP_SHARE:
        lab.send(due)
        time.sleep(random.uniform(*START_UP_S))
        victim.end(signal.SIGKILL)
        return False
    victim.wait_ready()
    lab.send(due)
    time.sleep(random.uniform(*WORKING_S))
    held = bool(victim.state().get("in_flight"))
    victim.end(signal.SIGKILL)
    return held


def _kill_a_feeder(lab: Lab, victim: ForkedWorker, *, due: int) -> bool:
    """Kill one feeder of a worker that works; say whether the worker had messages in hand."""
    victim.wait_ready()
    lab.send(due)
    time.sleep(random.uniform(*WORKING_S))
    held = bool(victim.state().get("in_flight"))
    os.kill(random.choice(victim.feeders()), signal.SIGKILL)
    return held


def stop_rounds(lab: Lab, *, rounds: int) -> StopReport:
    """Stop a worker under load again and again; after each stop nothing may be in flight."""
    before = set(lab.sent)
    exits: list[float] = []
    orphans = unclean = 0
    for number in range(rounds):
        lab.send(40)
        known = len(lab.aws.callbacks())
        worker = lab.fork_worker()
        wait_for(partial(_more_callbacks, lab, known), timeout_s=120)
        time.sleep(random.uniform(0, 1.0))
        sent_s = time.monotonic()
        status = worker.end(signal.SIGTERM)
        exits.append(time.monotonic() - sent_s)
        orphans += len(lab.aws.in_flight("chaos"))
        unclean += status != 0
        if (number + 1) % 10 == 0:
            _say(f"  {number + 1} stops, {orphans} orphans, slowest exit {max(exits):.2f} s")
    worker = lab.fork_worker()
    _wait_until_empty(lab)
    worker.end(signal.SIGTERM)
    results = {k: v for k, v in lab.callbacks().items() if k not in before}
    return StopReport(
        rounds=rounds,
        orphans=orphans,
        unclean=unclean,
        slowest_exit_s=round(max(exits, default=0.0), 2),
        grace_s=GRACE_S,
        lost=len(lab.sent.keys() - before - results.keys()),
        duplicates=sum(len(r) - 1 for r in results.values()),
    )


def _more_callbacks(lab: Lab, known: int) -> bool:
    return len(lab.aws.callbacks()) > known


def _slow_down(aws: LocalAws, operation: str, between_s: tuple[float, float]) -> None:
    low, high = between_s
    aws.inject(Fault(operation=operation, kind="latency", seconds=low, seconds_max=high))


def _changed(callbacks: dict[str, list[RecordedCallback]], *, exactly: bool) -> int:
    """Return how many repeated callbacks differ from the first of their request."""

    def told(callback: RecordedCallback) -> object:
        score = json.loads(callback.body)["prediction_score"]
        return (callback.headers["webhook-id"], callback.body if exactly else score)

    return sum(
        told(other) != told(found[0]) for found in callbacks.values() for other in found[1:]
    )


def _wait_until_empty(lab: Lab) -> None:
    if not wait_for(lambda: lab.open_messages() == 0, timeout_s=LAST_S):
        counts = lab.aws.stats()["queues"]
        raise SystemExit(f"messages are still open after {LAST_S:.0f} s: {counts}")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> int:
    """Run both parts and print their figures; exit 1 unless nothing was lost or changed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--messages", type=int, default=2000)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--stops", type=int, default=50)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--feeders", type=int, default=0, help="feeders of each worker")
    parser.add_argument("--models-dir", type=Path, help="default: the bundled models")
    parser.add_argument("--no-destinations", action="store_true", help="callbacks alone")
    parser.add_argument("--seed", type=int, default=20261123)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args()
    random.seed(args.seed)
    with tempfile.TemporaryDirectory() as name, LocalAws.in_process() as aws:
        _slow_down(aws, "s3.GetObject", S3_LATENCY_S)
        _slow_down(aws, "callback.*", CALLBACK_LATENCY_S)
        lab = Lab(
            aws,
            Path(name),
            args.models_dir,
            destinations=not args.no_destinations,
            feeders=args.feeders,
        )
        _say(f"killing {args.workers} workers {args.kills} times over {args.messages} messages")
        killed = kill_round(lab, messages=args.messages, kills=args.kills, workers=args.workers)
        _say(f"stopping a worker under load {args.stops} times")
        stopped = stop_rounds(lab, rounds=args.stops)
    report = {"kills": asdict(killed), "stops": asdict(stopped)}
    if args.json:
        print(json.dumps(report))
    else:
        for part, figures in report.items():
            print(part)
            for key, value in figures.items():
                print(f"  {key:24} {value}")
    bad = Counter(
        lost=killed.lost + stopped.lost,
        orphans=stopped.orphans,
        unclean=stopped.unclean,
        second_inferences=killed.second_inferences,
        changed=killed.changed_duplicates + killed.changed_notifications,
    )
    return 1 if sum(bad.values()) else 0


if __name__ == "__main__":
    raise SystemExit(main())
