"""Deleting and releasing messages, ten to a call.

Ends are collected for a moment so that SQS is called a tenth as often. A failed entry is tried
again for as long as the lease lasts; after that the message comes back by itself and is deleted
on sight.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

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
"""Wait for neighbours when nothing else is in hand."""
BUSY_LINGER_S = 0.5
"""Wait for neighbours while more messages are worked on: nobody waits for the delete, and a crash
in between costs one more delivery of a finished message."""
RETRY_S = 0.5
BATCH = 10
"""Most entries of one SQS batch call."""
RELEASE_TRIES = 3
RELEASE_PAUSE_S = 0.2

log = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class _End:
    message: Message
    visibility_s: int | None
    since_s: float
    done: Callable[[bool], None]


class AckWriter:
    """A thread that writes the ends of messages to SQS.

    Args:
        source: The queue.
        in_flight: Knows the newest receipt handles; told when a message is gone.
        metrics: Counts the calls.
    """

    def __init__(self, source: MessageSource, in_flight: InFlight, metrics: Metrics) -> None:
        self._source = source
        self._in_flight = in_flight
        self._metrics = metrics
        self._ends: deque[_End] = deque()
        self._wake = threading.Condition()
        self._busy = 0
        self._hurry = False
        self._stop = False
        self._thread = threading.Thread(target=self._run, name="acks", daemon=True)
        self._thread.start()

    def delete(self, message: Message, *, done: Callable[[bool], None]) -> None:
        """Delete the message soon; ``done`` hears whether it was surely deleted."""
        self._put(message, None, done)

    def release(self, message: Message, *, seconds: int, done: Callable[[bool], None]) -> None:
        """Make the message visible again ``seconds`` after the call."""
        self._put(message, seconds, done)

    def flush(self, *, timeout_s: float) -> bool:
        """Write everything now; False if something was still open after ``timeout_s``."""
        deadline = time.monotonic() + timeout_s
        with self._wake:
            self._hurry = True
            self._wake.notify_all()
            while self._ends or self._busy:
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
        """Ends not yet written."""
        return len(self._ends) + self._busy

    @property
    def alive(self) -> bool:
        """The thread runs."""
        return self._thread.is_alive()

    def _put(self, message: Message, seconds: int | None, done: Callable[[bool], None]) -> None:
        self._in_flight.close(message)
        end = _End(message=message, visibility_s=seconds, since_s=time.monotonic(), done=done)
        with self._wake:
            self._ends.append(end)
            self._wake.notify_all()

    def _run(self) -> None:
        while True:
            with self._wake:
                while not self._stop and (pause := self._pause_s()) is not None:
                    self._wake.wait(pause)
                if self._stop:
                    return
                batch = self._take()
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

    def _pause_s(self) -> float | None:
        """Seconds to wait before a batch is worth a call; None means now."""
        if not self._ends:
            return 60.0
        linger_s = BUSY_LINGER_S if self._in_flight.unfinished else LINGER_S
        left = self._ends[0].since_s + linger_s - time.monotonic()
        if self._hurry and self._ends[0].since_s <= time.monotonic():
            return None
        if len(self._same_kind()) >= BATCH and self._ends[0].since_s <= time.monotonic():
            return None
        # The last message in hand may end meanwhile, so look again soon.
        return min(left, LINGER_S) if left > 0 else None

    def _same_kind(self) -> list[_End]:
        deleting = self._ends[0].visibility_s is None
        return [e for e in self._ends if (e.visibility_s is None) is deleting][:BATCH]

    def _take(self) -> list[_End]:
        batch = self._same_kind()
        chosen = {id(e) for e in batch}
        self._ends = deque(e for e in self._ends if id(e) not in chosen)
        return batch

    def _write(self, batch: Sequence[_End]) -> None:
        held: list[tuple[_End, str]] = []
        for end in batch:
            handle = self._in_flight.handle(end.message.message_id)
            if handle is None:
                end.done(False)  # noqa: FBT003 - the callback's only argument
            else:
                held.append((end, handle))
        if not held:
            return
        try:
            failures = self._call(held)
        except QueueError as exc:
            log.warning("could not acknowledge %d message(s): %s", len(held), exc)
            self._again([end for end, _ in held])
            return
        self._settle(held, {f.message_id: f for f in failures})

    def _call(self, held: Sequence[tuple[_End, str]]) -> list[EntryFailure]:
        deleting = held[0][0].visibility_s is None
        operation = "DeleteMessageBatch" if deleting else "ChangeMessageVisibilityBatch"
        try:
            if deleting:
                failures = self._source.delete([(e.message.message_id, h) for e, h in held])
            else:
                failures = self._source.change_visibility(
                    [
                        VisibilityChange(
                            message_id=e.message.message_id,
                            receipt_handle=h,
                            seconds=e.visibility_s or 0,
                        )
                        for e, h in held
                    ]
                )
        except QueueError:
            self._metrics.sqs_requests.labels(operation, "error").inc()
            raise
        self._metrics.sqs_requests.labels(operation, "ok").inc()
        return failures

    def _settle(self, held: Sequence[tuple[_End, str]], failures: dict[str, EntryFailure]) -> None:
        for end, handle in held:
            failure = failures.get(end.message.message_id)
            if failure is not None and not failure.lost:
                self._again([end])
            elif not self._in_flight.drop_if(end.message, handle):
                self._again([end], pause_s=0.0)
            else:
                end.done(failure is None)

    def _again(self, ends: Sequence[_End], *, pause_s: float = RETRY_S) -> None:
        now_s = time.monotonic()
        with self._wake:
            for end in ends:
                if self._in_flight.handle(end.message.message_id) is None:
                    end.done(False)  # noqa: FBT003 - the callback's only argument
                    continue
                end.since_s = now_s + pause_s
                self._ends.append(end)


def give_back(source: MessageSource, received: Sequence[ReceivedMessage]) -> bool:
    """Make messages visible at once, so that none waits for its visibility timeout.

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
            log.warning("could not release %d message(s): %s", len(changes), exc)
            time.sleep(RELEASE_PAUSE_S * 2**attempt)
            continue
        changes = [c for c in changes if c.message_id in failed]
    return not changes
