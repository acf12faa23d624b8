"""Every message in hand, its lease and its predicted cost, behind one lock."""

import threading
import time
from collections.abc import Iterable

from detection_contract.media_types import MediaKind
from detection_worker.core.messages.admission import HoldLimits, Served, ServiceTimes, room
from detection_worker.core.messages.drain import Held, to_release
from detection_worker.core.messages.leases import Extension, LeaseTable
from detection_worker.pipeline.messages.jobs import Job, Message
from detection_worker.sources.base import ReceivedMessage


class InFlight:
    """What this worker holds. Thread-safe; every method is short.

    Args:
        visibility_s: Visibility timeout asked for at each receive.
        tick_s: How often the visibility extender looks.
        limits: Most messages and predicted seconds to hold.
    """

    def __init__(self, *, visibility_s: int, tick_s: float, limits: HoldLimits) -> None:
        self._lock = threading.Lock()
        self._freed = threading.Condition(self._lock)
        self._leases = LeaseTable(visibility_s=visibility_s, tick_s=tick_s)
        self._margin_s = min(1.0, visibility_s * 0.1)
        self._messages: dict[str, Message] = {}
        self._limits = limits
        self._held_s = 0.0
        self._closing: set[str] = set()
        self._polling = 0
        self._changed_s = time.time()
        self._progress_s = time.monotonic()
        self.service_times = ServiceTimes()

    # -- receiving -----------------------------------------------------------------------------

    def reserve(self, *, timeout_s: float, at_most: int) -> int:
        """Wait for room and return how many messages may be asked for now, 0 after a timeout.

        What is asked for counts as held until ``unreserve``: two pollers do not share one room.
        """
        with self._freed:
            count = min(self._room(), at_most)
            if count == 0:
                self._freed.wait(timeout_s)
                count = min(self._room(), at_most)
            self._polling += count
            return count

    def unreserve(self, count: int) -> None:
        """Give back what ``reserve`` returned, after the poll."""
        with self._lock:
            self._polling -= count

    def take(self, received: ReceivedMessage, *, now_s: float) -> Message | None:
        """Note a delivery and return the new message, or None if it is already in hand."""
        with self._lock:
            known = self._messages.get(received.message_id)
            self._leases.take(received.message_id, received.receipt_handle, now_s=now_s)
            if known is not None:
                return None
            if not self._messages:
                self._changed_s = time.time()
            message = Message(received, received_s=now_s)
            self._messages[message.message_id] = message
            return message

    def expect_work(self, job: Job) -> None:
        """Count the predicted cost of a job until it is scored."""
        with self._lock:
            job.predicted_s = self.service_times.predict(job.kind)
            self._held_s += job.predicted_s

    def work_done(self, job: Job) -> None:
        """The job needs the busy stages no more."""
        with self._freed:
            self._held_s -= job.predicted_s
            job.predicted_s = 0.0
            self._freed.notify_all()

    # -- leases --------------------------------------------------------------------------------

    def progress(self, job: Job, *, working: bool = True) -> None:
        """Note a sign of life of the work on a job's message."""
        with self._lock:
            self._progress_s = time.monotonic()
            self._leases.progress(job.message.message_id, now_s=time.monotonic(), working=working)

    def holds(self, message: Message) -> bool:
        """Say whether the message is surely ours for another moment."""
        with self._lock:
            return self._messages.get(message.message_id) is message and self._leases.holds(
                message.message_id, now_s=time.monotonic(), margin_s=self._margin_s
            )

    def close(self, message: Message) -> str | None:
        """Stop extending the message; return its newest handle, None if it is not held."""
        with self._freed:
            if self._messages.get(message.message_id) is not message:
                return None
            self._leases.close(message.message_id)
            # It waits for its batch of deletes only: no reason to ask for less.
            self._closing.add(message.message_id)
            self._freed.notify_all()
            return self._leases.handle(message.message_id)

    def handle(self, message_id: str) -> str | None:
        """Return the newest receipt handle of a message in hand."""
        with self._lock:
            return self._leases.handle(message_id)

    def open_handle(self, message_id: str) -> str | None:
        """Return the newest receipt handle unless the message's end is already decided."""
        with self._lock:
            return self._leases.open_handle(message_id)

    def reopen(self, message: Message) -> Message | None:
        """Cancel the work on a message and return it anew, without jobs; None if it is not held.

        Whoever still works on the old one drops it; the lease goes over to the new one.
        """
        with self._lock:
            message.cancel.set()
            if self._messages.get(message.message_id) is not message:
                return None
            for job in message.jobs:
                self._held_s -= job.predicted_s
                job.predicted_s = 0.0
            fresh = Message(message.received, received_s=message.received_s)
            self._messages[message.message_id] = fresh
            self._leases.progress(message.message_id, now_s=time.monotonic(), working=False)
            return fresh

    def adopt(self, received: ReceivedMessage, *, now_s: float) -> bool:
        """Take over the newest handle of a message in hand; False if it is a stranger."""
        with self._lock:
            known = received.message_id in self._messages
            if known:
                self._leases.take(received.message_id, received.receipt_handle, now_s=now_s)
            return known

    def drop_if(self, message: Message, handle: str) -> bool:
        """Drop a message whose end was written with ``handle``; False if it came again since.

        A message that is released can come back at once, by a poll of our own that is still
        waiting: then its end has to be written again, with the new handle.
        """
        with self._freed:
            if self._leases.handle(message.message_id) not in (handle, None):
                return False
            self._drop(message)
            return True

    def drop(self, message: Message) -> None:
        """The message is deleted, released or lost."""
        with self._freed:
            self._drop(message)

    def due(self, *, stall_s: float) -> list[Extension]:
        """Return the leases to extend now."""
        with self._lock:
            return self._leases.due(now_s=time.monotonic(), stall_s=stall_s)

    def extended(self, done: Iterable[Extension], *, now_s: float) -> None:
        """Note successful extensions."""
        with self._lock:
            for extension in done:
                self._leases.extended(extension, now_s=now_s)

    def expired(self) -> list[Message]:
        """Return the messages whose lease ran out."""
        with self._lock:
            return self._known(self._leases.expired(now_s=time.monotonic()))

    def stalled(self, *, stall_s: float) -> list[Message]:
        """Return the messages whose work shows no sign of life."""
        with self._lock:
            return self._known(self._leases.stalled(now_s=time.monotonic(), stall_s=stall_s))

    def find(self, message_id: str) -> Message | None:
        """Return a message in hand by its id."""
        with self._lock:
            return self._messages.get(message_id)

    # -- what is held --------------------------------------------------------------------------

    def to_release(self, *, time_left_s: float) -> list[Message]:
        """Return the messages that a worker with ``time_left_s`` to live should hand back."""
        with self._lock:
            held = [self._as_held(m) for m in self._messages.values()]
            return self._known(to_release(held, time_left_s=time_left_s))

    def observe_service(self, kind: MediaKind, seconds: float) -> None:
        """Note what a message of ``kind`` cost the busiest stage."""
        with self._lock:
            self.service_times.observe(kind, seconds)

    def measured_service(self) -> dict[MediaKind, float]:
        """Return the smoothed service seconds of each kind seen."""
        with self._lock:
            return self.service_times.measured()

    def served(self) -> dict[MediaKind, Served]:
        """Return what finished messages cost since the start, by kind."""
        with self._lock:
            return self.service_times.served()

    def __len__(self) -> int:
        """Messages in flight."""
        return len(self._messages)

    @property
    def unfinished(self) -> int:
        """Messages in hand whose end is not decided yet."""
        return len(self._messages) - len(self._closing)

    @property
    def held_seconds(self) -> float:
        """Predicted seconds of work in hand."""
        return max(0.0, self._held_s)

    @property
    def changed_s(self) -> float:
        """Unix seconds since when the worker is busy, or idle."""
        return self._changed_s

    @property
    def progress_s(self) -> float:
        """Monotonic seconds of the last sign of life of any work."""
        return self._progress_s

    def wait_empty(self, *, timeout_s: float) -> bool:
        """Wait until nothing is in hand; False if something still was after ``timeout_s``."""
        with self._freed:
            return self._freed.wait_for(lambda: not self._messages, timeout_s)

    def wake(self) -> None:
        """Let everybody who waits for room look again."""
        with self._freed:
            self._freed.notify_all()

    def _drop(self, message: Message) -> None:
        if self._messages.get(message.message_id) is message:
            del self._messages[message.message_id]
            self._closing.discard(message.message_id)
            self._leases.drop(message.message_id)
            if not self._messages:
                self._changed_s = time.time()
        for job in message.jobs:
            self._held_s -= job.predicted_s
            job.predicted_s = 0.0
        self._freed.notify_all()

    def _room(self) -> int:
        mean_s = self.service_times.mean()
        return room(
            held_messages=len(self._messages) - len(self._closing) + self._polling,
            held_seconds=self._held_s + self._polling * mean_s,
            mean_s=mean_s,
            limits=self._limits,
        )

    def _known(self, ids: Iterable[str]) -> list[Message]:
        return [self._messages[i] for i in ids if i in self._messages]

    @staticmethod
    def _as_held(message: Message) -> Held:
        return Held(
            message_id=message.message_id,
            started=any(j.started for j in message.jobs),
            remaining_s=sum(j.predicted_s for j in message.jobs),
        )
