"""How jobs and messages end: deleted, dead-lettered, handed back or dropped."""

import logging
import random
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass

from detection_contract import user_messages
from detection_contract.error_codes import ErrorCode
from detection_worker.core.messages.outcome import Failure, Outcome, RetryRules, decide
from detection_worker.metrics import Metrics, exemplar
from detection_worker.pipeline.files.downloads import DiskBudget
from detection_worker.pipeline.messages.acks import AckWriter
from detection_worker.pipeline.messages.counts import MessageCounts
from detection_worker.pipeline.messages.in_flight import InFlight
from detection_worker.pipeline.messages.jobs import Job, Message
from detection_worker.sources.base import MessageSource, QueueError

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class SettlementRules:
    """What may become of messages and files.

    Attributes:
        retry: How often a message is tried.
        dead_letter_url: Where hopeless messages go; None keeps them in the queue.
        keep_files: Leave downloads on the disk.
    """

    retry: RetryRules
    dead_letter_url: str | None
    keep_files: bool


class Settlement:
    """Ends jobs and, with the last job, messages. Thread-safe.

    Args:
        source: For the dead-letter copy.
        in_flight: What is held.
        acks: Deletes and releases.
        metrics: Counts outcomes.
        counts: Counts for the statistics line.
        rules: What may become of messages and files.
        on_message_end: Told after each message, with the number ended so far.
        disk: Budget of the downloads.
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
        disk: DiskBudget,
    ) -> None:
        self._source = source
        self._in_flight = in_flight
        self._acks = acks
        self._metrics = metrics
        self._counts = counts
        self._rules = rules
        self._on_message_end = on_message_end
        self._disk = disk

    def preview(self, message: Message, failure: Failure) -> Outcome:
        """Return what this failure alone would make of the message."""
        return decide(
            [failure],
            receive_count=message.received.receive_count,
            rules=self._rules.retry,
            random01=random.random(),  # noqa: S311 - jitter
        )

    def job_ended(self, job: Job) -> None:
        """End a job, and with its last job the message; ``job.failure`` says how."""
        self.clean(job)
        self._in_flight.work_done(job)
        if job.failure is not None:
            self._metrics.failures.labels(job.failure.code.value).inc(
                exemplar=dict(exemplar(job.request_id))
            )
        kind = job.kind.value if job.kind else "unknown"
        self._metrics.job_seconds.labels(kind).observe(
            time.monotonic() - job.message.received_s, exemplar=dict(exemplar(job.request_id))
        )
        if job.message.job_ended() and not job.cancelled:
            self.message_ended(job.message)

    def job_dropped(self, job: Job) -> None:
        """Forget a job whose message is no longer ours."""
        self.clean(job)
        self._in_flight.work_done(job)
        job.message.job_ended()

    def clean(self, job: Job) -> None:
        """Remove the job's downloaded file."""
        folder, job.folder = job.folder, None
        self._disk.free(job.disk_bytes)
        job.disk_bytes = 0
        if folder is not None and not self._rules.keep_files:
            shutil.rmtree(folder, ignore_errors=True)

    def message_ended(self, message: Message) -> None:
        """Delete, dead-letter or hand back a message whose jobs have all ended."""
        outcome = decide(
            message.failures,
            receive_count=message.received.receive_count,
            rules=self._rules.retry,
            random01=random.random(),  # noqa: S311 - jitter
        )
        if not self._in_flight.holds(message):
            log.warning(
                "message %s ended after its lease", message.message_id, extra=message.facts
            )
            return
        if outcome.action == "delete":
            self._acks.delete(message, done=lambda ok: self._deleted(message, ok=ok))
        elif outcome.action == "dead_letter":
            self._dead_letter(message, outcome)
        else:
            self.hand_back(message, outcome)

    def hand_back(self, message: Message, outcome: Outcome) -> None:
        """Make the message visible again after the outcome's pause."""
        failure = outcome.failure
        log.warning(
            "message %s will be tried again in %d s: %s: %s",
            message.message_id,
            outcome.delay_s,
            failure.code.value if failure else "released",
            failure.message if failure else "",
            extra={**message.facts, "code": failure.code.value if failure else None},
        )
        self._acks.release(
            message,
            seconds=outcome.delay_s,
            done=lambda ok: self._count(message, "retried", "retried", ok=ok),
        )

    def release_now(self, message: Message) -> None:
        """Hand a message back untouched: visible to other workers at once."""
        message.cancel.set()
        self._acks.release(
            message, seconds=0, done=lambda ok: self._count(message, "released", None, ok=ok)
        )

    def _dead_letter(self, message: Message, outcome: Outcome) -> None:
        failure = outcome.failure or Failure(code=ErrorCode.INTERNAL, message="unknown")
        if self._rules.dead_letter_url is None:
            self._keep(message, failure, "the queue has no dead-letter queue")
            return
        try:
            self._source.dead_letter(
                message.received,
                queue_url=self._rules.dead_letter_url,
                code=failure.code.value,
                reason=failure.message,
            )
        except QueueError as exc:
            self._keep(message, failure, f"it could not be dead-lettered: {exc}")
            return
        log.warning(
            "message %s dead-lettered: %s: %s",
            message.message_id,
            failure.code.value,
            failure.message,
            extra={**message.facts, "code": failure.code.value},
        )
        self._acks.delete(
            message, done=lambda ok: self._count(message, "dead_lettered", "failed", ok=ok)
        )

    def _keep(self, message: Message, failure: Failure, why: str) -> None:
        """Leave a hopeless message in the queue, out of the way: it must not be lost."""
        log.error(
            "message %s stays in the queue (%s): %s: %s",
            message.message_id,
            why,
            failure.code.value,
            failure.message,
            extra={**message.facts, "code": failure.code.value},
        )
        self._acks.release(
            message,
            seconds=round(self._rules.retry.max_backoff_s),
            done=lambda ok: self._count(message, "kept", "failed", ok=ok),
        )

    def _deleted(self, message: Message, *, ok: bool) -> None:
        if ok:
            facts = message.facts
            if message.jobs:
                log.info(user_messages.LOG_DELETED, extra=facts)
                line = "Finished message %s, request %s"
                log.info(line, message.message_id, facts["request_id"], extra=facts)
            else:
                line = f"{user_messages.LOG_SKIPPED_DELETED}: message %s"
                log.info(line, message.message_id, extra=facts)
        self._count(message, "deleted", "processed", ok=ok)

    def _count(self, message: Message, outcome: str, counts: str | None, *, ok: bool) -> None:
        self._metrics.messages.labels(outcome if ok else "lost").inc()
        if not ok:
            log.warning(
                "message %s will be delivered again", message.message_id, extra=message.facts
            )
        elif counts is not None:
            self._on_message_end(self._counts.add(counts))
