"""Fakes of the operator's ports: a manual clock, a queue and workers."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace

from detection_contract.media_types import MediaKind
from detection_operator.readers.ports import Address
from detection_operator.readers.values import QueueReading, QueueSettings, Work, WorkerState
from detection_operator.scaling.observation import ReadError
from detection_operator.spec.queue_spec import QueueRef

HEALTHY = QueueSettings(max_receive_count=5, dead_letter_arn="arn:aws:sqs:eu-west-1:1:dead")


@dataclass(slots=True)
class FakeClock:
    """Moves only when told.

    Attributes:
        wall: Seconds since the epoch.
        monotonic: Seconds since the start.
    """

    wall: float = 1_800_000_000.0
    monotonic: float = 0.0

    def wall_s(self) -> float:
        """Return seconds since the epoch."""
        return self.wall

    def monotonic_s(self) -> float:
        """Return seconds since the start."""
        return self.monotonic

    def advance(self, seconds: float) -> None:
        """Let time pass on both clocks."""
        self.wall += seconds
        self.monotonic += seconds

    def jump(self, seconds: float) -> None:
        """Set the wall clock: no time passes."""
        self.wall += seconds


@dataclass(slots=True)
class FakeQueue:
    """Counts to read; also where fake workers take messages from.

    Attributes:
        visible: Messages that wait.
        in_flight: Messages that workers hold.
        dead_letter: Depth of the dead-letter queue.
        outbox: Depth of the outbox, for specs that have one.
        outbox_due: Its callbacks that are due.
        outbox_idle_s: How long its callbacks have been due.
        error: While set, every read fails with it.
        settings: Settings of the queue.
        reads: How often it was read.
    """

    visible: int = 0
    in_flight: int = 0
    dead_letter: int | None = 0
    outbox: int | None = None
    outbox_due: int | None = None
    outbox_idle_s: float = 0.0
    error: ReadError | None = None
    settings: QueueSettings = HEALTHY
    reads: int = 0

    def read(
        self,
        queue: QueueRef,
        before: QueueReading,
        now_s: float,
        *,
        outbox: QueueRef | None = None,
    ) -> QueueReading:
        """Return the counts, or what was read before with the error."""
        del queue
        self.reads += 1
        if self.error is not None:
            return replace(before, error=self.error)
        return QueueReading(
            sampled_at_s=now_s,
            visible=self.visible,
            in_flight=self.in_flight,
            settings=self.settings,
            dead_letter=self.dead_letter,
            dead_letter_retention_s=1_209_600,
            outbox=None if outbox is None else self.outbox,
            outbox_due=None if outbox is None else self.outbox_due,
            outbox_idle_s=self.outbox_idle_s,
        )


@dataclass(slots=True)
class FakeWorker:
    """One worker.

    Attributes:
        held: Seconds until each message in hand is done.
        draining: It takes no more.
        loading: It answers, but takes nothing yet.
        ending: Its pod was deleted.
        silent: It answers nothing.
        refuses: It answers, but does not drain.
        hung: Its messages never end.
        expires_s: End of its busy mark, when it hangs.
        done: Messages finished.
        received: Messages taken.
        service_s: Seconds that a message costs its busiest stage.
    """

    held: list[float] = field(default_factory=list)
    draining: bool = False
    loading: bool = False
    ending: bool = False
    silent: bool = False
    refuses: bool = False
    hung: bool = False
    expires_s: float | None = None
    done: int = 0
    received: int = 0
    service_s: float = 0.0

    @property
    def left_s(self) -> float | None:
        """Seconds until it is idle, if it takes no more; None while it is."""
        return max(self.held, default=None)

    @left_s.setter
    def left_s(self, seconds: float | None) -> None:
        self.held = [] if seconds is None else [min(left, seconds) for left in self.held]

    def state(self) -> WorkerState:
        """Return the state it reports."""
        busy = bool(self.held)
        return WorkerState(
            busy=busy,
            busy_expires_s=self.expires_s if busy else None,
            draining=self.draining,
            drained=self.draining and not busy,
            in_flight=len(self.held),
            served={
                MediaKind.VIDEO: Work(
                    self.done, self.done * self.service_s, self.done * self.service_s**2
                )
            },
            received=self.received,
        )

    def work(self, seconds: float) -> int:
        """Work for a while; return how many messages are done."""
        if self.hung:
            return 0
        before = len(self.held)
        self.held = [left - seconds for left in self.held if left > seconds]
        done = before - len(self.held)
        self.done += done
        return done


@dataclass(slots=True)
class FakeWorkers:
    """The workers behind the pods that are ready, by uid.

    Attributes:
        queue: Where they take messages from.
        service_s: Seconds from the receipt of a message to its end.
        lanes: Messages that one worker holds at a time, as a real one does while it waits for
            downloads and callbacks.
        made: What a new worker is like.
        now_s: Their clock; nobody else's jumps with it.
        workers: By uid.
        finished: Messages that all workers finished, those that are gone too.
    """

    queue: FakeQueue
    service_s: float = 10.0
    lanes: int = 1
    made: Callable[[], FakeWorker] = FakeWorker
    now_s: float = 0.0
    workers: dict[str, FakeWorker] = field(default_factory=dict)
    finished: int = 0

    def follow(
        self,
        ready: Collection[str],
        *,
        loading: Collection[str] = (),
        ending: Collection[str] = (),
    ) -> list[str]:
        """Start and stop workers with their pods; return the uids of busy ones that were lost.

        Args:
            ready: Uids of pods that are ready.
            loading: Uids of pods that answer already, but are not ready.
            ending: Those of the ready ones that were deleted: they finish what they hold.
        """
        gone = [uid for uid in self.workers if uid not in ready and uid not in loading]
        deleted = [uid for uid in (*gone, *ending) if uid in self.workers]
        lost = [u for u in deleted if self.workers[u].held and not self.workers[u].ending]
        for uid in set(ending) & self.workers.keys():
            self.workers[uid].ending = self.workers[uid].draining = True
        for uid in gone:
            messages = len(self.workers.pop(uid).held)
            # SQS makes the messages of the dead visible again.
            self.queue.in_flight -= messages
            self.queue.visible += messages
        for uid in (*loading, *ready):
            self.workers.setdefault(uid, self.made()).loading = uid in loading
        return lost

    def work(self, seconds: float) -> None:
        """Let all of them work for a while."""
        self.now_s += seconds
        for worker in self.workers.values():
            worker.service_s = self.service_s / self.lanes
            done = worker.work(seconds)
            self.finished += done
            self.queue.in_flight -= done
        self._take()

    def _take(self) -> None:
        """Hand out what waits, one to each in turn: who holds least asks first."""
        able = [w for w in self.workers.values() if not (w.draining or w.loading)]
        while self.queue.visible > 0:
            worker = min(able, key=lambda w: len(w.held), default=None)
            if worker is None or len(worker.held) >= self.lanes:
                return
            self.queue.visible -= 1
            self.queue.in_flight += 1
            worker.received += 1
            worker.held.append(self.service_s)

    def states(self, addresses: Sequence[Address]) -> dict[str, WorkerState]:
        """Return the states of those that answer."""
        found = ((a.uid, self.workers.get(a.uid)) for a in addresses)
        return {uid: self._said(worker) for uid, worker in found if worker and not worker.silent}

    def drain(self, address: Address) -> WorkerState | None:
        """Stop a worker from receiving."""
        return self._steer(address, draining=True)

    def resume(self, address: Address) -> WorkerState | None:
        """Let a worker receive again."""
        return self._steer(address, draining=False)

    def _steer(self, address: Address, *, draining: bool) -> WorkerState | None:
        worker = self.workers.get(address.uid)
        if worker is None or worker.silent:
            return None
        if not worker.refuses:
            worker.draining = draining
        return self._said(worker)

    def _said(self, worker: FakeWorker) -> WorkerState:
        return replace(worker.state(), said_at_s=self.now_s)
