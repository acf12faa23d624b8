"""Work messages under every interleaving of real threads, of two workers that may be killed.

The real poller, stage, delivery, outbox, settlement, ack writer and visibility extender run over
an SQS that delivers at least once, and whose calls fail or lose their answers.
"""

import json
from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Any, Final

import pytest
from prometheus_client import CollectorRegistry

from detection_contract.error_codes import ErrorCode
from detection_contract.messages import parse_body
from detection_testing.turns.sqs import DEAD_URL, URL, NoQuickCalls, Sqs, Stored
from detection_testing.turns.threads import Queue, Threading, Time
from detection_testing.turns.turns import Turns
from detection_worker.core.messages.admission import HoldLimits
from detection_worker.core.messages.outcome import RELEASE, Failure, RetryRules
from detection_worker.core.messages.states import Event
from detection_worker.errors import Cancelled, JobError
from detection_worker.metrics import Metrics, OutboxMetrics
from detection_worker.outbox import queue as outbox_queue
from detection_worker.outbox.box import SqsOutbox
from detection_worker.outbox.entry import decode
from detection_worker.outbox.queue import OutboxQueue
from detection_worker.pipeline.messages import (
    acks,
    in_flight,
    jobs,
    poller,
    result_cache,
    settlement,
    visibility_extender,
)
from detection_worker.pipeline.messages.jobs import Job, JobEnd
from detection_worker.pipeline.messages.result_cache import Finished
from detection_worker.pipeline.stages import breaker, delivery, stage
from detection_worker.pipeline.stages.context import StageContext
from detection_worker.pipeline.stages.handovers import Concluded
from detection_worker.results import group_commit
from detection_worker.results.base import ResultId, StoredResult
from detection_worker.settings import AwsSettings, ResultSettings
from detection_worker.sources import sqs

RUNS: Final = 60
STEPS: Final = 1500
NEW: Final = 0.15
RATES: Final = {
    "throttled": 0.05, "slow_call": 0.1, "answer_lost": 0.05, "entry_failed": 0.05,
    "again": 0.2, "back": 0.2, "stale_delete": 0.5, "expire": 0.1,
    "down": 0.3, "accepted_unheard": 0.1, "slow": 0.3, "store_fails": 0.1, "undecodable": 0.1,
    "abandoned": 0.1, "kill": 0.03, "drain": 0.03, "freeze": 0.1,
}  # fmt: skip
"""How often each fault strikes in runs that have it."""
MODULES: Final = (
    acks, breaker, delivery, group_commit, in_flight, jobs, outbox_queue, poller, result_cache,
    settlement, stage, visibility_extender,
)  # fmt: skip


class World:
    """Workers, their queue and outbox, and where their results go."""

    def __init__(self, turns: Turns, rates: dict[str, float]) -> None:
        self.turns, self.rates, self.time = turns, rates, Time(turns)
        self.sqs = Sqs(turns, rates, on_delete=self.check_kept)
        self.outbox = Sqs(turns, rates)
        self.kept: dict[str, bytes] = {}
        self.told: dict[str, set[bytes]] = {}
        self.lost: list[str] = []
        self.workers: dict[str, Worker] = {}
        self.started = self.sent = 0

    def start(self) -> None:
        self.started += 1
        name = f"w{self.started}"
        self.turns.spawn(lambda: Worker(self, name).live(), name="main", process=name)

    def client(self, url: str) -> Sqs:
        return self.sqs if url == URL else self.outbox

    def send(self) -> None:
        self.sent += 1
        body = {"sqs_to_ml_url": "s3://bucket/a.png", "callback_url": "https://cb.test/x"}
        self.sqs.send(json.dumps(body | {"request_id": f"r-{self.sent}"}))

    def disturb(self) -> None:
        random = self.turns.random
        if random.random() < NEW:
            self.send()
        if self.sqs.happens("kill") and self.workers:
            name = random.choice(sorted(self.workers))
            self.turns.note(f"kills {name}")
            self.turns.kill(name)
            del self.workers[name]
            self.start()
        if self.sqs.happens("drain") and self.workers:
            self.workers.pop(random.choice(sorted(self.workers))).stopping = True
            self.start()
        if self.sqs.happens("expire"):
            self.sqs.expire()
        if self.sqs.happens("freeze"):
            self.turns.now_s += random.choice([5.0, 40.0, 2000.0])

    def check_kept(self, deleted: Stored) -> None:
        """Fail if a message is gone of which nobody has the result."""
        webhook_id = f"msg_{deleted.message_id}_0"
        entries = {decode(m.body).webhook_id for m in self.outbox.messages.values()}
        told = webhook_id in self.told or webhook_id in entries
        if not (told and deleted.message_id in self.kept) and deleted.body not in self.sqs.dead:
            self.turns.note(f"{deleted.message_id} is lost")
            self.lost.append(deleted.message_id)

    def check(self) -> None:
        assert not self.lost
        for webhook_id, bodies in self.told.items():
            assert bodies == {self.kept[webhook_id.split("_")[1]]}, "other bytes than are stored"

    # -- destinations --------------------------------------------------------------------------

    def put(self, result_id: ResultId, body: bytes) -> StoredResult:
        self._call()
        return self._stored(result_id, self.kept.setdefault(result_id.message_id, body))

    def find(self, result_id: ResultId) -> StoredResult | None:
        self._call()
        body = self.kept.get(result_id.message_id)
        return None if body is None else self._stored(result_id, body)

    def _call(self) -> None:
        self.turns.pause()
        if self.sqs.happens("store_fails"):
            raise JobError(ErrorCode.RESULT_NOT_STORED, "scripted")

    @staticmethod
    def _stored(result_id: ResultId, body: bytes) -> StoredResult:
        return StoredResult(url=f"s3://results/{result_id.message_id}", body=body)

    def post(
        self, url: str, body: bytes, *, webhook_id: str, on_progress: Callable[[], None],
        cancelled: Callable[[], bool], **_: Any,
    ) -> None:  # fmt: skip
        del url
        self.turns.pause()
        if cancelled():
            raise Cancelled
        on_progress()
        if self.sqs.happens("slow"):
            self.time.sleep(self.turns.random.uniform(0.0, 60.0))
        accepted = not self.sqs.happens("down")
        if accepted:
            self.told.setdefault(webhook_id, set()).add(body)
        self.turns.note(f"posted {webhook_id}: {accepted}")
        self.turns.pause()
        if not accepted or self.sqs.happens("accepted_unheard"):
            raise JobError(ErrorCode.CALLBACK_UNREACHABLE, "it answered 503")


class Worker:
    """One process."""

    def __init__(self, world: World, name: str) -> None:
        clock, metrics, unused = world.time.monotonic, Metrics(), None
        self.world, self.stopping, self.name = world, False, name
        aws: Any = AwsSettings()
        session: Any = unused
        self.source = sqs.SqsSource(session, aws, URL, wait_time_s=5)
        outbox = OutboxQueue(session, aws, "https://sqs.test/1/outbox", wait_time_s=5)
        self.in_flight = in_flight.InFlight(
            visibility_s=30,
            tick_s=1.0,
            limits=HoldLimits(messages=4, seconds=1e9),
            clock=clock,
            wall_clock=world.time.time,
        )
        self.acks = acks.AckWriter(self.source, self.in_flight, metrics, clock=clock)
        rules = settlement.SettlementRules(
            retry=RetryRules(max_receive_count=None, max_backoff_s=60.0), dead_letter_url=DEAD_URL
        )
        self.settlement = settlement.Settlement(
            source=self.source,
            in_flight=self.in_flight,
            acks=self.acks,
            metrics=metrics,
            counts=settlement.MessageCounts(),
            rules=rules,
            on_message_end=lambda _: None,
            clock=clock,
        )
        self.results = result_cache.ResultCache()
        context: dict[str, Any] = dict.fromkeys(StageContext.__dataclass_fields__)
        context |= {
            "store": world,
            "callbacks": world,
            "outbox": SqsOutbox(
                outbox, OutboxMetrics(CollectorRegistry()), wall_clock=world.time.time
            ),
            "in_flight": self.in_flight,
            "settlement": self.settlement,
            "breaker": breaker.CircuitBreaker(clock=clock),
            "results": self.results,
            "metrics": metrics,
            "destinations": ResultSettings(),
            "lanes": {"callback": 2.0},
        }
        self.delivery = delivery.Delivery(StageContext(**context))
        self.callback: stage.Stage[Any, None] = stage.Stage(
            "callback", self.delivery.deliver, threads=2, capacity=4
        )
        self.work = stage.Stage("work", self._work, then=self.callback.put, threads=2, capacity=8)
        self.extender = visibility_extender.VisibilityExtender(
            self.source, self.in_flight, metrics, tick_s=1.0, stall_s=120.0,
            on_stall=self._stalled, clock=clock,
        )  # fmt: skip
        self.poller = poller.Poller(
            source=self.source,
            in_flight=self.in_flight,
            results=self.results,
            may_receive=lambda: True,
            routes=poller.Routes(
                download=self.work.put,
                deliver=lambda job, known: self.callback.put(_concluded(job, known)),
                fail=_unexpected,
                settle=self.settlement.settle_job,
                settle_empty=_unexpected,
            ),
            metrics=metrics,
            rules=poller.PollingRules(
                max_messages=4, wait_s=5, visibility_s=30, pause_s=1.0, pollers=2,
                late_after_s=60.0, parse=parse_body,
            ),
        )  # fmt: skip

    def live(self) -> None:
        """Run until told to stop; then drain as a worker does."""
        self.world.workers[self.name] = self
        for part in (self.acks, self.extender, self.poller):
            part.start()
        self.world.turns.wait(lambda: self.stopping)
        self.world.turns.note("drains")
        self.poller.stop()
        self._release(time_left_s=10.0)
        self.in_flight.wait_empty(timeout_s=10.0)
        self._release(time_left_s=-1.0)
        self.acks.flush(timeout_s=5.0)
        self.poller.join(timeout_s=10.0)
        self.extender.close()
        self.acks.close()
        self.world.turns.wait(lambda: False)  # the process ends: what runs still is killed

    def _release(self, *, time_left_s: float) -> None:
        for message in self.in_flight.to_release(time_left_s=time_left_s):
            self.settlement.settle_message(message, RELEASE)

    def _work(self, job: Job) -> Concluded | None:
        """Stand for the stages before the callback."""
        world = self.world
        self.in_flight.move(job.message, Event.WORK_BEGUN)
        if world.sqs.happens("slow"):
            world.time.sleep(world.turns.random.uniform(0.0, 60.0))
        self.in_flight.work_done(job)
        if job.cancelled or world.sqs.happens("abandoned"):
            self.settlement.settle_job(job, JobEnd.ABANDONED)
        elif world.sqs.happens("undecodable"):
            failure = Failure(code=ErrorCode.UNDECODABLE, message="scripted")
            self.settlement.settle_job(job, failure)
        else:
            number = world.turns.random.random()
            envelope = {"number": number, "error": None, "file_type": "image"}
            return _concluded(job, Finished(body=json.dumps(envelope).encode()))
        return None

    def _stalled(self, message: jobs.Message) -> None:
        message.cancel.set()
        self.settlement.settle_message(message, RELEASE)


def _concluded(job: Job, finished: Finished) -> Concluded:
    return Concluded(job=job, finished=finished)


def _unexpected(*_: object) -> None:
    raise AssertionError("no such message was sent")


def run(seed: int, monkeypatch: pytest.MonkeyPatch) -> World:
    """Run two workers through a seed's faults, then one in calm until the queue is empty."""
    random = Random(seed)
    turns = Turns(random, constancy=random.choice([0.0, 0.5, 0.9]))
    world = World(turns, {name: rate for name, rate in RATES.items() if random.random() < 0.5})
    for module in MODULES:
        monkeypatch.setattr(module, "threading", Threading(turns), raising=False)
        monkeypatch.setattr(module, "time", Time(turns), raising=False)
    monkeypatch.setattr(stage, "queue", Queue(turns))
    for module in (outbox_queue, sqs):
        monkeypatch.setattr(module, "queue_client", lambda *a, **_: world.client(a[2]))
        monkeypatch.setattr(module, "QuickOperation", NoQuickCalls)
    with turns.during(f"seed {seed}, {world.rates}"):
        world.start()
        world.start()
        for _ in range(STEPS // 10):
            world.disturb()
            turns.go_on(random.randrange(1, 20))
            world.check()
        world.rates.clear()
        for each in (world.sqs, world.outbox):
            each.rates.clear()
        for _ in range(2_000):
            if not world.sqs.messages:
                break
            turns.go_on(20)
        world.check()
        assert not world.sqs.messages, "what is in the queue is never done"
    return world


def test_no_message_is_lost_and_all_are_told_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: Counter[str] = Counter()
    for seed in range(RUNS):
        seen += run(seed, monkeypatch).sqs.seen
    assert not RATES.keys() - seen.keys(), "every fault struck"
