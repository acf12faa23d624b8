"""Every message in flight here: its state, its lease and its predicted cost, behind one lock.

The decisions are values of ``core.messages``: the table of states with its leases, admission,
service times, the busy clock and the choice of what to hand back. This class locks them together.
"""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from detection_contract.media_types import MediaKind
from detection_worker.core.messages.admission import Admission, HoldLimits
from detection_worker.core.messages.drain import Held, to_release
from detection_worker.core.messages.leases import Extension, LeaseTable
from detection_worker.core.messages.load import BusyClock, Served, ServiceTimes
from detection_worker.core.messages.states import OPEN, SIGNS_OF_LIFE, STARTED, Event, State
from detection_worker.pipeline.messages.jobs import Job, Message
from detection_worker.sources.base import ReceivedMessage


@dataclass(frozen=True, slots=True, kw_only=True)
class Admitted:
    """What became of the messages of one poll.

    Attributes:
        new: Messages that were not in flight here.
        adopted: How many were; they have the newest receipt handle now.
        refused: Deliveries of other messages, where new ones are not accepted.
    """

    new: Sequence[Message]
    adopted: int
    refused: Sequence[ReceivedMessage]


@dataclass(frozen=True, slots=True, kw_only=True)
class Overdue:
    """Messages that cannot go on as they are.

    Attributes:
        expired: Their lease ran out.
        stalled: Their work shows no sign of life.
    """

    expired: Sequence[Message]
    stalled: Sequence[Message]


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What is in flight, and what it costs, at one moment.

    Attributes:
        messages: Messages in flight here.
        open: Those whose outcome is not decided.
        held_s: Predicted seconds of work.
        changed_s: Unix seconds since when the worker is busy, or idle.
        progress_s: Monotonic seconds of the last sign of life of any work.
        service_s: Smoothed service seconds of each kind seen so far.
        served: Sums of service seconds since the start, by kind.
    """

    messages: int
    open: int
    held_s: float
    changed_s: float
    progress_s: float
    service_s: Mapping[MediaKind, float]
    served: Mapping[MediaKind, Served]


class InFlight:
    """The messages that this worker has received and not settled. Thread-safe; never slow.

    ``message in in_flight`` says whether a message is surely ours for another moment.

    Args:
        visibility_s: Visibility timeout asked for at each receive.
        tick_s: How often the visibility extender looks.
        limits: Most messages and predicted seconds to hold.
        clock: Monotonic seconds.
        wall_clock: Unix seconds.
    """

    def __init__(
        self,
        *,
        visibility_s: int,
        tick_s: float,
        limits: HoldLimits,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._clock = clock
        self._wall_clock = wall_clock
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._waiting = 0
        self._margin_s = min(1.0, visibility_s * 0.1)
        self._messages: dict[str, Message] = {}
        self._leases = LeaseTable(visibility_s=visibility_s, tick_s=tick_s)
        self._admission = Admission(limits)
        self._service_times = ServiceTimes()
        self._busy = BusyClock(changed_s=wall_clock(), progress_s=clock())

    def __len__(self) -> int:
        """Messages in flight here."""
        return len(self._messages)

    def __contains__(self, message: Message) -> bool:
        return self.holds(message, margin_s=self._margin_s)

    def holds(self, message: Message, *, margin_s: float) -> bool:
        """Return whether a message is ours for at least ``margin_s`` more seconds.

        Asked before every step of every job, and without the lock: two look-ups in dictionaries
        need none, and the answer may be outdated a moment later either way.
        """
        return self._is_current(message) and self._leases.holds(
            message.message_id, now_s=self._clock(), margin_s=margin_s
        )

    def __repr__(self) -> str:
        load = self.load()
        return f"<InFlight messages={load.messages} open={load.open} held_s={load.held_s:.1f}>"

    # -- receiving -----------------------------------------------------------------------------

    @contextmanager
    def room(self, *, timeout_s: float, at_most: int) -> Iterator[int]:
        """Wait for room and yield how many messages may be asked for, 0 after a timeout.

        They count as held while the block runs, so two pollers never share one room.
        """
        with self._changed:
            count = self._ask(at_most)
            if count == 0:
                self._waiting += 1
                try:
                    self._changed.wait(timeout_s)
                finally:
                    self._waiting -= 1
                count = self._ask(at_most)
        try:
            yield count
        finally:
            with self._lock:
                self._admission.answered(count)

    def admit(self, received: Sequence[ReceivedMessage], *, accept: bool) -> Admitted:
        """Note deliveries; what is in flight here already gets its newest receipt handle.

        Args:
            received: The answer of one poll.
            accept: Take messages that are new here; False refuses them.
        """
        now_s = self._clock()
        new, refused, adopted = [], [], 0
        with self._lock:
            for delivery in received:
                known = delivery.message_id in self._messages
                adopted += known
                if not known and not accept:
                    refused.append(delivery)
                    continue
                self._leases.take(delivery.message_id, delivery.receipt_handle, now_s=now_s)
                if not known:
                    message = Message(delivery, received_s=now_s)
                    self._messages[message.message_id] = message
                    new.append(message)
            self._busy.note(len(self._messages), wall_s=self._wall_clock())
        return Admitted(new=new, adopted=adopted, refused=refused)

    # -- states --------------------------------------------------------------------------------

    def move(self, message: Message, event: Event) -> State | None:
        """Execute one row of the table of states.

        Returns:
            The new state; None if the table refuses the event, or if ``message`` is not the one
            in flight: it was dropped, or cancelled by ``reopen``.
        """
        with self._lock:
            return self._move(message, event)

    def reopen(self, message: Message) -> Message | None:
        """Cancel the work on a stalled message and return a new one in its place, without jobs.

        A thread that still works on the old one drops it; the lease goes over to the new one.

        Returns:
            None if the table refuses it: the message is closed, or not in flight here.
        """
        with self._lock:
            message.cancel.set()
            if self._move(message, Event.STALLED) is None:
                return None
            self._admission.forget(message)
            fresh = Message(message.received, received_s=message.received_s)
            self._messages[message.message_id] = fresh
            return fresh

    def handle_to_write(self, message: Message) -> str | None:
        """Return the newest receipt handle of a closed message; None if it was lost."""
        with self._lock:
            if self._move(message, Event.WRITE_BEGUN) is None:
                return None
            return self._leases.handle(message.message_id)

    # -- leases --------------------------------------------------------------------------------

    def due(self, *, stall_s: float) -> list[Extension]:
        """Return the leases to extend now."""
        with self._lock:
            return self._leases.due(now_s=self._clock(), stall_s=stall_s)

    def extended(
        self, done: Iterable[Extension], refused: Iterable[Extension], *, now_s: float
    ) -> list[Message]:
        """Note the answer to extensions and return the messages whose lease it shows lost.

        Args:
            done: What SQS accepted.
            refused: What it will never accept.
            now_s: Clock before the call was made.
        """
        with self._lock:
            for extension in done:
                self._leases.extended(extension, now_s=now_s)
            return self._known(e.message_id for e in refused if self._leases.is_loss(e))

    def overdue(self, *, stall_s: float) -> Overdue:
        """Return the messages whose lease ran out, and those whose work shows no sign of life."""
        with self._lock:
            now_s = self._clock()
            return Overdue(
                expired=self._known(self._leases.expired(now_s=now_s)),
                stalled=self._known(self._leases.stalled(now_s=now_s, stall_s=stall_s)),
            )

    # -- work ----------------------------------------------------------------------------------

    def expect_work(self, job: Job) -> None:
        """Count the predicted cost of a job until it is scored."""
        with self._lock:
            predicted_s = self._service_times.predict(job.kind)
            self._admission.expect(job.message, job.index, predicted_s)

    def work_done(self, job: Job) -> None:
        """Stop counting a job: it needs the busy stages no more."""
        with self._lock:
            if self._admission.done(job.message, job.index):
                self._wake_if_room()

    def observe_service(self, kind: MediaKind, seconds: float) -> float:
        """Note what a message cost the busiest stage; return the smoothed cost of its kind."""
        with self._lock:
            self._service_times.observe(kind, seconds)
            return self._service_times.predict(kind)

    # -- the end -------------------------------------------------------------------------------

    def to_release(self, *, time_left_s: float) -> list[Message]:
        """Return the open messages that a worker with ``time_left_s`` to live hands back."""
        with self._lock:
            states = {i: self._leases.state(i) for i in self._messages}
            held = [self._as_held(i, state) for i, state in states.items() if state in OPEN]
            return self._known(to_release(held, time_left_s=time_left_s))

    def wait_empty(self, *, timeout_s: float) -> bool:
        """Wait until nothing is in flight; False if something still was after ``timeout_s``."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._messages, timeout_s)

    def wake(self) -> None:
        """Let every poller that waits for room look again."""
        with self._changed:
            self._changed.notify_all()

    def load(self) -> Load:
        """Return what is in flight now, and what it costs."""
        with self._lock:
            return Load(
                messages=len(self._messages),
                open=self._leases.open,
                held_s=self._admission.held_s,
                changed_s=self._busy.changed_s,
                progress_s=self._busy.progress_s,
                service_s=self._service_times.measured(),
                served=self._service_times.served(),
            )

    def _move(self, message: Message, event: Event) -> State | None:
        if not self._is_current(message):
            return None
        now_s = self._clock()
        state = self._leases.move(message.message_id, event, now_s=now_s)
        if event in SIGNS_OF_LIFE:
            self._busy.progress_s = now_s
        if state is State.DROPPED:
            del self._messages[message.message_id]
            self._busy.note(len(self._messages), wall_s=self._wall_clock())
            if not self._messages:
                self._changed.notify_all()
        if state is not None and state not in OPEN:
            # It waits for its batch of writes at most: no reason to ask for less.
            self._admission.forget(message)
            self._wake_if_room()
        return state

    def _wake_if_room(self) -> None:
        """Wake pollers that would be told of room: to wake them costs more than to look here."""
        if self._waiting and self._admission.room(
            held_messages=self._leases.open, mean_s=self._service_times.mean()
        ):
            self._changed.notify_all()

    def _ask(self, at_most: int) -> int:
        return self._admission.ask(
            held_messages=self._leases.open, mean_s=self._service_times.mean(), at_most=at_most
        )

    def _is_current(self, message: Message) -> bool:
        return self._messages.get(message.message_id) is message

    def _known(self, ids: Iterable[str]) -> list[Message]:
        return [self._messages[i] for i in ids if i in self._messages]

    def _as_held(self, message_id: str, state: State) -> Held:
        return Held(
            message_id=message_id,
            started=state in STARTED,
            remaining_s=self._admission.remaining_s(self._messages[message_id]),
        )
