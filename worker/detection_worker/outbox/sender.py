"""The threads that send the outbox: one polls, one keeps leases, some make attempts."""

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from detection_worker.errors import Cancelled
from detection_worker.outbox.handler import Due, EntryHandler
from detection_worker.outbox.queue import BATCH, OutboxQueue
from detection_worker.outbox.recognition import NotAnOutbox
from detection_worker.sources.base import QueueError, ReceivedMessage

VISIBILITY_S: Final = 60
"""Visibility timeout of a receive; extended while an entry is held: the delay after a crash."""
AHEAD: Final = BATCH
"""Entries that may wait for a thread: a full poll, so that one slow host does not hide others."""
PAUSE_S: Final = 5.0
MAX_PAUSE_S: Final = 60.0
FOREIGN_PAUSE_S: Final = 900.0
"""After messages that are no entries: each receive brings them nearer to a dead-letter queue."""
_LOOK_S: Final = 0.2

log = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True, eq=False)
class _Held:
    """A message that is ours for now.

    Attributes:
        message: Its delivery.
        since_s: Monotonic seconds of its receive, or of the last extension.
    """

    message: ReceivedMessage
    since_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SenderRules:
    """How the outbox is sent.

    Attributes:
        threads: Attempts at once.
        wait_s: Longest long poll, 0 to 20 seconds; a poll under way at the end is waited for.
        visibility_s: Visibility timeout of received entries.
        pause_s: After a failed poll; it doubles with each further one.
        pace_s: After a poll that left no entry waiting for a thread: beside inference, thousands
            of entries that are only put off must not take the interpreter.
    """

    threads: int
    wait_s: int
    visibility_s: int = VISIBILITY_S
    pause_s: float = PAUSE_S
    pace_s: float = 0.0


class OutboxSender:
    """Sends the outbox from threads of its own until it is stopped.

    Args:
        source: The outbox.
        handler: Does what is to be done with entries.
        rules: How to send.
        clock: Monotonic seconds.

    Attributes:
        error: Why nothing is received now; None while all is well.
        looped_s: When the poller last showed a sign of life.
        refused: Set once the queue has shown to be no outbox.
    """

    def __init__(
        self,
        source: OutboxQueue,
        handler: EntryHandler,
        rules: SenderRules,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source = source
        self._handler = handler
        self._rules = rules
        self._clock = clock
        self._waiting: queue.SimpleQueue[Due | None] = queue.SimpleQueue()
        self._held: dict[str, _Held] = {}
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        self._paused = threading.Event()
        self._hurry = threading.Event()
        self.error: str | None = None
        self.refused: QueueError | None = None
        self.looped_s = clock()
        self._threads = [
            threading.Thread(target=self._work, name=f"outbox-{n}", daemon=True)
            for n in range(rules.threads)
        ]
        self._poller = threading.Thread(target=self._poll_on, name="outbox-poll", daemon=True)
        self._extender = threading.Thread(target=self._extend_on, name="outbox-lease", daemon=True)

    # -- running -------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to poll."""
        self._start_workers()
        self._poller.start()

    def run_once(self, *, stop: Callable[[], bool]) -> None:
        """Send what is due until a poll finds nothing; raises ``QueueError``."""
        self._start_workers()
        wait_s = self._rules.wait_s
        while not stop() and self._poll(wait_s):
            wait_s = min(1, wait_s)
            self._wait_for(lambda: len(self._held) <= AHEAD, stop)
        self._wait_for(lambda: not self._held, stop)

    def pause(self) -> None:
        """Receive nothing more until ``resume``; what waits for a thread is given back."""
        self._paused.set()
        self._give_back_waiting()

    def resume(self) -> None:
        """Receive again."""
        self._paused.clear()

    def request_stop(self) -> None:
        """Begin no poll and no attempt any more; returns at once."""
        self._stopping.set()

    def stop(self, *, timeout_s: float) -> bool:
        """Finish the attempts under way, give back the rest; False if that was not possible.

        An attempt that is not over after ``timeout_s`` is left alone, and its entry given back.
        """
        if not self._extender.ident:
            return True  # it was never started
        deadline_s = time.monotonic() + timeout_s
        self._stopping.set()
        self._give_back_waiting()
        with self._changed:
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._held, max(0.0, timeout_s))
        self._hurry.set()
        for _ in self._threads:
            self._waiting.put(None)
        if self._poller.is_alive():
            self._poller.join(max(0.0, deadline_s - time.monotonic()))
        return self._release(self._messages()) and not self._poller.is_alive()

    @property
    def held(self) -> int:
        """Entries received and not settled."""
        return len(self._held)

    @property
    def paused(self) -> bool:
        """Nothing is being received."""
        return self._paused.is_set()

    def idle_s(self) -> float:
        """Return for how long the poller has been in one poll or wait; 0 if it was not started."""
        return self._clock() - self.looped_s if self._poller.ident else 0.0

    # -- polling -------------------------------------------------------------------------------

    def _start_workers(self) -> None:
        for thread in (*self._threads, self._extender):
            thread.start()

    def _poll_on(self) -> None:
        pause_s = self._rules.pause_s
        while not self._stopping.is_set():
            self.looped_s = self._clock()
            try:
                if self._paused.is_set() or not self._room():
                    self._stopping.wait(_LOOK_S)
                    continue
                self._poll(self._rules.wait_s)
                if self._waiting.empty():
                    self._stopping.wait(self._rules.pace_s)
                pause_s, self.error = self._rules.pause_s, None
            except NotAnOutbox as exc:
                self.error, self.refused = str(exc), exc
                log.error("%s", exc)  # noqa: TRY400 - no bug
                self._rest(FOREIGN_PAUSE_S)
            except QueueError as exc:
                self.error = str(exc)
                log.warning("could not poll the outbox: %s", exc)
                self._stopping.wait(pause_s)
                pause_s = min(pause_s * 2, MAX_PAUSE_S)
            except Exception:
                log.exception("sending the outbox failed")
                self._stopping.wait(pause_s)

    def _rest(self, seconds: float) -> None:
        """Wait, and look alive."""
        until_s = self._clock() + seconds
        while self._clock() < until_s and not self._stopping.wait(_LOOK_S):
            self.looped_s = self._clock()

    def _closed(self) -> bool:
        return self._stopping.is_set() or self._paused.is_set()

    def _room(self) -> int:
        return self._rules.threads + AHEAD - len(self._held)

    def _poll(self, wait_s: int) -> int:
        """Receive, and hand over what is due; return how many messages came."""
        received = self._source.receive(
            max_messages=max(1, min(BATCH, self._room())),
            wait_s=wait_s,
            visibility_s=self._rules.visibility_s,
        )
        if self._closed():
            self._release(received)
            return 0
        with self._changed:
            now_s = self._clock()
            for message in received:
                self._held[message.receipt_handle] = _Held(message=message, since_s=now_s)
        due: list[Due] = []
        try:
            due = self._handler.sort(received)
        except NotAnOutbox:
            self._release(received)
            raise
        finally:
            kept = {each.message.receipt_handle for each in due}
            self._forget([m for m in received if m.receipt_handle not in kept])
        for each in due:
            self._waiting.put(each)
        return len(received)

    # -- attempts ------------------------------------------------------------------------------

    def _work(self) -> None:
        while (due := self._waiting.get()) is not None:
            try:
                self._handler.attempt(due, cancelled=self._closed)
            except Cancelled:
                self._release([due.message])
            except Exception:
                log.exception("entry %s was not handled", due.message.message_id)
            finally:
                self._forget([due.message])

    # -- leases --------------------------------------------------------------------------------

    def _extend_on(self) -> None:
        while not self._hurry.wait(self._rules.visibility_s / 8):
            try:
                self._extend()
            except QueueError as exc:
                log.warning("could not extend entries of the outbox: %s", exc)
            except Exception:
                log.exception("extending entries of the outbox failed")

    def _extend(self) -> None:
        now_s = self._clock()
        with self._changed:
            old = [
                h for h in self._held.values() if now_s - h.since_s > self._rules.visibility_s / 3
            ]
        for start in range(0, len(old), BATCH):
            batch = old[start : start + BATCH]
            self._source.hide([h.message for h in batch], seconds=self._rules.visibility_s)
            for held in batch:
                held.since_s = now_s

    def _give_back_waiting(self) -> None:
        waiting: list[ReceivedMessage] = []
        try:
            while (due := self._waiting.get_nowait()) is not None:
                waiting.append(due.message)
        except queue.Empty:
            pass
        self._release(waiting)
        self._forget(waiting)

    def _release(self, messages: Sequence[ReceivedMessage]) -> bool:
        """Make messages visible at once; False if SQS will only do so when their time ends."""
        try:
            failures = [
                failure
                for start in range(0, len(messages), BATCH)
                for failure in self._source.hide(messages[start : start + BATCH], seconds=0)
            ]
        except QueueError as exc:
            log.warning("could not release %d entries: %s", len(messages), exc)
            return False
        return all(failure.lost for failure in failures)

    def _messages(self) -> list[ReceivedMessage]:
        with self._changed:
            return [held.message for held in self._held.values()]

    def _forget(self, messages: Sequence[ReceivedMessage]) -> None:
        with self._changed:
            for message in messages:
                self._held.pop(message.receipt_handle, None)
            self._changed.notify_all()

    def _wait_for(self, done: Callable[[], bool], stop: Callable[[], bool]) -> None:
        with self._changed:
            while not done() and not stop():
                self._changed.wait(_LOOK_S)
