"""Writes of many threads in few calls: one of the threads that wait sends for all."""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

LINGER_S: Final = 0.02
"""How long a batch is collected under load."""
BUSY_S: Final = 0.1
"""Two entries within this time are load; a lone one is sent at once."""

Entry = TypeVar("Entry")
Send = Callable[[Sequence[Entry]], Sequence[Exception | None]]
"""Sends a batch; returns for each entry why it failed, None if it did not."""


class _Caller:
    """A thread that waits for its entries.

    Attributes:
        unsent: How many of its entries are not sent yet.
        leads: It collects and sends the next batch.
        sends: It collects or sends one.
    """

    __slots__ = ("_asleep", "leads", "sends", "unsent")

    def __init__(self, unsent: int) -> None:
        self.unsent = unsent
        self.leads = self.sends = False
        # One for each thread: a condition that all share would wake every thread for every entry.
        # A bare lock costs a tenth of an Event.
        self._asleep = threading.Lock()
        self._asleep.acquire()

    def sleep(self) -> None:
        """Wait until one of these has changed since the last time."""
        self._asleep.acquire()

    def wake(self) -> None:
        """End the wait; the group is locked."""
        if self._asleep.locked():
            self._asleep.release()


@dataclass(slots=True, kw_only=True, eq=False)
class _Waiting(Generic[Entry]):
    """An entry whose thread waits.

    Attributes:
        entry: What to send.
        size_bytes: How much it counts against the limit of a batch.
        caller: Its thread.
        error: Why the entry failed.
    """

    entry: Entry
    size_bytes: int
    caller: _Caller
    error: Exception | None = None


class GroupCommit(Generic[Entry]):
    """Collects entries of several threads into batches; each thread waits for its own entry.

    There is no thread of its own: of those that wait, one collects and sends while the next ones
    collect again. Calls overlap, so a slow one delays only its own entries.

    Args:
        send: Sends a batch; called by several threads at once.
        size_bytes: Size of an entry.
        max_entries: Most entries of a batch.
        max_bytes: Most bytes of a batch of several entries.
        linger_s: How long a batch is collected under load.
    """

    def __init__(
        self,
        send: Send[Entry],
        *,
        size_bytes: Callable[[Entry], int],
        max_entries: int,
        max_bytes: int,
        linger_s: float = LINGER_S,
    ) -> None:
        self._send = send
        self._size_bytes = size_bytes
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._linger_s = linger_s
        self._full = threading.Condition()
        self._queue: deque[_Waiting[Entry]] = deque()
        self._collecting = False
        self._last_s = -BUSY_S

    def put(self, entry: Entry) -> None:
        """Send an entry, with others if there are any; returns once it is sent.

        Raises:
            Exception: What ``send`` returned for this entry, or raised.
        """
        (error,) = self.put_all([entry])
        if error is not None:
            raise error

    def put_all(self, entries: Sequence[Entry]) -> list[Exception | None]:
        """Send entries, with others if there are any; return why each failed, or None."""
        caller = _Caller(len(entries))
        mine = [
            _Waiting(entry=entry, size_bytes=self._size_bytes(entry), caller=caller)
            for entry in entries
        ]
        busy = self._join(mine)
        while caller.unsent:
            caller.sleep()
            if caller.leads:
                self._send_batch(self._collect(caller, busy=busy))
                self._send_on(caller)
        return [each.error for each in mine]

    def _join(self, mine: Sequence[_Waiting[Entry]]) -> bool:
        """Queue entries; return whether others came shortly before."""
        now_s = time.monotonic()
        with self._full:
            busy = now_s - self._last_s < BUSY_S
            self._last_s = now_s
            self._queue.extend(mine)
            if not self._collecting:
                self._appoint()
            elif self._count()[1]:
                self._full.notify()
        return busy

    def _appoint(self) -> None:
        """Have a thread that only waits collect the next batch, if there is one."""
        idle = (each.caller for each in self._queue if not each.caller.sends)
        leader = next(idle, None)
        self._collecting = leader is not None
        if leader is not None:
            leader.leads = leader.sends = True
            leader.wake()

    def _collect(self, leader: _Caller, *, busy: bool) -> list[_Waiting[Entry]]:
        """Return the next batch, and let another thread collect the one after it."""
        with self._full:
            leader.leads = False
            count = 0
            try:
                if busy:
                    self._full.wait_for(lambda: self._count()[1], timeout=self._linger_s)
                count = self._count()[0]
            finally:
                batch = [self._queue.popleft() for _ in range(count)]
                self._appoint()
            return batch

    def _send_on(self, caller: _Caller) -> None:
        """Let a thread that has sent a batch lead again: it may have more entries."""
        with self._full:
            caller.sends = False
            if not self._collecting:
                self._appoint()

    def _count(self) -> tuple[int, bool]:
        """Return how many entries the next batch has, at least one, and whether it is full."""
        count, size_bytes = 0, 0
        for waiting in self._queue:
            size_bytes += waiting.size_bytes
            if count and (count == self._max_entries or size_bytes > self._max_bytes):
                return count, True
            count += 1
        return count, count >= self._max_entries or size_bytes >= self._max_bytes

    def _send_batch(self, batch: Sequence[_Waiting[Entry]]) -> None:
        errors: Sequence[Exception | None] = [
            RuntimeError("the thread that was to send this was stopped") for _ in batch
        ]
        try:
            errors = self._send([waiting.entry for waiting in batch])
        except Exception as exc:  # noqa: BLE001 - raised again in the threads whose entries these are
            errors = [exc for _ in batch]
        finally:
            with self._full:
                for waiting, error in zip(batch, errors, strict=True):
                    waiting.error = error
                    waiting.caller.unsent -= 1
                    if not waiting.caller.unsent:
                        waiting.caller.wake()
