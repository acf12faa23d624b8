"""All feeders of a worker: started, asked together, started again when one dies, stopped."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from detection_worker.core.feeders.state import NO_COUNTS, State, counts_of
from detection_worker.errors import UsageError
from detection_worker.pipeline.device.server import DeviceServer
from detection_worker.pipeline.files.downloads import sweep_after
from detection_worker.pipeline.service.feeders.channel import Packet
from detection_worker.pipeline.service.feeders.orders import Begin, Orders
from detection_worker.pipeline.service.feeders.process import FeederProcess
from detection_worker.pipeline.service.feeders.series import Family, added, lasting
from detection_worker.pipeline.service.feeders.slot import Slot

ANSWER_S: Final = 1.0
"""A loaded feeder answers in hundredths of a second; the operator waits two seconds for all."""
LATE_ANSWER_S: Final = 0.05
"""For one that owes an answer, so that it does not make the answers of the others late."""
QUESTIONS: Final = frozenset({"status", "metrics"})
"""What changes nothing in a feeder."""
EXIT_MARGIN_S: Final = 1.0
"""For a feeder that has handed everything back and waits for a call that hangs. It has stopped 2 s
before the grace period ends, and the main process needs a part of these for its own exit."""

log = logging.getLogger(__name__)


class Fleet:
    """The feeders of a worker. Thread-safe; ``start`` and ``look`` are for one thread.

    That thread must outlive the feeders: the kernel kills them when it ends.

    Args:
        orders: For each feeder.
        on_restart: Called when a feeder is started again.

    Attributes:
        slots: One for each feeder.
        age_s: How long the latest message had waited in the queue; None before the first.
        draining: Nothing is to be received.
    """

    def __init__(self, orders: Sequence[Orders], *, on_restart: Callable[[], None]) -> None:
        self.slots = [Slot(each) for each in orders]
        self.age_s: float | None = None
        self.draining = False
        self._on_restart = on_restart
        self._lock = threading.RLock()
        self._begin: tuple[Begin, DeviceServer] | None = None
        self._departed: State = NO_COUNTS
        self._departed_series: list[Family] = []

    @property
    def begun(self) -> bool:
        """The feeders were told to begin."""
        return self._begin is not None

    # -- life ----------------------------------------------------------------------------------

    def start(self) -> None:
        """Start every feeder; each waits for ``begin``."""
        with self._lock:
            for slot in self.slots:
                slot.start()

    def begin(self, begin: Begin, device: DeviceServer) -> None:
        """Let every feeder work; one that is started later begins at once."""
        with self._lock:
            self._begin = (begin, device)
            for slot in self.slots:
                slot.begin(begin, device, draining=self.draining)

    def look(self) -> None:
        """Ask every feeder how it is; start those again that have ended or hang.

        Raises:
            UsageError: One cannot start, however often it is tried.
        """
        with self._lock:
            self.ask("status")
            # What a feeder counted since it was asked last is lost when it dies.
            self.ask("metrics")
            for slot in self.slots:
                if slot.process:
                    self._look_at(slot, slot.process)
                if slot.process is None and time.monotonic() >= slot.start_at_s:
                    self._restart(slot)

    def _look_at(self, slot: Slot, process: FeederProcess) -> None:
        if slot.hung():
            log.error("feeder %d does not answer: it is killed", slot.number, extra=slot.facts)
            process.kill()
        how = process.ended()
        if how is None:
            return
        if process.failed and slot.starts == 1:
            raise UsageError(process.failed)
        self._leave(slot)
        sweep_after(slot.orders.settings.data.s3_cache_dir, process.pid)
        pause_s = slot.put_off(lived_s=time.monotonic() - process.started_s)
        log.error(
            "feeder %d %s: it is started again in %.0f s; SQS shows its messages again by itself",
            slot.number,
            how,
            pause_s,
            extra=slot.facts,
        )

    def _leave(self, slot: Slot) -> None:
        """End a feeder now, and keep what it has counted."""
        self._departed = counts_of(s for s in (self._departed, slot.state) if s)
        self._departed_series = added(self._departed_series, lasting(slot.series))
        slot.leave()

    def _restart(self, slot: Slot) -> None:
        self._on_restart()
        slot.start()
        if self._begin:
            slot.begin(*self._begin, draining=self.draining)

    def kill(self) -> None:
        """End every feeder now; what they hold comes back when its leases end."""
        with self._lock:
            for slot in self.slots:
                self._leave(slot)

    def stop(self, *, grace_s: float, hurry: Callable[[], bool]) -> bool:
        """Drain and end every feeder; see ``Pipeline.stop``.

        Returns:
            False if something could not be handed back in time.
        """
        deadline_s = time.monotonic() + grace_s
        self._leave_those_not_begun()
        self.ask("stop", grace_s=grace_s)
        hurried = False
        while time.monotonic() < deadline_s and not self._have_stopped():
            if hurry() and not hurried:
                hurried = True
                self.ask("hurry")
            time.sleep(0.05)
            self.ask("status")
        self.ask("status")  # for the last words of those that ended just now
        clean = all(p.last_words and p.last_words["clean"] for p in self._running())
        self._wait_for_exits(until_s=time.monotonic() + EXIT_MARGIN_S)
        return clean

    def _wait_for_exits(self, *, until_s: float) -> None:
        """Wait for those that have stopped; one that has not by now will not."""
        stopped = [process for process in self._running() if process.last_words]
        while time.monotonic() < until_s and any(p.ended() is None for p in stopped):
            time.sleep(0.02)

    def _leave_those_not_begun(self) -> None:
        with self._lock:
            for slot in self.slots:
                if not slot.begun:
                    self._leave(slot)

    def _have_stopped(self) -> bool:
        with self._lock:
            return all(p.ended() or p.last_words for p in self._running())

    def _running(self) -> list[FeederProcess]:
        return [slot.process for slot in self.slots if slot.process]

    # -- asking --------------------------------------------------------------------------------

    def drain(self) -> None:
        """Let no feeder receive, those that are started later included."""
        with self._lock:
            self.draining = True
            self.ask("drain")

    def resume(self) -> None:
        """Let every feeder receive again."""
        with self._lock:
            self.draining = False
            self.ask("resume")

    def ask(self, what: str, **facts: Any) -> None:
        """Ask all feeders at once, and keep the answers of those that give one in time.

        One that owes an answer is asked nothing more, or it would hold up the caller once its
        socket is full; orders still reach it.
        """
        with self._lock:
            asked = [(slot, slot.process) for slot in self.slots if slot.process]
            for slot, process in asked:
                if not (slot.late and what in QUESTIONS):
                    process.ask(what, **facts)
            now_s = time.monotonic()
            for slot, process in asked:
                patience_s = LATE_ANSWER_S if slot.late else ANSWER_S
                answer = process.answer(deadline_s=now_s + patience_s)
                slot.late = answer is None
                self._note(slot, answer or process.last_words)

    def _note(self, slot: Slot, answer: Packet | None) -> None:
        if answer is None:
            return
        if "families" in answer:
            slot.series = answer["families"]
            return
        before, slot.status = slot.state, answer
        state = slot.state
        if state and state["received"] > (before["received"] if before else 0):
            self.age_s = state["received_message_age_s"]

    def statuses(self) -> list[Packet]:
        """Return the last answers of the feeders that have a pipeline."""
        with self._lock:
            return [slot.status for slot in self.slots if slot.status and slot.state]

    def states(self) -> list[State]:
        """Return the states of all feeders that have or had a pipeline."""
        with self._lock:
            found = [slot.state or slot.idle for slot in self.slots]
            return [state for state in found if state]

    def counts(self) -> dict[str, Any]:
        """Return the counts of all feeders since the start, those that have died included."""
        with self._lock:
            states = [slot.state for slot in self.slots]
            return counts_of(s for s in (self._departed, *states) if s)

    def series(self) -> list[list[Family]]:
        """Return the newest metrics of all feeders, those that have died included."""
        with self._lock:
            self.ask("metrics")
            return [self._departed_series, *(slot.series for slot in self.slots)]
