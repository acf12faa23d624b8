"""What is done with entries of the outbox: tried, sent on, dead-lettered, deleted.

An entry is sent on before it is deleted, so a crash in between gives a second entry with the same
webhook-id, never none.
"""

import logging
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

from detection_contract.error_codes import ErrorCode
from detection_tracing.port import Tracing
from detection_worker.core.messages.outcome import Failure
from detection_worker.core.outbox.fate import START, Fate, after_attempt, after_refusal
from detection_worker.core.outbox.schedule import LONGEST_S, MAX_HOP_S, hop_s
from detection_worker.errors import Cancelled, JobError
from detection_worker.metrics import OutboxMetrics
from detection_worker.outbox.entry import (
    DamagedEntry,
    Entry,
    ForeignMessage,
    NewerEntry,
    StoredBody,
    decode,
    encode,
)
from detection_worker.outbox.gate import GatedCallbacks, HostRefused
from detection_worker.outbox.queue import OutboxQueue, Outgoing
from detection_worker.outbox.recent import Recent, UnderWay
from detection_worker.outbox.recognition import Recognition
from detection_worker.outbox.traces import delivery_span
from detection_worker.sources.base import QueueError, ReceivedMessage

_UNDELIVERED: Final = frozenset({"retried", "deferred", "dead_lettered", "kept"})
log = logging.getLogger(__name__)


class Bodies(Protocol):
    """Reads envelopes from the store of results; thread-safe."""

    def read(self, stored: StoredBody) -> bytes:
        """Return the bytes that ``stored`` names; raises ``JobError``."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Due:
    """An entry that is to be tried now.

    Attributes:
        message: The delivery that brought it.
        entry: What it holds.
    """

    message: ReceivedMessage
    entry: Entry


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Move:
    """A message that goes back to the queue in another form.

    Attributes:
        message: What is deleted once the other was sent.
        body: The text to send.
        delay_s: Seconds until it is visible.
        result: For the metric.
    """

    message: ReceivedMessage
    body: str
    delay_s: int
    result: str


class EntryHandler:
    """Does with entries what ``core.outbox`` decides. Thread-safe.

    Args:
        queue: The outbox.
        callbacks: Makes the attempts.
        bodies: Reads envelopes that are not in their entries.
        metrics: Counts what became of entries.
        wall_clock: Returns Unix seconds.
        random01: Returns a uniform random number in [0, 1).
        tracing: Attempts go on with the trace of their entry; None makes no spans.

    Attributes:
        all_delivered: No entry that was due has been left undelivered so far.
    """

    def __init__(
        self,
        queue: OutboxQueue,
        callbacks: GatedCallbacks,
        bodies: Bodies,
        metrics: OutboxMetrics,
        *,
        wall_clock: Callable[[], float] = time.time,
        random01: Callable[[], float] = random.random,
        tracing: Tracing | None = None,
    ) -> None:
        self._queue, self._tracing = queue, tracing
        self._callbacks = callbacks
        self._bodies = bodies
        self._metrics = metrics
        self._wall_clock = wall_clock
        self._random01 = random01
        self._settled = Recent()
        self._recognition = Recognition(queue.url)
        self.all_delivered = True
        self._delivered = Recent()
        self._under_way = UnderWay()

    def sort(self, received: Sequence[ReceivedMessage]) -> list[Due]:
        """Return the entries to try now; the others are dealt with, ten to a call.

        Messages whose handling fails stay as they are, and come back when their visibility ends.

        Raises:
            NotAnOutbox: They are of another kind, and no entry has been seen so far: nothing was
                done with them.
        """
        self._recognition.check(received)
        found = [(message, self._sorted(message)) for message in received]
        self._carry_out([(message, what) for message, what in found if not isinstance(what, Due)])
        return [what for _, what in found if isinstance(what, Due)]

    def attempt(self, due: Due, *, cancelled: Callable[[], bool]) -> None:
        """Try a callback once, and do with the entry what follows.

        Of several messages that hold it, as after a lost answer of SQS, one is tried. The others
        are deleted once that is safe: SQS may have brought one that is deleted already. One that
        comes only while the entry is sent on stays, and comes back when its visibility ends.

        Args:
            due: The entry.
            cancelled: Asked before the attempt.

        Raises:
            Cancelled: ``cancelled`` returned True; the entry is as it was.
        """
        webhook_id = due.entry.webhook_id
        if not self._under_way.begin(webhook_id, due.message):
            return  # the thread that tries it decides what becomes of this message too
        others: Sequence[ReceivedMessage] = ()
        safe = False
        try:
            what = self._once(due, cancelled)
            # What comes after this may be the very message that the entry goes on in.
            others = self._under_way.others(webhook_id)
            safe = self._carry_out([(due.message, what)])
        finally:
            self._under_way.end(webhook_id)
        for _ in others if safe else ():
            self._count("duplicate")
        self._carry_out([(message, safe) for message in others])

    # -- before an attempt ---------------------------------------------------------------------

    def _sorted(self, message: ReceivedMessage) -> "Due | _Move | bool":
        """Return what to do with a message; True deletes it, False leaves it."""
        if message.message_id in self._settled:
            return True
        try:
            entry = decode(message.body)
        except NewerEntry:
            log.info("entry %s is of a later version: left to others", message.message_id)
            return _as_it_is(message, MAX_HOP_S, "newer")
        except DamagedEntry as exc:
            return self._damaged(message, exc)
        if entry.webhook_id in self._delivered:
            self._count("duplicate")
            return True
        hop = hop_s(entry.not_before_s or 0.0, now_s=self._wall_clock())
        if hop is not None:
            return _as_it_is(message, hop, "hopped")
        return self._admitted(Due(message=message, entry=entry))

    def _admitted(self, due: Due) -> "Due | _Move | bool":
        try:
            self._callbacks.check(due.entry.url)
        except HostRefused as exc:
            return self._prepared(due, self._refused(due.entry, exc))
        except JobError:
            pass  # the attempt ends the same way
        return due

    def _damaged(self, message: ReceivedMessage, exc: DamagedEntry) -> "_Move | bool":
        if isinstance(exc, ForeignMessage):
            log.error("message %s is no entry and is left alone: %s", message.message_id, exc)
            self._count("foreign")
            return False
        reason = f"the outbox entry is damaged: {exc}"
        failure = Failure(code=ErrorCode.BAD_JSON, message=reason)
        log.error("message %s: %s", message.message_id, reason)
        kept = _as_it_is(message, MAX_HOP_S, "kept")
        return self._dead_lettered(message, message.body, failure, otherwise=kept)

    # -- an attempt ----------------------------------------------------------------------------

    def _once(self, due: Due, cancelled: Callable[[], bool]) -> "_Move | bool":
        """Try a callback, unless it has been delivered since it was received."""
        if due.entry.webhook_id in self._delivered:
            self._count("duplicate")
            return True
        return self._prepared(due, self._tried(due.entry, cancelled))

    def _tried(self, entry: Entry, cancelled: Callable[[], bool]) -> Fate:
        try:
            failure = self._post(entry, cancelled)
        except HostRefused as exc:
            return self._refused(entry, exc)
        now_s, random01 = self._wall_clock(), self._random01()
        return after_attempt(entry.course, failure, now_s=now_s, random01=random01)

    def _post(self, entry: Entry, cancelled: Callable[[], bool]) -> Failure | None:
        """Return why an attempt failed; None if the receiver has the result."""
        try:
            content = entry.content
            with delivery_span(self._tracing, entry) as span:
                self._callbacks.post(
                    entry.url,
                    content if isinstance(content, bytes) else self._bodies.read(content),
                    webhook_id=entry.webhook_id,
                    request_id=entry.request_id,
                    on_progress=lambda: None,
                    cancelled=cancelled,
                    trace=span,
                )
        except (Cancelled, HostRefused):
            raise
        except JobError as exc:
            self._metrics.callbacks.labels(exc.code.value).inc()
            return Failure.of(exc)
        except Exception:
            log.exception("the callback of %s failed", entry.request_id)
            return Failure(code=ErrorCode.INTERNAL, message="internal error")
        self._metrics.callbacks.labels("delivered").inc()
        return None

    def _refused(self, entry: Entry, exc: HostRefused) -> Fate:
        wait_s, now_s = exc.retry_after_s or 0.0, self._wall_clock()
        return after_refusal(entry.course, entry.last, wait_s=wait_s, now_s=now_s)

    # -- what follows --------------------------------------------------------------------------

    def _prepared(self, due: Due, fate: Fate) -> "_Move | bool":
        """Return what to do with the message of an entry."""
        entry = due.entry
        if fate.action == "delete":
            self._delivered.add(entry.webhook_id)
            self._count("delivered")
            _log(f"delivered the result of {entry.request_id}", "deliver", entry)
            return True
        last = fate.failure or entry.last
        if fate.action == "dead_letter":
            return self._ended(due, last)
        later = replace(entry, course=fate.course, not_before_s=fate.not_before_s, last=last)
        if fate.failure is not None:
            wait_s = fate.not_before_s - self._wall_clock()
            text = f"callback of {entry.request_id} failed and is tried again in {wait_s:.0f} s"
            _log(f"{text}: {last.code}: {last.message}", "retry", later, code=last.code)
        return self._later(due.message, later, "deferred" if fate.failure is None else "retried")

    def _ended(self, due: Due, failure: Failure) -> "_Move | bool":
        over = replace(due.entry, course=START, not_before_s=None, last=failure)
        text = f"callback of {due.entry.request_id} ends undelivered"
        _log(
            f"{text}: {failure.code}: {failure.message}",
            "dead_letter",
            due.entry,
            code=failure.code,
            level=logging.WARNING,
        )
        # Without a dead-letter queue it stays, with one more attempt a day.
        later_s = self._wall_clock() + LONGEST_S
        kept = replace(over, course=due.entry.course, not_before_s=later_s)
        return self._dead_lettered(
            due.message, encode(over), failure, otherwise=self._later(due.message, kept, "kept")
        )

    def _dead_lettered(
        self, message: ReceivedMessage, body: str, failure: Failure, *, otherwise: "_Move"
    ) -> "_Move | bool":
        try:
            url = self._queue.dead_letter_url()
            if url is None:
                log.error("entry %s stays: the outbox has no redrive policy", message.message_id)
                return otherwise
            self._queue.dead_letter(
                message,
                body=body,
                queue_url=url,
                code=failure.code.value,
                reason=failure.message,
            )
        except QueueError as exc:
            log.error("entry %s could not be dead-lettered: %s", message.message_id, exc)  # noqa: TRY400 - no bug
            self.all_delivered = False
            # Where that queue is gone or denied, another attempt a minute helps nobody.
            return otherwise if exc.fatal else False
        self._settled.add(message.message_id)
        self._count("dead_lettered")
        return True

    def _later(self, message: ReceivedMessage, entry: Entry, result: str) -> "_Move":
        hop = hop_s(entry.not_before_s or 0.0, now_s=self._wall_clock())
        return _Move(message=message, body=encode(entry), delay_s=hop or 0, result=result)

    def _carry_out(self, found: Sequence[tuple[ReceivedMessage, "_Move | bool"]]) -> bool:
        """Send on and delete; return whether no message is needed any more."""
        moves = [what for _, what in found if isinstance(what, _Move)]
        sent = self._queue.send([Outgoing(body=m.body, delay_s=m.delay_s) for m in moves])
        done = [message for message, what in found if what is True]
        for move, failure in zip(moves, sent, strict=True):
            if failure is None:
                self._settled.add(move.message.message_id)
                self._count(move.result)
                done.append(move.message)
            else:
                log.warning("entry %s was not sent on: %s", move.message.message_id, failure)
                self._note(move.result)
        for message, error in zip(done, self._queue.delete(done), strict=True):
            self._settled.add(message.message_id)
            if error is not None:
                log.warning("entry %s was not deleted: %s", message.message_id, error)
        return len(done) == len(found)

    def _count(self, result: str) -> None:
        self._metrics.entries.labels(result).inc()
        self._note(result)

    def _note(self, result: str) -> None:
        if result in _UNDELIVERED:
            self.all_delivered = False


def _as_it_is(message: ReceivedMessage, delay_s: int, result: str) -> _Move:
    return _Move(message=message, body=message.body, delay_s=delay_s, result=result)


def _log(
    line: str,
    action: str,
    entry: Entry,
    *,
    code: ErrorCode | None = None,
    level: int = logging.INFO,
) -> None:
    more = {} if code is None else {"code": code.value}
    log.log(level, "%s", line, extra={"action": action, **entry.facts, **more})
