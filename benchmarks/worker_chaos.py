"""Kill workers at random and count what is lost.

Workers consume real media from a strict local SQS and S3 in a process of its own. Part one kills
them with SIGKILL at random points, part two stops them with SIGTERM under load. Every message must
end as exactly one delivered result or one dead letter; after SIGTERM nothing may stay in flight.

    python benchmarks/worker_chaos.py             # 200 kills over 2,000 messages, 50 stops
    python benchmarks/worker_chaos.py --messages 100 --kills 8 --stops 3 --json
"""

import argparse
import json
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
from detection_testing.aws.local_aws import LocalAws
from detection_testing.crashes.fleet import ForkedWorker, fork_worker, wait_for
from detection_testing.media.sample_media import make_audio, make_image, make_video
from detection_worker.settings import (
    AwsSettings,
    CallbackSettings,
    ConsumerSettings,
    DataSettings,
    Settings,
)

BUCKET = "media"
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
        lost: Messages with neither a result nor a dead letter.
        dead_lettered: Messages that ended in the dead-letter queue.
        duplicates: Results delivered again, beyond one a message.
        changed_duplicates: Duplicates whose score differs from the first.
        seconds: Wall time.
    """

    messages: int
    kills: int
    kills_with_work: int
    lost: int
    dead_lettered: int
    duplicates: int
    changed_duplicates: int
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
    """Local AWS, a queue, and forked workers.

    Workers are forked from this process, which has the libraries loaded: a kill must not cost
    seconds of imports. Each child starts its own decoders and loads its own models.
    """

    def __init__(self, aws: LocalAws, folder: Path, models_dir: Path | None) -> None:
        self.aws = aws
        self._models_dir = models_dir
        self.folder = folder
        self.queue_url, self.dead_letter_url = aws.create_queue(
            "chaos", visibility_s=VISIBILITY_S, max_receive_count=1000, dead_letter=True
        )
        self.sent: set[str] = set()
        self._keys = self._upload()

    def send(self, count: int) -> None:
        """Send ``count`` messages that ask for random uploaded files."""
        ids = [f"r-{len(self.sent) + i:05d}" for i in range(count)]
        self.aws.send(
            self.queue_url,
            [
                json.dumps(
                    {
                        "sqs_to_ml_url": f"s3://{BUCKET}/{random.choice(self._keys)}",
                        "callback_url": self.aws.callback_url("/ok"),
                        "request_id": request_id,
                    }
                )
                for request_id in ids
            ],
        )
        self.sent.update(ids)

    def fork_worker(self) -> ForkedWorker:
        """Start a worker."""
        return fork_worker(self._settings(), self._consumer(), log=self.folder / "workers.log")

    def results(self) -> dict[str, list[dict[str, object]]]:
        """Return the delivered envelopes by request id."""
        by_id: dict[str, list[dict[str, object]]] = {}
        for callback in self.aws.callbacks():
            envelope = json.loads(callback.body)
            by_id.setdefault(envelope["request_id"], []).append(envelope)
        return by_id

    def dead_letters(self) -> int:
        """Return how many messages were dead-lettered."""
        return self._count(self.dead_letter_url)

    def open_messages(self) -> int:
        """Return how many messages are not done."""
        return self._count(self.queue_url)

    def _count(self, url: str) -> int:
        return sum(self.aws.stats()["queues"][url.rpartition("/")[2]].values())

    def _upload(self) -> list[str]:
        keys = []
        for i in range(12):
            make_image(self.folder / f"{i}.jpg", width=320, height=240, seed=i)
            keys.append(f"{i}.jpg")
        for i in range(3):
            make_audio(
                self.folder / f"{i}.wav", codec="pcm_s16le", seconds=3, rate_hz=16000, seed=i
            )
            keys.append(f"{i}.wav")
        make_video(
            self.folder / "0.mp4",
            codec="h264",
            seconds=2,
            fps=10,
            width=320,
            height=240,
            seed=1,
        )
        keys.append("0.mp4")
        for key in keys:
            self.aws.put_object(BUCKET, key, (self.folder / key).read_bytes())
        return keys

    def _settings(self) -> Settings:
        credentials = self.aws.credentials
        return Settings(
            aws=AwsSettings(
                access_key_id=credentials.access_key_id,
                secret_access_key=credentials.secret_access_key,
                endpoint_url=self.aws.endpoint_url,
            ),
            data=DataSettings(s3_cache_dir=self.folder / "cache"),
            callback=CallbackSettings(allow_private=True),
            models_dir=self._models_dir,
        )

    def _consumer(self) -> ConsumerSettings:
        return ConsumerSettings(
            queue_url=self.queue_url,
            wait_time_s=2,
            visibility_timeout_s=VISIBILITY_S,
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
    with_work = 0
    for number in range(1, kills + 1):
        due = messages * number // kills - len(lab.sent)
        with_work += _kill_at_random(lab, pool.pop(0), due=due)
        pool.append(lab.fork_worker())
        if number % 20 == 0:
            _say(
                f"  {number} kills, {with_work} with work in hand, {len(lab.sent)} sent, "
                f"{lab.open_messages()} open"
            )
    _wait_until_empty(lab)
    for worker in pool:
        worker.end(signal.SIGTERM)
    results = lab.results()
    dead = lab.dead_letters()
    return KillReport(
        messages=len(lab.sent),
        kills=kills,
        kills_with_work=with_work,
        lost=len(lab.sent - results.keys()) - dead,
        dead_lettered=dead,
        duplicates=sum(len(r) - 1 for r in results.values()),
        changed_duplicates=_changed(results),
        seconds=round(time.monotonic() - started, 1),
    )


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


def stop_rounds(lab: Lab, *, rounds: int) -> StopReport:
    """Stop a worker under load again and again; after each stop nothing may be in flight."""
    before = set(lab.sent)
    exits: list[float] = []
    orphans = unclean = 0
    for number in range(rounds):
        lab.send(40)
        known = len(lab.aws.callbacks())
        worker = lab.fork_worker()
        wait_for(partial(_more_callbacks, lab, known), timeout_s=30)
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
    results = {k: v for k, v in lab.results().items() if k not in before}
    return StopReport(
        rounds=rounds,
        orphans=orphans,
        unclean=unclean,
        slowest_exit_s=round(max(exits, default=0.0), 2),
        grace_s=GRACE_S,
        lost=len(lab.sent - before - results.keys()),
        duplicates=sum(len(r) - 1 for r in results.values()),
    )


def _more_callbacks(lab: Lab, known: int) -> bool:
    return len(lab.aws.callbacks()) > known


def _slow_down(aws: LocalAws, operation: str, between_s: tuple[float, float]) -> None:
    low, high = between_s
    aws.inject(Fault(operation=operation, kind="latency", seconds=low, seconds_max=high))


def _changed(results: dict[str, list[dict[str, object]]]) -> int:
    return sum(
        1
        for envelopes in results.values()
        for other in envelopes[1:]
        if other["prediction_score"] != envelopes[0]["prediction_score"]
    )


def _wait_until_empty(lab: Lab) -> None:
    if not wait_for(lambda: lab.open_messages() == 0, timeout_s=300):
        raise SystemExit(f"{lab.open_messages()} messages are still open after 300 s")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> int:
    """Run both parts and print their figures; exit 1 if anything was lost or orphaned."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--messages", type=int, default=2000)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--stops", type=int, default=50)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--models-dir", type=Path, help="default: the bundled models")
    parser.add_argument("--seed", type=int, default=20261123)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args()
    random.seed(args.seed)
    with tempfile.TemporaryDirectory() as name, LocalAws.in_process() as aws:
        _slow_down(aws, "s3.GetObject", S3_LATENCY_S)
        _slow_down(aws, "callback.*", CALLBACK_LATENCY_S)
        lab = Lab(aws, Path(name), args.models_dir)
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
                print(f"  {key:20} {value}")
    bad = Counter(
        lost=killed.lost + stopped.lost, orphans=stopped.orphans, unclean=stopped.unclean
    )
    return 1 if sum(bad.values()) else 0


if __name__ == "__main__":
    raise SystemExit(main())
