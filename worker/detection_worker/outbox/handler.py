"""What is done with entries of the outbox: tried, sent on, dead-lettered, deleted."""

import logging
import random
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Protocol

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
from detection_worker.outbox.moves import Move, Moves, What
from detection_worker.outbox.queue import OutboxQueue
from detection_worker.outbox.recent import Recent, UnderWay
from detection_worker.outbox.recognition import Recognition
from detection_worker.outbox.traces import delivery_span
from detection_worker.sources.base import ReceivedMessage

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
        self._tracing = tracing
        self._callbacks = callbacks
        self._bodies = bodies
        self._metrics = metrics
        self._wall_clock = wall_clock
        self._random01 = random01
        self._moves = Moves(queue, metrics)
        self._recognition = Recognition(queue.url)
        self._delivered = Recent()
        self._under_way = UnderWay()

    @property
    def all_delivered(self) -> bool:
        """No entry that was due has been left undelivered so far."""
        return self._moves.all_delivered

    def sort(self, received: Sequence[ReceivedMessage]) -> list[Due]:
        """Return the entries to try now; the others are dealt with, ten to a call.

        Messages whose handling fails stay as they are, and come back when their visibility ends.

        Raises:
            NotAnOutbox: They are of another kind, and no entry has been seen so far: nothing was
                done with them.
        """
        self._recognition.check(received)
        with ExitStack() as claims:
            found = [(message, self._sorted(message, claims)) for message in received]
            self._moves.carry_out([(m, what) for m, what in found if not isinstance(what, Due)])
        return [what for _, what in found if isinstance(what, Due)]

    def attempt(self, due: Due, *, cancelled: Callable[[], bool]) -> None:
        """Try a callback once, and do with the entry what follows.

        Of several messages that hold it, as after a lost answer of SQS, one is tried. The others
        are deleted once that is safe: SQS may have brought one that is deleted already. One that
        comes only while the entry is sent on is given back.

        Args:
            due: The entry.
            cancelled: Asked before the attempt.

        Raises:
            Cancelled: ``cancelled`` returned True; the entry is as it was.
        """
        webhook_id = due.entry.webhook_id
        if not self._under_way.begin(webhook_id, due.message):
            return  # who has begun decides what becomes of this message too
        try:
            others, safe = self._attempted(due, cancelled)
        finally:
            came = self._under_way.end(webhook_id)
        for _ in others if safe else ():
            self._moves.count("duplicate")
        self._moves.carry_out([(message, safe) for message in others])
        decided = {due.message.message_id, *(message.message_id for message in others)}
        self._moves.give_back([m for m in came if m.message_id not in decided])

    def _attempted(
        self, due: Due, cancelled: Callable[[], bool]
    ) -> tuple[Sequence[ReceivedMessage], bool]:
        """Return the other messages that held the entry, and whether they are needed no more."""
        if due.message.message_id in self._moves.settled:
            # It was received twice, and the entry has gone on: maybe in one of the others.
            self._moves.carry_out([(due.message, True)])
            return [], True
        fate = self._once(due, cancelled)
        # What comes after this may be the very message that the entry goes on in, or a dead letter
        # of it that was moved back.
        others = self._under_way.others(due.entry.webhook_id)
        what = True if fate is None else self._prepared(due, fate)
        return others, self._moves.carry_out([(due.message, what)])

    # -- before an attempt ---------------------------------------------------------------------

    def _sorted(self, message: ReceivedMessage, claims: ExitStack) -> Due | What:
        """Return what to do with a message; True deletes it, False leaves it.

        Nobody else does anything with its entry until ``claims`` are given up.
        """
        if message.message_id in self._moves.settled:
            return True
        try:
            entry = decode(message.body)
        except NewerEntry:
            log.info("entry %s is of a later version: left to others", message.message_id)
            return _as_it_is(message, MAX_HOP_S, "newer")
        except DamagedEntry as exc:
            return self._damaged(message, exc)
        if entry.webhook_id in self._delivered:
            self._moves.count("duplicate")
            return True
        due = Due(message=message, entry=entry)
        hop = hop_s(entry.not_before_s or 0.0, now_s=self._wall_clock())
        if not self._under_way.claim(entry.webhook_id):
            # It is tried or sent on now: what is due is decided when its turn comes.
            return due if hop is None else False
        claims.callback(self._unclaim, entry.webhook_id)
        return self._admitted(due) if hop is None else _as_it_is(message, hop, "hopped")

    def _unclaim(self, webhook_id: str) -> None:
        self._moves.give_back(self._under_way.end(webhook_id))

    def _admitted(self, due: Due) -> Due | What:
        try:
            self._callbacks.check(due.entry.url)
        except HostRefused as exc:
            return self._prepared(due, self._refused(due.entry, exc))
        except JobError:
            pass  # the attempt ends the same way
        return due

    def _damaged(self, message: ReceivedMessage, exc: DamagedEntry) -> What:
        if isinstance(exc, ForeignMessage):
            log.error("message %s is no entry and is left alone: %s", message.message_id, exc)
            self._moves.count("foreign")
            return False
        reason = f"the outbox entry is damaged: {exc}"
        failure = Failure(code=ErrorCode.BAD_JSON, message=reason)
        log.error("message %s: %s", message.message_id, reason)
        kept = _as_it_is(message, MAX_HOP_S, "kept")
        return self._moves.dead_letter(message, message.body, failure, otherwise=kept)

    # -- an attempt ----------------------------------------------------------------------------

    def _once(self, due: Due, cancelled: Callable[[], bool]) -> Fate | None:
        """Try a callback; None if it has been delivered since it was received."""
        entry = due.entry
        if entry.webhook_id in self._delivered:
            self._moves.count("duplicate")
            return None
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

    def _prepared(self, due: Due, fate: Fate) -> What:
        """Return what to do with the message of an entry."""
        entry = due.entry
        if fate.action == "delete":
            self._delivered.add(entry.webhook_id)
            self._moves.count("delivered")
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

    def _ended(self, due: Due, failure: Failure) -> What:
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
        return self._moves.dead_letter(
            due.message, encode(over), failure, otherwise=self._later(due.message, kept, "kept")
        )

    def _later(self, message: ReceivedMessage, entry: Entry, result: str) -> Move:
        hop = hop_s(entry.not_before_s or 0.0, now_s=self._wall_clock())
        return Move(message=message, body=encode(entry), delay_s=hop or 0, result=result)


def _as_it_is(message: ReceivedMessage, delay_s: int, result: str) -> Move:
    return Move(message=message, body=message.body, delay_s=delay_s, result=result)


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
