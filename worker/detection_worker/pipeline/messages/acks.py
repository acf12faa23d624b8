"""Deleting and releasing messages, ten to a call.

Writes are collected for a moment so that SQS is called a tenth as often. A failed entry is tried
again for as long as the lease lasts; after that the message comes back by itself and is deleted
on sight.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from detection_worker.core.messages.states import Event, State
from detection_worker.metrics import Metrics
from detection_worker.pipeline.messages.in_flight import InFlight
from detection_worker.pipeline.messages.jobs import Message
from detection_worker.sources.base import (
    EntryFailure,
    MessageSource,
    QueueError,
    ReceivedMessage,
    VisibilityChange,
)

LINGER_S = 0.1
"""Batching delay when nothing else is in flight."""
BUSY_LINGER_S = 2.0
"""Longest batching delay while work is in flight: one video after another, each of a fifth of a
second, fills a batch in it. Deletes are not latency-sensitive; a crash in this window costs one
duplicate delivery of each finished message of the batch, at most nine."""
SHORT_BUSY_LINGER_S = 0.5
"""The same where a delete is waited for: in a FIFO queue by the next message of its group."""
LINGER_SHARE = 1 / 12
"""Most of a visibility timeout that a delete may linger; a third of it is left at least."""
RETRY_S = 0.5
BATCH = 10
"""Most entries of one SQS batch call."""
RELEASE_TRIES = 3
RELEASE_PAUSE_S = 0.2

log = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True, eq=False)
class _Write:
    """One entry to write.

    Attributes:
        message: A closed message.
        visibility_s: Seconds after which it is visible again; None deletes it.
        since_s: When it was put here; in the future for one that is to be tried again then.
        done: Called with whether SQS surely accepted it.
    """

    message: Message
    visibility_s: int | None
    since_s: float
    done: Callable[[bool], None]


class AckWriter:
    """Writes the outcomes of messages to SQS, from a thread of its own.

    Args:
        source: The queue.
        in_flight: Closes messages, and has their newest receipt handles.
        metrics: Counts the calls.
        busy_linger_s: Batching delay while work is in flight; see ``busy_linger_s``.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        source: MessageSource,
        in_flight: InFlight,
        metrics: Metrics,
        *,
        busy_linger_s: float = SHORT_BUSY_LINGER_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source = source
        self._in_flight = in_flight
        self._metrics = metrics
        self._busy_linger_s = busy_linger_s
        self._clock = clock
        self._writes: deque[_Write] = deque()
        self._wake = threading.Condition()
        self._busy = 0
        self._hurry = False
        self._stop = False
        self._thread = threading.Thread(target=self._run, name="acks", daemon=True)

    def __repr__(self) -> str:
        return f"<AckWriter waiting={len(self._writes)} busy={self._busy}>"

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def put(
        self, message: Message, *, visibility_s: int | None, done: Callable[[bool], None]
    ) -> bool:
        """Close a message and write its outcome soon; False if it is not ours to close.

        Args:
            message: Open and in flight; otherwise nothing is written and ``done`` is not called.
            visibility_s: Seconds after which it is visible again; None deletes it.
            done: Called with whether SQS surely accepted it.
        """
        may_linger = self._in_flight.holds(message, margin_s=2 * self._busy_linger_s)
        if self._in_flight.move(message, Event.SETTLED) is None:
            return False
        since_s = self._clock() - (0.0 if may_linger else self._busy_linger_s)
        write = _Write(message=message, visibility_s=visibility_s, since_s=since_s, done=done)
        with self._wake:
            if may_linger:
                self._writes.append(write)
            else:
                self._writes.appendleft(write)
            # In between nothing but time makes the batch worth a call.
            if not may_linger or self._hurry or not 1 < len(self._writes) < BATCH:
                self._wake.notify_all()
        return True

    def flush(self, *, timeout_s: float) -> bool:
        """Write everything now; False if something was still open after ``timeout_s``."""
        deadline = time.monotonic() + timeout_s
        with self._wake:
            self._hurry = True
            self._wake.notify_all()
            while self._writes or self._busy:
                left = deadline - time.monotonic()
                if left <= 0 or not self._thread.is_alive():
                    return False
                self._wake.wait(min(left, 0.5))
            self._hurry = False
            return True

    def close(self) -> None:
        """Stop the thread; what is still open comes back when its visibility ends."""
        with self._wake:
            self._stop = True
            self._wake.notify_all()
        self._thread.join()

    @property
    def waiting(self) -> int:
        """Entries that are not written yet."""
        return len(self._writes) + self._busy

    @property
    def alive(self) -> bool:
        """The thread runs."""
        return self._thread.is_alive()

    def write_batch(self) -> int:
        """Write the next batch in the caller's thread; return how many entries it had."""
        with self._wake:
            batch = self._take() if self._writes else []
            self._busy = len(batch)
        try:
            self._write(batch)
        except Exception:
            # A bug here must not end the only thread that acknowledges.
            log.exception("acknowledging failed")
            self._again(batch)
        finally:
            with self._wake:
                self._busy = 0
                self._wake.notify_all()
        return len(batch)

    def _run(self) -> None:
        while True:
            with self._wake:
                while not self._stop and (pause := self._pause_s()) is not None:
                    self._wake.wait(pause)
                if self._stop:
                    return
            self.write_batch()

    def _pause_s(self) -> float | None:
        """Seconds to wait before a batch is worth a call; None means now."""
        if not self._writes:
            return 60.0
        first_s = self._writes[0].since_s
        if first_s <= self._clock() and (self._hurry or len(self._same_kind()) >= BATCH):
            return None
        linger_s = self._busy_linger_s if self._in_flight.load().open else LINGER_S
        left = first_s + linger_s - self._clock()
        # The last message in flight may end meanwhile, so look again soon.
        return min(left, LINGER_S) if left > 0 else None

    def _same_kind(self) -> list[_Write]:
        deleting = self._writes[0].visibility_s is None
        return [w for w in self._writes if (w.visibility_s is None) is deleting][:BATCH]

    def _take(self) -> list[_Write]:
        batch = self._same_kind()
        self._writes = deque(w for w in self._writes if w not in batch)
        return batch

    def _write(self, batch: Sequence[_Write]) -> None:
        held: list[tuple[_Write, str]] = []
        for write in batch:
            handle = self._in_flight.handle_to_write(write.message)
            if handle is None:
                write.done(False)  # noqa: FBT003 - the callback's only argument
            else:
                held.append((write, handle))
        if not held:
            return
        try:
            failures = self._call(held)
        except QueueError as exc:
            log.warning(
                "could not acknowledge %d message(s): %s",
                len(held),
                exc,
                extra={"message_ids": [w.message.message_id for w, _ in held]},
            )
            self._again([write for write, _ in held])
            return
        self._note([write for write, _ in held], {f.message_id: f for f in failures})

    def _call(self, held: Sequence[tuple[_Write, str]]) -> list[EntryFailure]:
        deleting = held[0][0].visibility_s is None
        operation = "DeleteMessageBatch" if deleting else "ChangeMessageVisibilityBatch"
        try:
            if deleting:
                failures = self._source.delete([(w.message.message_id, h) for w, h in held])
            else:
                failures = self._source.change_visibility([_change(w, h) for w, h in held])
        except QueueError:
            self._metrics.sqs_requests.labels(operation, "error").inc()
            raise
        self._metrics.sqs_requests.labels(operation, "ok").inc()
        return failures

    def _note(self, writes: Sequence[_Write], failures: dict[str, EntryFailure]) -> None:
        for write in writes:
            failure = failures.get(write.message.message_id)
            if failure is not None and not failure.lost:
                self._again([write])
            elif self._in_flight.move(write.message, Event.ACKNOWLEDGED) is State.ADOPTED:
                self._again([write], pause_s=0.0)
            else:
                write.done(failure is None)

    def _again(self, writes: Sequence[_Write], *, pause_s: float = RETRY_S) -> None:
        """Put entries back; those of messages that are lost by then are done without SQS."""
        now_s = self._clock()
        with self._wake:
            for write in writes:
                write.since_s = now_s + pause_s
                self._writes.append(write)


def busy_linger_s(visibility_s: float, *, fifo: bool) -> float:
    """Return how long a delete may wait for others while work is in flight.

    Args:
        visibility_s: Visibility timeout of the messages.
        fifo: The queue is FIFO.
    """
    if fifo:
        return SHORT_BUSY_LINGER_S
    return max(SHORT_BUSY_LINGER_S, min(BUSY_LINGER_S, visibility_s * LINGER_SHARE))


def _change(write: _Write, handle: str) -> VisibilityChange:
    return VisibilityChange(
        message_id=write.message.message_id,
        receipt_handle=handle,
        seconds=write.visibility_s or 0,
    )


def give_back(source: MessageSource, received: Sequence[ReceivedMessage]) -> bool:
    """Make messages visible at once that were never admitted.

    Returns:
        False if some could not be released; SQS shows them again by itself.
    """
    changes = [
        VisibilityChange(message_id=r.message_id, receipt_handle=r.receipt_handle, seconds=0)
        for r in received
    ]
    for attempt in range(RELEASE_TRIES):
        if not changes:
            break
        try:
            failed = {f.message_id for f in source.change_visibility(changes) if not f.lost}
        except QueueError as exc:
            log.warning(
                "could not release %d message(s): %s",
                len(changes),
                exc,
                extra={"message_ids": [c.message_id for c in changes]},
            )
            time.sleep(RELEASE_PAUSE_S * 2**attempt)
            continue
        changes = [c for c in changes if c.message_id in failed]
    return not changes
