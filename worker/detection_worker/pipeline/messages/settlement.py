"""How jobs and messages end: deleted, dead-lettered, tried again or released; and how many did."""

import logging
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from detection_contract import user_messages
from detection_contract.media_types import MediaKind
from detection_tracing.port import within
from detection_worker.core.messages.outcome import (
    RELEASE,
    Failure,
    Outcome,
    RetryRules,
    decide,
)
from detection_worker.metrics import Metrics, exemplar
from detection_worker.pipeline.messages.acks import AckWriter
from detection_worker.pipeline.messages.in_flight import InFlight
from detection_worker.pipeline.messages.jobs import Job, JobEnd, JobOutcome, Message
from detection_worker.pipeline.messages.log import log_outcome
from detection_worker.pipeline.messages.traces import end_lost, settling
from detection_worker.sources.base import MessageSource, QueueError


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """A snapshot.

    Attributes:
        processed: Messages finished and deleted.
        failed: Messages dead-lettered.
        retried: Messages handed back to be tried again.
        runtime_s: Since the start.
    """

    processed: int
    failed: int
    retried: int
    runtime_s: float

    @property
    def rate_per_s(self) -> float:
        """Messages processed each second."""
        return self.processed / self.runtime_s if self.runtime_s > 0 else 0.0

    def __str__(self) -> str:
        return (
            f"Statistics: {self.processed} processed, {self.failed} failed, "
            f"{self.retried} to retry, runtime {self.runtime_s:.1f} s, "
            f"rate {self.rate_per_s:.2f} messages/s"
        )


class MessageCounts:
    """Counts since the start. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._started_s = time.monotonic()
        self._counts = {"processed": 0, "failed": 0, "retried": 0}

    def add(self, what: str) -> int:
        """Count one; return how many messages have ended so far in any way."""
        with self._lock:
            self._counts[what] += 1
            return sum(self._counts.values())

    def snapshot(self) -> Statistics:
        """Return the counts."""
        with self._lock:
            return Statistics(**self._counts, runtime_s=time.monotonic() - self._started_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class SettlementRules:
    """What may become of messages.

    Attributes:
        retry: How often a message is tried.
        dead_letter_url: Where messages go that cannot succeed; None keeps them in the queue.
    """

    retry: RetryRules
    dead_letter_url: str | None


class Settlement:
    """Settles jobs and, with the last job, messages. Thread-safe.

    Args:
        source: For the dead-letter copy.
        in_flight: What is in flight.
        acks: Deletes and releases.
        metrics: Counts outcomes.
        counts: Counts for the statistics line.
        rules: What may become of messages.
        on_message_end: Called after each message, with the number ended so far.
        on_job_end: Called with each job that ends, however it ends.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        *,
        source: MessageSource,
        in_flight: InFlight,
        acks: AckWriter,
        metrics: Metrics,
        counts: MessageCounts,
        rules: SettlementRules,
        on_message_end: Callable[[int], None],
        on_job_end: Callable[[Job], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source = source
        self._in_flight = in_flight
        self._acks = acks
        self._metrics = metrics
        self._counts = counts
        self._rules = rules
        self._on_message_end = on_message_end
        self._on_job_end = on_job_end
        self._clock = clock

    def outcome_of(self, message: Message, *failures: Failure) -> Outcome:
        """Return what these failures make of the message."""
        return decide(
            failures,
            receive_count=message.received.receive_count,
            rules=self._rules.retry,
            random01=random.random(),  # noqa: S311 - jitter
        )

    def settle_job(self, job: Job, outcome: JobOutcome, *, kind: MediaKind | None = None) -> None:
        """End a job, and with its last job the message.

        Args:
            job: Ends only once.
            outcome: How it ends.
            kind: As the content of its media object says; None if that was never read.
        """
        self._in_flight.work_done(job)
        self._on_job_end(job)
        if outcome is not JobEnd.ABANDONED:
            self._count_job(job, outcome, kind or job.kind)
        message = job.message
        last = message.job_ended(job.index, outcome)
        if not last or outcome is JobEnd.ABANDONED or job.cancelled:
            return
        if message.is_complete:
            self.settle_message(message, self.outcome_of(message, *message.failures))
        elif message in self._in_flight:
            # A job was abandoned while the lease seemed lost; it was renewed after all.
            self.settle_message(message, RELEASE)

    def settle_message(self, message: Message, outcome: Outcome) -> None:
        """Delete, dead-letter, retry or release a message; nothing happens if it is not ours."""
        if outcome.action == "release":
            message.cancel.set()
            self._write(message, "released", visibility_s=0)
        elif message not in self._in_flight:
            line = f"message {message.message_id} ended after its lease"
            log_outcome(line, action="lost", about=message, level=logging.WARNING)
            end_lost(message)
        elif outcome.failure is None:
            self._put(message, "deleted", None, lambda ok: self._deleted(message, ok))
        elif outcome.action == "retry":
            self._retry(message, outcome.failure, delay_s=outcome.delay_s)
        else:
            self._dead_letter(message, outcome.failure)

    def _count_job(self, job: Job, outcome: JobOutcome, kind: MediaKind | None) -> None:
        tagged = exemplar(job.request_id, job.trace)
        if isinstance(outcome, Failure):
            self._metrics.failures.labels(outcome.code.value).inc(exemplar=tagged)
        seconds = self._clock() - job.message.received_s
        label = kind.value if kind else "unknown"
        self._metrics.job_seconds.labels(label).observe(seconds, exemplar=tagged)

    def _retry(self, message: Message, failure: Failure, *, delay_s: int) -> None:
        self._warn(message, failure, f"will be tried again in {delay_s} s", action="retry")
        self._write(message, "retried", visibility_s=delay_s, counted="retried")

    def _dead_letter(self, message: Message, failure: Failure) -> None:
        if self._rules.dead_letter_url is None:
            self._keep(message, failure, "the queue has no dead-letter queue")
            return
        try:
            with within(message.trace, "dead_letter", "producer"):
                self._source.dead_letter(
                    message.received,
                    queue_url=self._rules.dead_letter_url,
                    code=failure.code.value,
                    reason=failure.message,
                )
        except QueueError as exc:
            self._keep(message, failure, f"it could not be dead-lettered: {exc}")
            return
        self._warn(message, failure, "dead-lettered", action="dead_letter")
        self._write(message, "dead_lettered", visibility_s=None, counted="failed")

    def _keep(self, message: Message, failure: Failure, why: str) -> None:
        """Leave a message that cannot succeed in the queue, out of the way: never lose it."""
        line = f"stays in the queue ({why})"
        self._warn(message, failure, line, action="keep", level=logging.ERROR)
        delay_s = round(self._rules.retry.max_backoff_s)
        self._write(message, "kept", visibility_s=delay_s, counted="failed")

    def _write(
        self,
        message: Message,
        result: str,
        *,
        visibility_s: int | None,
        counted: str | None = None,
    ) -> None:
        self._put(
            message,
            result,
            visibility_s,
            lambda ok: self._count(message, result, counted, ok=ok),
        )

    def _put(
        self,
        message: Message,
        result: str,
        visibility_s: int | None,
        done: Callable[[bool], None],
    ) -> None:
        if message.trace is not None:
            done = settling(message.trace, result, done)
        self._acks.put(message, visibility_s=visibility_s, done=done)

    def _deleted(self, message: Message, ok: bool) -> None:  # noqa: FBT001 - the callback's only
        if ok and message.jobs:
            log_outcome(user_messages.LOG_DELETED, action="delete", about=message)
            request_id = message.facts["request_id"]
            line = f"Finished message {message.message_id}, request {request_id}"
            log_outcome(line, action="finish", about=message)
        elif ok:
            line = f"{user_messages.LOG_SKIPPED_DELETED}: message {message.message_id}"
            log_outcome(line, action="delete", about=message)
        self._count(message, "deleted", "processed", ok=ok)

    def _count(self, message: Message, result: str, counted: str | None, *, ok: bool) -> None:
        self._metrics.messages.labels(result if ok else "lost").inc()
        if not ok:
            line = f"message {message.message_id} will be delivered again"
            log_outcome(line, action="lost", about=message, level=logging.WARNING)
        elif counted is not None:
            self._on_message_end(self._counts.add(counted))

    def _warn(
        self,
        message: Message,
        failure: Failure,
        what: str,
        *,
        action: str,
        level: int = logging.WARNING,
    ) -> None:
        code = failure.code.value
        if message.trace is not None:
            message.trace.fail(code)
        line = f"message {message.message_id} {what}: {code}: {failure.message}"
        log_outcome(line, action=action, about=message, level=level, code=code)
