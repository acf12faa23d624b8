"""Any order of polls, work, ticks, writes, faults and stops: no message is lost or settled twice.

The real poller, visibility extender, delivery, settlement and ack writer run over a strict SQS
queue on one virtual clock, in one thread, with a store and a topic. What other threads and another
worker would do in the middle of a call is done there by ``meanwhile``.
"""

import itertools
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from detection_contract.error_codes import ErrorCode
from detection_contract.messages import parse_body
from detection_testing.aws.sqs.errors import SqsError
from detection_testing.aws.sqs.queue import SqsQueue
from detection_testing.aws.sqs.values import QueueSettings
from detection_worker.core.messages.admission import HoldLimits
from detection_worker.core.messages.outcome import RELEASE, Failure, RetryRules
from detection_worker.core.messages.states import Event
from detection_worker.errors import JobError
from detection_worker.metrics import Metrics
from detection_worker.pipeline.messages.acks import AckWriter, give_back
from detection_worker.pipeline.messages.in_flight import InFlight
from detection_worker.pipeline.messages.jobs import Job, JobEnd, JobOutcome, Message
from detection_worker.pipeline.messages.poller import Poller, PollingRules, Routes
from detection_worker.pipeline.messages.result_cache import Finished, ResultCache
from detection_worker.pipeline.messages.settlement import (
    MessageCounts,
    Settlement,
    SettlementRules,
)
from detection_worker.pipeline.messages.visibility_extender import VisibilityExtender
from detection_worker.pipeline.stages.breaker import CircuitBreaker
from detection_worker.pipeline.stages.context import StageContext
from detection_worker.pipeline.stages.delivery import Delivery
from detection_worker.pipeline.stages.handovers import Concluded
from detection_worker.results.base import Notification, ResultId, StoredResult
from detection_worker.settings import ResultSettings
from detection_worker.sources.base import (
    EntryFailure,
    QueueError,
    QueueFacts,
    ReceivedMessage,
    VisibilityChange,
)

VISIBILITY_S = 30
STALL_S = 8.0
MOST_HELD = 6
MARGIN_S = 1.0
PREDICTED_S = 0.1
"""Cost of an image before the first measurement."""
LATE = 12
"""Messages after which the worker may shut down for good."""
MEANWHILE = (
    "nothing",
    "poll",
    "a poll is answered after the drain",
    "a minute passes",
    "drain",
    "drain too late",
    "finish",
    "another worker polls",
    "another worker stores its result and dies",
    "SQS refuses the next call",
)
REFUSALS = ("store", "topic", "receiver", "store for all", "topic for all")
TOPIC = "arn:aws:sns:us-east-1:123456789012:done"
CALLBACK = "https://cb.test/x"


class Source:
    """The queue on a virtual clock; ``meanwhile`` runs in the next write, before its answer."""

    def __init__(self) -> None:
        self.now_s = 1_000.0
        self.queue = SqsQueue(name="q", arn="arn:aws:sqs:us-east-1:1:q", settings=QueueSettings())
        self.dead: list[str] = []
        self.newest: dict[str, str] = {}
        self.hidden: dict[str, str] = {}
        self.meanwhile: Callable[[], None] | None = None
        self.refuses = False
        self.acknowledging = False

    def receive(
        self, *, max_messages: int, wait_s: int, visibility_s: int
    ) -> list[ReceivedMessage]:
        del wait_s
        self._maybe_refuse()
        found = self.queue.receive(
            max_messages=max_messages, now_s=self.now_s, visibility_s=visibility_s
        )
        self.newest |= {d.message.message_id: d.handle for d in found}
        return [
            ReceivedMessage(
                message_id=d.message.message_id,
                receipt_handle=d.handle,
                body=d.message.body,
                receive_count=d.receive_count,
                sent_at_s=None,
                attributes={},
            )
            for d in found
        ]

    def delete(self, handles: Sequence[tuple[str, str]]) -> list[EntryFailure]:
        self._check_newest(handles)
        self._maybe_refuse()
        for _, handle in handles:
            self.queue.delete(handle, now_s=self.now_s)
        self._run_meanwhile()
        return []

    def change_visibility(self, changes: Sequence[VisibilityChange]) -> list[EntryFailure]:
        if self.acknowledging:
            self._check_newest([(c.message_id, c.receipt_handle) for c in changes])
        self._maybe_refuse()
        failures = []
        for c in changes:
            try:
                self.queue.change_visibility(c.receipt_handle, c.seconds, now_s=self.now_s)
                if self.acknowledging:
                    self.hidden[c.message_id] = c.receipt_handle
            except SqsError as exc:
                failures.append(EntryFailure(message_id=c.message_id, code=exc.code, lost=True))
        self._run_meanwhile()
        return failures

    def dead_letter(
        self, message: ReceivedMessage, *, queue_url: str, code: str, reason: str
    ) -> None:
        del queue_url, code, reason
        self._maybe_refuse()
        self.dead.append(message.message_id)

    def facts(self) -> QueueFacts:
        raise AssertionError("read at the start only")

    def _check_newest(self, handles: Sequence[tuple[str, str]]) -> None:
        for message_id, handle in handles:
            assert handle == self.newest[message_id], "acknowledged with an outdated handle"

    def _run_meanwhile(self) -> None:
        run, self.meanwhile = self.meanwhile, None
        if run is not None:
            run()

    def _maybe_refuse(self) -> None:
        refuses, self.refuses = self.refuses, False
        if refuses:
            raise QueueError("service unavailable", code="ServiceUnavailable", fatal=False)


class World:
    """Store, topic and receiver; ``meanwhile`` runs in the middle of the next call."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}
        self.notified: Counter[str] = Counter()
        self.told: dict[str, set[bytes]] = defaultdict(set)
        self.refuses: set[str] = set()
        self.meanwhile: Callable[[], None] | None = None

    def put(self, result_id: ResultId, body: bytes) -> StoredResult:
        self._call("store", ErrorCode.RESULT_NOT_STORED)
        return self._stored(result_id, self.kept.setdefault(result_id.message_id, body))

    def find(self, result_id: ResultId) -> StoredResult | None:
        self._call("store", ErrorCode.RESULT_NOT_STORED)
        body = self.kept.get(result_id.message_id)
        return None if body is None else self._stored(result_id, body)

    def publish(self, arn: str, notifications: Sequence[Notification]) -> list[JobError | None]:
        assert arn == TOPIC
        [notification] = notifications
        try:
            self._call("topic", ErrorCode.NOTIFICATION_FAILED)
        except JobError as exc:
            return [exc]
        self.notified[notification.id] += 1
        assert json.loads(notification.body)["result_url"] in self.kept
        return [None]

    def post(self, url: str, body: bytes, *, webhook_id: str, **_: object) -> None:
        assert url == CALLBACK
        self._call("receiver", ErrorCode.CALLBACK_UNREACHABLE)
        self.told[webhook_id].add(body)

    @staticmethod
    def _stored(result_id: ResultId, body: bytes) -> StoredResult:
        return StoredResult(url=result_id.message_id, body=body)

    def _call(self, who: str, code: ErrorCode) -> None:
        run, self.meanwhile = self.meanwhile, None
        if run is not None:
            run()
        for refusal in (who, f"{who} for all"):
            if refusal in self.refuses:
                self.refuses.remove(refusal)
                raise JobError(code, "scripted", environment=refusal.endswith("for all"))


class CountedAcks(AckWriter):
    """Counts what is accepted and what is done for each message object."""

    accepted: Counter[Message]
    done: Counter[Message]

    def put(
        self, message: Message, *, visibility_s: int | None, done: Callable[[bool], None]
    ) -> bool:
        def counted(ok: bool) -> None:  # noqa: FBT001 - the callback's only argument
            self.done[message] += 1
            done(ok)

        accepted = super().put(message, visibility_s=visibility_s, done=counted)
        self.accepted[message] += accepted
        return accepted


class Worker(RuleBasedStateMachine):
    """One worker with two pollers; ``jobs`` stands for its stages."""

    def __init__(self) -> None:
        super().__init__()
        self.source = Source()
        self.sent: set[str] = set()
        self.world = World()
        self.bodies = itertools.count()
        self.jobs: list[Job] = []
        self.abandoned: list[Job] = []
        self.seen: list[Message] = []
        self.results = ResultCache()
        self.metrics = Metrics()
        self.in_flight = InFlight(
            visibility_s=VISIBILITY_S,
            tick_s=1.0,
            limits=HoldLimits(messages=MOST_HELD, seconds=1e9),
            clock=self._clock,
            wall_clock=self._clock,
        )
        self.acks = CountedAcks(self.source, self.in_flight, self.metrics, clock=self._clock)
        self.acks.accepted, self.acks.done = Counter(), Counter()
        self.settlement = Settlement(
            source=self.source,
            in_flight=self.in_flight,
            acks=self.acks,
            metrics=self.metrics,
            counts=MessageCounts(),
            rules=SettlementRules(
                retry=RetryRules(max_receive_count=4, max_backoff_s=60.0), dead_letter_url="dlq"
            ),
            on_message_end=lambda _: None,
            clock=self._clock,
        )
        self.extender = VisibilityExtender(
            self.source,
            self.in_flight,
            self.metrics,
            tick_s=1.0,
            stall_s=STALL_S,
            on_stall=self._stalled,
            clock=self._clock,
        )
        self.breaker = CircuitBreaker(clock=self._clock)
        self.delivery = Delivery(self._context())
        self.pollers = [self._poller(), self._poller()]

    # -- what happens: few rules, for each run leaves some of them out ---------------------------

    @rule(number=st.integers(0, 1), new=st.integers(0, 3), stays_drained=st.booleans())
    def poll(self, number: int, new: int, stays_drained: bool) -> None:  # noqa: FBT001
        for _ in range(new):
            body = json.dumps({"sqs_to_ml_url": "s3://bucket/a.png", "callback_url": CALLBACK})
            self.sent.add(self.source.queue.send(body, now_s=self.source.now_s).message_id)
        if not stays_drained:
            self.pollers[number].resume()
        self._poll(number)

    @rule(
        index=st.integers(0, 9),
        what=st.sampled_from(
            [
                Event.WORK_BEGUN,
                Event.WORK_PAUSED,
                JobEnd.FINISHED,
                ErrorCode.UNDECODABLE,
                ErrorCode.S3_UNAVAILABLE,
            ]
        ),
        meanwhile=st.sampled_from(MEANWHILE),
    )
    def work(self, index: int, what: Event | JobEnd | ErrorCode, meanwhile: str) -> None:
        if not self.jobs:
            return
        job = self.jobs[index % len(self.jobs)]
        if isinstance(what, Event):
            self.in_flight.move(job.message, what)
        else:
            self.jobs.remove(job)
            self.world.meanwhile = lambda: self._do(meanwhile)
            self._finish(job, what)
            self.world.meanwhile = None

    @rule(drains_first=st.booleans(), meanwhile=st.sampled_from(MEANWHILE))
    def write(self, drains_first: bool, meanwhile: str) -> None:  # noqa: FBT001
        if drains_first:
            self._do("drain")
        self.source.acknowledging = True
        self.source.meanwhile = lambda: self._do(meanwhile)
        self.acks.write_batch()
        self.source.acknowledging, self.source.meanwhile = False, None

    @rule(
        seconds=st.sampled_from([0.2, 1.0, 4.0, 9.0, 12.0, 31.0]),
        meanwhile=st.sampled_from(MEANWHILE),
    )
    def tick(self, seconds: float, meanwhile: str) -> None:
        self.source.now_s += seconds
        self.source.meanwhile = lambda: self._do(meanwhile)
        self.extender.tick()
        self.source.meanwhile = None
        self.breaker.allows()

    @rule(what=st.sampled_from(MEANWHILE))
    def disturb(self, what: str) -> None:
        self._do(what)

    @rule(who=st.sampled_from(REFUSALS))
    def refuse(self, who: str) -> None:
        self.world.refuses.add(who)

    @precondition(lambda self: len(self.seen) >= LATE)
    @rule(time_left_s=st.sampled_from([-1.0, 0.15, 60.0]))
    def shut_down(self, time_left_s: float) -> None:
        for poller in self.pollers:
            poller.stop()
        self._release(time_left_s=time_left_s)

    # -- promises ------------------------------------------------------------------------------

    @invariant()
    def no_message_is_lost(self) -> None:
        for poller in self.pollers:
            assert poller.polling == 0
        left = {m.message_id for m in self.source.queue._store.messages()}
        done = self.sent - left - set(self.source.dead)
        told = {f"msg_{message_id}_0" for message_id in done}
        assert done <= self.world.kept.keys()
        assert told <= self.world.told.keys() & self.world.notified.keys()

    @invariant()
    def none_is_notified_twice(self) -> None:
        assert max(self.world.notified.values(), default=0) <= 1

    @invariant()
    def everybody_is_told_the_same_bytes(self) -> None:
        for message_id, body in self.world.kept.items():
            assert self.world.told.get(f"msg_{message_id}_0", {body}) == {body}

    @invariant()
    def none_is_hidden_that_nobody_works_on(self) -> None:
        """What SQS delivered to this worker last is in flight here, or hidden on purpose."""
        for message in self.source.queue._store.in_flight.values():
            message_id = message.message_id
            ours = message.handle == self.source.newest.get(message_id)
            hidden = self.source.hidden.get(message_id) == message.handle
            if ours and not hidden and message.due_s > self.source.now_s + MARGIN_S:
                assert any(m.message_id == message_id and m in self.in_flight for m in self.seen)

    @invariant()
    def none_is_settled_twice(self) -> None:
        assert max(self.acks.accepted.values(), default=0) <= 1
        assert max(self.acks.done.values(), default=0) <= 1
        assert all(self.acks.accepted[m] == 1 for m in self.acks.done)

    @invariant()
    def the_busy_count_is_that_of_the_work(self) -> None:
        load = self.in_flight.load()
        live, late = ([j for j in jobs if not j.cancelled] for jobs in (self.jobs, self.abandoned))
        assert load.open == len(live) + len(late)
        assert load.messages - load.open <= self.acks.waiting
        assert load.held_s == pytest.approx(PREDICTED_S * len(live))

    def teardown(self) -> None:
        """Stop for good: nothing stays hidden behind this worker's name."""
        self.source.refuses = False
        self.shut_down(-1.0)
        while self.acks.waiting:
            self.source.now_s += 1.0
            self.acks.write_batch()
        ours = {job.message.message_id for job in self.jobs if not job.cancelled}
        assert (len(self.in_flight), ours) == (0, set())
        self.no_message_is_lost()
        self.none_is_settled_twice()

    # -- parts ---------------------------------------------------------------------------------

    def _clock(self) -> float:
        return self.source.now_s

    def _do(self, what: str) -> None:
        """One of ``MEANWHILE``."""
        if what == "poll":
            self._poll(1)
        elif what == "a poll is answered after the drain":
            with suppress(QueueError):
                received = self.source.receive(
                    max_messages=10, wait_s=0, visibility_s=VISIBILITY_S
                )
                give_back(self.source, self.in_flight.admit(received, accept=False).refused)
        elif what == "a minute passes":
            self.source.now_s += 60.0
        elif what == "drain":
            for poller in self.pollers:
                poller.pause()
            self._release(time_left_s=1e9)
        elif what == "drain too late" and self.acks.accepted:
            # It chose a message just before the message's job settled it.
            self.settlement.settle_message(list(self.acks.accepted)[-1], RELEASE)
        elif what == "finish" and self.jobs:
            self._finish(self.jobs.pop(0), JobEnd.FINISHED)
        elif what == "another worker polls":
            self.source.queue.receive(max_messages=10, now_s=self.source.now_s, visibility_s=15)
        elif what == "another worker stores its result and dies":
            for found in self.source.queue.receive(
                max_messages=10, now_s=self.source.now_s, visibility_s=15
            ):
                self.world.kept.setdefault(found.message.message_id, self._body())
        elif what == "SQS refuses the next call":
            self.source.refuses = True

    def _poll(self, number: int) -> None:
        if self.in_flight.load().open < MOST_HELD:
            with self.in_flight.room(timeout_s=0, at_most=10) as count:
                held = self.in_flight.load().open
                assert 0 <= count <= MOST_HELD - held
                assert count or 2 * held >= MOST_HELD
                with suppress(QueueError):
                    self.pollers[number].poll_once()

    def _finish(self, job: Job, how: JobEnd | ErrorCode) -> None:
        if job.cancelled or job.message not in self.in_flight:
            # Too late to settle it; the visibility extender drops the message in a moment.
            self.abandoned.append(job)
            self.settlement.settle_job(job, JobEnd.ABANDONED)
            return
        if isinstance(how, ErrorCode):
            self.settlement.settle_job(job, Failure(code=how, message="scripted"))
            return
        self.in_flight.work_done(job)
        self._deliver(job, Finished(body=self._body()))

    def _body(self) -> bytes:
        number = next(self.bodies)
        return json.dumps({"number": number, "error": None, "file_type": "image"}).encode()

    def _context(self) -> StageContext:
        unused: Any = None
        return StageContext(
            storage=unused,
            decoding=unused,
            store=self.world,
            notifier=self.world,
            callbacks=self.world,
            outbox=None,
            in_flight=self.in_flight,
            settlement=self.settlement,
            breaker=self.breaker,
            results=self.results,
            metrics=self.metrics,
            data=unused,
            disk=unused,
            destinations=ResultSettings(on_success=(TOPIC,)),
            region="us-east-1",
            queue_url="https://sqs.test/q",
            on_result=None,
            lanes={"callback": 1},
        )

    def _release(self, *, time_left_s: float) -> None:
        for message in self.in_flight.to_release(time_left_s=time_left_s):
            self.settlement.settle_message(message, RELEASE)

    def _stalled(self, message: Message) -> None:
        fresh = self.in_flight.reopen(message)
        if fresh is None:
            return
        self.seen.append(fresh)
        fresh.jobs = tuple(replace(job, message=fresh) for job in message.jobs)
        for job in fresh.jobs:
            failure = Failure(code=ErrorCode.TIMEOUT, message="no progress")
            self.settlement.settle_job(job, failure)
            if not self.acks.accepted[fresh]:  # in the last second of its lease
                self.abandoned.append(job)

    def _poller(self) -> Poller:
        return Poller(
            source=self.source,
            in_flight=self.in_flight,
            results=self.results,
            may_receive=lambda: True,
            routes=Routes(
                download=self._work_on,
                deliver=self._deliver,
                fail=self._unexpected,
                settle=self._settle_known,
                settle_empty=self._unexpected,
            ),
            metrics=self.metrics,
            rules=PollingRules(
                max_messages=MOST_HELD,
                wait_s=0,
                visibility_s=VISIBILITY_S,
                pause_s=0.0,
                pollers=1,
                late_after_s=60.0,
                parse=parse_body,
            ),
        )

    def _work_on(self, job: Job) -> None:
        self.jobs.append(job)
        self.seen.append(job.message)

    def _settle_known(self, job: Job, outcome: JobOutcome) -> None:
        self.seen.append(job.message)
        self.settlement.settle_job(job, outcome)

    def _deliver(self, job: Job, finished: Finished) -> None:
        if job.message not in self.seen:
            self.seen.append(job.message)
        self.delivery.deliver(Concluded(job=job, finished=finished))
        if not self.acks.accepted[job.message]:
            self.abandoned.append(job)

    def _unexpected(self, *_: object) -> None:
        raise AssertionError("no such message was sent")


TestWorker = Worker.TestCase
TestWorker.settings = settings(max_examples=250, stateful_step_count=80, deadline=None)
