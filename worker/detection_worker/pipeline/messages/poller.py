"""Polling for no more messages than there is room for, and parsing what comes."""

import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from detection_contract import user_messages
from detection_contract.messages import InvalidMessage
from detection_worker.core.messages.outcome import Failure
from detection_worker.metrics import Metrics
from detection_worker.pipeline.messages.acks import give_back
from detection_worker.pipeline.messages.in_flight import InFlight
from detection_worker.pipeline.messages.jobs import (
    Job,
    JobEnd,
    JobOutcome,
    Message,
    bad_job,
    open_jobs,
)
from detection_worker.pipeline.messages.log import log_outcome
from detection_worker.pipeline.messages.parsing import Parse
from detection_worker.pipeline.messages.result_cache import Finished, ResultCache
from detection_worker.sources.base import MessageSource, QueueError, ReceivedMessage

MAX_POLL_PAUSE_S = 60.0
UNREADY_AFTER_S = 30.0
"""A reason that may pass counts once it has lasted: one throttled poll changes nothing."""
SILENCE_S = 10.0
"""A long poll is answered when its wait ends; later by so much, the network is cut."""
ROOM_WAIT_S = 0.5

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class PollingRules:
    """How to poll.

    Attributes:
        max_messages: Most that one poll asks for, 1 to 10.
        wait_s: Long-poll time, 0 to 20.
        visibility_s: Asked for at each receive.
        pause_s: First pause after a failed poll; it doubles up to a minute.
        pollers: Most polls at once; all but one rest while polls come back empty.
        late_after_s: A first receive after a longer wait counts as late.
        parse: Reads the body of a message.
        callback_url: Callback URL of messages that name none; None leaves them without.
    """

    max_messages: int
    wait_s: int
    visibility_s: int
    pause_s: float
    pollers: int
    late_after_s: float
    parse: Parse
    callback_url: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Routes:
    """Where a parsed message goes.

    Attributes:
        download: Jobs to work on.
        deliver: Jobs whose envelope is already known, with it.
        fail: Jobs of messages that break a rule, with the failure.
        settle: Jobs that are known to be finished and delivered, with how they ended.
        settle_empty: Messages that ask for nothing.
    """

    download: Callable[[Job], None]
    deliver: Callable[[Job, Finished], None]
    fail: Callable[[Job, Failure], None]
    settle: Callable[[Job, JobOutcome], None]
    settle_empty: Callable[[Message], None]


class Poller:
    """Polls the queue from threads of its own until it is stopped.

    Args:
        source: The queue.
        in_flight: Says how much may be asked for.
        results: Knows what is already finished.
        may_receive: Asked before each poll.
        routes: Where messages go.
        metrics: Series to report to.
        rules: How to poll.
    """

    def __init__(
        self,
        *,
        source: MessageSource,
        in_flight: InFlight,
        results: ResultCache,
        may_receive: Callable[[], bool],
        routes: Routes,
        metrics: Metrics,
        rules: PollingRules,
    ) -> None:
        self._source = source
        self._in_flight = in_flight
        self._results = results
        self._may_receive = may_receive
        self._routes = routes
        self._metrics = metrics
        self._rules = rules
        self._stopping = threading.Event()
        self._paused = threading.Event()
        self._busy_queue = threading.Event()
        self._polls: dict[int, float] = {}  # since when, by thread
        self._polls_lock = threading.Lock()
        self.answered_s = time.monotonic()
        self._looped_s = dict.fromkeys(range(rules.pollers), time.monotonic())
        self._failing: tuple[QueueError, float] | None = None
        self.received_age_s: float | None = None
        self.received = 0
        self.received_late = 0
        self._threads: list[threading.Thread] = []

    def __repr__(self) -> str:
        state = "stopped" if self._stopping.is_set() else "paused" if self.paused else "running"
        return f"<Poller {state} polling={self.polling} received={self.received}>"

    def start(self) -> None:
        """Begin to poll."""
        self._threads = [
            threading.Thread(target=self._run, args=(i,), name=f"poll-{i}", daemon=True)
            for i in range(self._rules.pollers)
        ]
        for thread in self._threads:
            thread.start()

    def poll_once(self) -> int:
        """Poll from this thread and return how many new messages came; raises ``QueueError``."""
        return self._poll(self._rules.max_messages)

    def pause(self) -> None:
        """Receive nothing more until ``resume``; the answers of polls under way are released.

        When it returns no poll begins any more, and what was received is in flight here.
        """
        with self._polls_lock:
            self._paused.set()

    def resume(self) -> None:
        """Receive again."""
        self._paused.clear()
        self._in_flight.wake()

    @property
    def paused(self) -> bool:
        """Nothing is being asked for."""
        return self._paused.is_set()

    @property
    def polling(self) -> int:
        """Polls under way; one ends when its answer is in hand or given back."""
        return len(self._polls)

    def idle_s(self) -> float:
        """Return for how long the slowest poller has been in one poll or wait."""
        return time.monotonic() - min(self._looped_s.values())

    @property
    def error(self) -> str | None:
        """Why the last poll failed; None after one that succeeded."""
        return str(self._failing[0]) if self._failing else None

    @property
    def trouble(self) -> str | None:
        """Why the queue cannot be read; None while it can, or may soon again."""
        if self._failing is None:
            return self._silence()
        exc, since_s = self._failing
        lasts = time.monotonic() - since_s >= UNREADY_AFTER_S
        return str(exc) if exc.fatal or lasts else None

    def _silence(self) -> str | None:
        with self._polls_lock:
            longest_s = time.monotonic() - min(self._polls.values(), default=math.inf)
        late = longest_s > self._rules.wait_s + SILENCE_S
        return f"SQS has not answered a poll for {longest_s:.0f} s" if late else None

    def stop(self) -> None:
        """Ask every poller to end; the answers of polls under way are released."""
        self._stopping.set()
        self._in_flight.wake()

    def join(self, *, timeout_s: float) -> bool:
        """Wait for the polls under way to be answered; False if one was not in time."""
        deadline = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(t.is_alive() for t in self._threads)

    # -- polling -------------------------------------------------------------------------------

    def _run(self, number: int) -> None:
        pause_s = self._rules.pause_s
        while not self._stopping.is_set():
            self._looped_s[number] = time.monotonic()
            try:
                if self._may_poll(number):
                    self._poll_for_room()
                pause_s = self._rules.pause_s
            except QueueError as exc:
                log.log(
                    logging.ERROR if exc.fatal else logging.WARNING,
                    "could not poll the queue: %s",
                    exc,
                )
                self._stopping.wait(pause_s)
                pause_s = min(max(pause_s, 0.1) * 2, MAX_POLL_PAUSE_S)
            except Exception:
                log.exception("polling failed")
                self._stopping.wait(pause_s)

    def _may_poll(self, number: int) -> bool:
        if self._paused.is_set():
            self._stopping.wait(0.1)
            return False
        if number > 0 and not self._busy_queue.wait(ROOM_WAIT_S):
            return False
        if not self._may_receive():
            self._stopping.wait(0.1)
            return False
        return not self._stopping.is_set()

    def _poll_for_room(self) -> None:
        at_most = self._rules.max_messages
        with self._in_flight.room(timeout_s=ROOM_WAIT_S, at_most=at_most) as count:
            if count:
                self._poll(count)

    def _poll(self, count: int) -> int:
        with self._polls_lock:
            # The room that it waited for may be that of messages which a drain handed back.
            if self._closed():
                return 0
            self._polls[threading.get_ident()] = time.monotonic()
        try:
            received = self._receive(count)
            self._note_load(len(received), asked=count)
            return self._admit(received)
        finally:
            with self._polls_lock:
                del self._polls[threading.get_ident()]

    def _closed(self) -> bool:
        return self._stopping.is_set() or self._paused.is_set()

    def _receive(self, count: int) -> Sequence[ReceivedMessage]:
        started_s = time.monotonic()
        try:
            received = self._source.receive(
                max_messages=count,
                wait_s=self._rules.wait_s,
                visibility_s=self._rules.visibility_s,
            )
        except QueueError as exc:
            self._metrics.sqs_requests.labels("ReceiveMessage", "error").inc()
            self._failing = (exc, self._failing[1] if self._failing else started_s)
            raise
        self._metrics.sqs_requests.labels("ReceiveMessage", "ok").inc()
        self.answered_s = time.monotonic()
        if self._failing is not None:
            self._failing = None
            log.info("the queue can be polled again")
        return received

    def _note_load(self, received: int, *, asked: int) -> None:
        if received == asked:
            self._busy_queue.set()
        elif received == 0:
            self._busy_queue.clear()

    # -- messages ------------------------------------------------------------------------------

    def _admit(self, received: Sequence[ReceivedMessage]) -> int:
        """Take messages in and return how many of them are new here."""
        if not received:
            return 0
        with self._polls_lock:
            closed = self._closed()
            admitted = self._in_flight.admit(received, accept=not closed)
        if closed:
            # So that no message waits for its visibility timeout. One that we released ourselves
            # a moment ago can be among the adopted: the ack writer releases it once more.
            if give_back(self._source, admitted.refused):
                self._metrics.messages.labels("released").inc(len(admitted.refused))
            return 0
        log.info(user_messages.LOG_RECEIVED.format(count=len(received)))
        self._metrics.redeliveries.inc(admitted.adopted)
        for delivery in received:
            self._note_wait(delivery)
        for message in admitted.new:
            self._open(message)
        return len(admitted.new)

    def _note_wait(self, delivery: ReceivedMessage) -> None:
        """Count how long the queue made a message wait; only its first receive tells."""
        if delivery.receive_count > 1 or delivery.sent_at_s is None:
            return
        waited_s = max(0.0, time.time() - delivery.sent_at_s)
        self.received_age_s = waited_s
        self._metrics.queue_wait.observe(waited_s)
        with self._polls_lock:
            self.received += 1
            self.received_late += waited_s > self._rules.late_after_s

    def _open(self, message: Message) -> None:
        """Parse a message and send its jobs on their way."""
        url = self._rules.callback_url
        try:
            parsed = self._rules.parse(message.received.body)
        except InvalidMessage as exc:
            message.jobs = (bad_job(message, exc, url),)
            self._route(message.jobs[0], Failure(code=exc.code, message=str(exc)))
            return
        message.jobs = open_jobs(message, parsed, url)
        for what in parsed.skipped:
            line = user_messages.LOG_SKIPPED.format(what=what, message_id=message.message_id)
            log_outcome(line, action="skip", about=message)
        if not message.jobs:
            self._routes.settle_empty(message)
        for job in message.jobs:
            self._route(job, None)

    def _route(self, job: Job, failure: Failure | None) -> None:
        """Send a job where it belongs; one that is finished already is not done twice."""
        known = self._results.get(job.message.message_id, job.index)
        if known is not None:
            self._metrics.redeliveries.inc()
            if known.delivered:
                self._routes.settle(job, known.failure or JobEnd.FINISHED)
            else:
                self._routes.deliver(job, known)
        elif failure is not None:
            self._routes.fail(job, failure)
        else:
            self._in_flight.expect_work(job)
            self._routes.download(job)
