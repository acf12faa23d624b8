"""The outbox under every interleaving: threads take turns, SQS and receivers fail as they may.

Each run has its own faults, chosen by its seed, which the message of a failure names.
"""

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

import pytest
from prometheus_client import CollectorRegistry

from detection_contract.error_codes import ErrorCode
from detection_testing.turns.sqs import URL, NoQuickCalls, Sqs, Stored
from detection_testing.turns.threads import Queue, Threading, Time
from detection_testing.turns.turns import Turns
from detection_worker.core.outbox.schedule import LONGEST_S, PAUSES_S
from detection_worker.errors import Cancelled, JobError
from detection_worker.metrics import OutboxMetrics
from detection_worker.outbox import gate, queue, recent, sender
from detection_worker.outbox.base import PendingCallback
from detection_worker.outbox.box import SqsOutbox
from detection_worker.outbox.entry import decode
from detection_worker.outbox.gate import GatedCallbacks, HostGate
from detection_worker.outbox.handler import EntryHandler
from detection_worker.outbox.queue import OutboxQueue
from detection_worker.outbox.sender import OutboxSender, SenderRules
from detection_worker.results import group_commit
from detection_worker.settings import AwsSettings
from detection_worker.sources import sqs

RUNS: Final = 80
STEPS: Final = 1500
RATES: Final = {
    "throttled": 0.05, "slow_call": 0.1, "answer_lost": 0.05, "entry_failed": 0.05,
    "sent_twice": 0.05, "again": 0.2, "back": 0.2, "stale_delete": 0.5, "expire": 0.1,
    "down": 0.5, "rejected": 0.1, "accepted_unheard": 0.1, "slow": 0.2,
    "dead_fault": 0.03, "no_dead_letters": 0.3, "redrive": 0.1, "redriven_at_once": 0.5,
    "kill": 0.02, "drain": 0.01, "freeze": 0.1, "wall": 0.02,
}  # fmt: skip
"""How often each fault strikes in runs that have it."""
HARMLESS: Final = frozenset(
    {"slow_call", "again", "back", "stale_delete", "down", "rejected", "accepted_unheard", "slow",
     "expire", "freeze", "wall"}
)  # fmt: skip
"""Faults in spite of which one process tries no entry more often than the schedule says."""


@dataclass(kw_only=True)
class Post:
    process: str
    at_s: float
    ok: bool


class Receiver:
    """Takes callbacks, or not."""

    def __init__(self, world: "World", process: str) -> None:
        self._world, self._process = world, process

    def check(self, url: str) -> None:
        raise NotImplementedError

    def post(
        self, url: str, body: bytes, *, webhook_id: str, on_progress: Callable[[], None],
        cancelled: Callable[[], bool], **_: Any,
    ) -> None:  # fmt: skip
        world = self._world
        world.turns.pause()
        if cancelled():
            raise Cancelled
        on_progress()
        world.turns.note(f"posts {webhook_id}")
        if world.happens("slow"):
            world.time.sleep(world.random.uniform(0.0, 100.0))
        ok = not world.happens("down")
        if ok and world.happens("rejected"):
            raise JobError(ErrorCode.CALLBACK_REJECTED, "it answered 410")
        heard = ok and not world.happens("accepted_unheard")
        world.posts[webhook_id].append(
            Post(process=self._process, at_s=world.turns.now_s, ok=heard)
        )
        if ok:
            assert body == world.callbacks[webhook_id].body
            world.accepted.add(webhook_id)
        world.turns.pause()
        if not heard:
            raise JobError(ErrorCode.CALLBACK_UNREACHABLE, "it answered 503")


class NoBodies:
    def read(self, stored: Any) -> bytes:
        raise NotImplementedError


@dataclass(kw_only=True)
class World:
    """Processes that send one outbox, with its queue and its receivers."""

    turns: Turns
    rates: dict[str, float]
    sqs: Sqs = field(init=False)
    time: Time = field(init=False)
    callbacks: dict[str, PendingCallback] = field(default_factory=dict)
    taken: set[str] = field(default_factory=set)
    lost: set[str] = field(default_factory=set)
    accepted: set[str] = field(default_factory=set)
    posts: dict[str, list[Post]] = field(default_factory=lambda: defaultdict(list))
    started: int = 0
    wall_s: float = 0.0
    senders: dict[str, OutboxSender] = field(default_factory=dict)
    stopping: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.time = Time(self.turns)
        self.sqs = Sqs(self.turns, self.rates, on_delete=self.check_kept)

    @property
    def random(self) -> Random:
        return self.turns.random

    def happens(self, fault: str) -> bool:
        return self.sqs.happens(fault)

    def wall(self) -> float:
        return self.time.time() + self.wall_s

    # -- processes -----------------------------------------------------------------------------

    def start(self, *, new: int = 0) -> None:
        """Start a process which hands ``new`` callbacks over."""
        self.started += 1
        name = f"p{self.started}"
        self.turns.spawn(lambda: self._live(name, new), name="main", process=name)

    def _live(self, name: str, new: int) -> None:
        metrics = OutboxMetrics(CollectorRegistry())
        outbox = OutboxQueue(None, AwsSettings(), URL, wait_time_s=20)
        hosts = HostGate(metrics, clock=self.time.monotonic, random01=self.random.random)
        handler = EntryHandler(
            outbox,
            GatedCallbacks(Receiver(self, name), hosts, threads=2),
            NoBodies(),
            metrics,
            wall_clock=self.wall,
            random01=self.random.random,
        )
        rules = SenderRules(threads=2, wait_s=20, visibility_s=60)
        self.senders[name] = OutboxSender(outbox, handler, rules, clock=self.time.monotonic)
        box = SqsOutbox(outbox, metrics, wall_clock=self.wall, random01=self.random.random)
        self.senders[name].start()
        for _ in range(new):
            self._put(box)
        self.turns.wait(lambda: name in self.stopping)
        self.turns.note("drains")
        self.senders[name].stop(timeout_s=20.0)
        del self.senders[name]

    def _put(self, box: SqsOutbox) -> None:
        number = len(self.callbacks)
        webhook_id = f"msg_{number}"
        self.callbacks[webhook_id] = PendingCallback(
            url=f"https://host{number % 2}.example/",
            body=b'{"number": %d}' % number,
            webhook_id=webhook_id,
            request_id=webhook_id,
            message_id=str(number),
            result_url=None,
            code=ErrorCode.CALLBACK_UNREACHABLE,
            reason="it answered 503",
        )
        while True:
            try:
                box.put(self.callbacks[webhook_id])
            except JobError:
                self.time.sleep(10.0)  # the work message comes back
            else:
                self.taken.add(webhook_id)
                return

    # -- what happens --------------------------------------------------------------------------

    def disturb(self) -> None:
        """Let something happen between two steps of the processes."""
        sqs, random = self.sqs, self.random
        if self.happens("kill") and self.senders:
            name = random.choice(sorted(self.senders))
            self.turns.note(f"kills {name}")
            self.turns.kill(name)
            del self.senders[name]
            self.start(new=1)
        if self.happens("drain") and self.senders:
            self.stopping.add(random.choice(sorted(self.senders)))
            self.start(new=1)
        if self.happens("expire"):
            sqs.expire()
        if self.happens("redrive"):
            sqs.redrive()
        if self.happens("wall"):
            self.wall_s = random.choice([0.0, random.uniform(-1e5, 1e5)])
        if self.happens("dead_fault"):
            codes = [None, "ThrottlingException", "AWS.SimpleQueueService.NonExistentQueue"]
            sqs.dead_fault = random.choice(codes)
        # Nobody has anything to do but to wait for a delay: no poll and no look at leases matters.
        idle = not sqs.visible() and not any(s.held for s in self.senders.values())
        next_s = sqs.next_s()
        if next_s is not None and idle and random.random() < 0.1:
            self.turns.now_s = max(self.turns.now_s, next_s)
        if self.happens("freeze"):  # of all processes, as with their machine
            self.turns.now_s += random.choice([30.0, 400.0, 2000.0, 90_000.0])

    def calm(self) -> None:
        """From now on all is well, and every entry is due."""
        self.rates.clear()
        self.sqs.rates.clear()
        self.sqs.dead_fault, self.wall_s = None, 0.0
        self.turns.note("all is well")
        self.turns.now_s += LONGEST_S

    # -- laws ----------------------------------------------------------------------------------

    def held(self) -> Counter[str]:
        """Return how often the queues have each entry."""
        bodies = [m.body for m in self.sqs.messages.values()] + self.sqs.dead
        return Counter(decode(body).webhook_id for body in bodies)

    def check_kept(self, deleted: Stored) -> None:
        webhook_id = decode(deleted.body).webhook_id
        if webhook_id not in self.accepted and not self.held()[webhook_id]:
            self.turns.note(f"{webhook_id} is lost")
            self.lost.add(webhook_id)

    def check(self) -> None:
        assert not self.lost
        kept = self.held()
        assert not [i for i in self.taken if i not in self.accepted and not kept[i]]
        for webhook_id, posts in self.posts.items():
            known = Counter(post.process for post in posts if post.ok)
            assert max(known.values(), default=0) <= 1, f"{webhook_id} is delivered twice"
            if self.started == 1 and self.sqs.seen.keys() <= HARMLESS:
                assert len(posts) <= len(PAUSES_S), f"{webhook_id} is tried too often"


def run(seed: int, monkeypatch: pytest.MonkeyPatch, *, harmless: bool = False) -> World:
    """Run processes through a seed's faults, then in calm until nothing is left to do."""
    random = Random(seed)
    turns = Turns(random, constancy=random.choice([0.0, 0.5, 0.9]))
    names = [name for name in RATES if name in HARMLESS or not harmless]
    chosen = {name: RATES[name] for name in names if random.random() < 0.5}
    if harmless:
        chosen |= {"down": 0.97, "freeze": 0.3}
    world = World(turns=turns, rates=chosen)
    if world.happens("no_dead_letters"):
        world.sqs.dead_letters = False
    threads, clock = Threading(turns), Time(turns)
    for module in (group_commit, recent, gate, sender):
        monkeypatch.setattr(module, "threading", threads)
    for module in (group_commit, sender, queue):
        monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(sender, "queue", Queue(turns))
    for module in (queue, sqs):
        monkeypatch.setattr(module, "queue_client", lambda *_, **__: world.sqs)
        monkeypatch.setattr(module, "QuickOperation", NoQuickCalls)
    with turns.during(f"seed {seed}, {chosen}"):
        for _ in range(1 if harmless else 2):
            world.start(new=2)
        for _ in range(STEPS // 10):
            world.disturb()
            assert not world.lost
            turns.go_on(turns.random.randrange(1, 20))
        world.check()
        world.calm()
        for _ in range(5_000):
            if not world.sqs.messages and world.taken == set(world.callbacks):
                break
            world.disturb()
            turns.go_on(10)
        world.check()
        assert not world.sqs.messages, "what is in the queue is never done"
    return world


def test_nothing_is_lost_and_no_process_delivers_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: Counter[str] = Counter()
    for seed in range(RUNS):
        seen += run(seed, monkeypatch).sqs.seen
    assert not RATES.keys() - seen.keys(), "every fault struck"


def test_one_process_keeps_to_the_schedule(monkeypatch: pytest.MonkeyPatch) -> None:
    attempts: Counter[int] = Counter()
    for seed in range(RUNS // 2):
        attempts.update(
            len(posts) for posts in run(seed, monkeypatch, harmless=True).posts.values()
        )
    assert attempts[len(PAUSES_S)], "some had the whole schedule"
