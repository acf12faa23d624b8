"""The notifications of finished jobs, of several at once."""

import threading
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

from detection_contract.aws.arns import Service, parse_destination_arn
from detection_contract.notifications import MAX_BYTES
from detection_worker.errors import Cancelled, JobError
from detection_worker.metrics import trace_exemplar
from detection_worker.pipeline.messages.passage import Passage
from detection_worker.pipeline.messages.traces import notify_span
from detection_worker.pipeline.stages.breaker import Trial
from detection_worker.pipeline.stages.context import StageContext
from detection_worker.results.base import MAX_ENTRIES, Notification, Notifier
from detection_worker.results.group_commit import GroupCommit
from detection_worker.results.notifications import notification_of, traced

LINGER_S: Final = 0.2
"""How long results are collected under load, once for all destinations: fifty a second fill the
calls. A call costs about as much CPU as two small results do otherwise."""
SLOW_S: Final = 1.0
"""A destination whose answer takes longer is told after the others."""
_LABELS: Final = {Service.SNS: "sns", Service.SQS: "sqs", Service.EVENTBRIDGE: "eventbridge"}
"""Labels of the services in the metrics."""


@dataclass(slots=True, kw_only=True, eq=False)
class _Told:
    """A job on its way through its destinations.

    Attributes:
        passage: The job, and how far it has come.
        notification: What all of them are told.
        wanted: ARNs of those that have not been told yet.
        errors: Why some of them could not be.
        cancelled: The message is no longer ours.
    """

    passage: Passage
    notification: Notification
    wanted: frozenset[str]
    errors: list[JobError] = field(default_factory=list)
    cancelled: Cancelled | None = None

    def is_ours(self) -> bool:
        """Show a sign of life; False if the message is no longer ours."""
        if self.cancelled is None:
            try:
                self.passage.check()
            except Cancelled as exc:
                self.cancelled = exc
        return self.cancelled is None


class _Troubled:
    """Destinations that did not take the last batch or do not answer now. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[str, list[float]] = {}
        self._failed: set[str] = set()

    def begin(self, arn: str, now_s: float) -> None:
        """Note a call."""
        with self._lock:
            self._open.setdefault(arn, []).append(now_s)

    def end(self, arn: str, since_s: float, *, failed: bool) -> None:
        """Note the end of the call that began at ``since_s``."""
        with self._lock:
            self._open[arn].remove(since_s)
            (self._failed.add if failed else self._failed.discard)(arn)

    def last(self, arns: Iterable[str], now_s: float) -> list[str]:
        """Return destinations in their order, but these last: nobody else waits for them."""
        with self._lock:
            late = {
                arn
                for arn, open_s in self._open.items()
                if min(open_s, default=now_s) < now_s - SLOW_S
            }
            return sorted(arns, key=(late | self._failed).__contains__)


class NotifyStep:
    """Tells every destination of finished and failed jobs.

    Jobs that come at the same time go together: one thread takes up to ten of them to one
    destination after the other, while the others wait once. One that hangs is waited for by those
    that came before it was known to hang, and then by nobody before the others are told.

    Args:
        context: What it works with.
    """

    def __init__(self, context: StageContext) -> None:
        self._context = context
        arns = (*context.destinations.on_success, *context.destinations.on_failure)
        self._labels = {arn: _LABELS[parse_destination_arn(arn).service] for arn in arns}
        self._troubled = _Troubled()
        self._group = None if context.notifier is None else self._grouped(context.notifier)

    def run(self, passage: Passage) -> None:
        """Publish to the destinations that have not been notified yet.

        One that fails does not keep the others from being notified.

        Raises:
            JobError: ``NOTIFICATION_FAILED``, of the first destination that failed.
            Cancelled: The message is no longer ours.
        """
        wanted = self._wanted(passage)
        if self._group is None or not wanted:
            return
        notification = notification_of(
            passage.envelope,
            notification_id=passage.job.webhook_id,
            result_url=passage.finished.result_url,
            media=passage.job.request.location,
            region=self._context.region,
            encoded=passage.body,
        )
        self._group.put(_Told(passage=passage, notification=notification, wanted=wanted))

    def _grouped(self, notifier: Notifier) -> GroupCommit[_Told]:
        # Few threads never fill a call, and would only wait.
        others = self._context.lanes["callback"] - 1
        return GroupCommit(
            partial(self._tell_all, notifier),
            size_bytes=lambda told: told.notification.size_bytes(),
            max_entries=MAX_ENTRIES,
            max_bytes=MAX_BYTES,
            linger_s=LINGER_S * min(1.0, others / MAX_ENTRIES),
        )

    def _wanted(self, passage: Passage) -> frozenset[str]:
        destinations, finished = self._context.destinations, passage.finished
        arns = destinations.on_failure if finished.failure else destinations.on_success
        return frozenset(arns) - finished.notified

    def _tell_all(self, notifier: Notifier, batch: Sequence[_Told]) -> list[Exception | None]:
        """Take jobs to all their destinations; return for each what ``run`` raises."""
        for arn in self._troubled.last(self._labels, time.perf_counter()):
            # Those that are not for this one show life too: they wait for it.
            ours = [told for told in batch if told.is_ours()]
            wanting = [told for told in ours if arn in told.wanted]
            if wanting:
                self._tell(notifier, arn, wanting)
        return [told.cancelled or next(iter(told.errors), None) for told in batch]

    def _tell(self, notifier: Notifier, arn: str, batch: Sequence[_Told]) -> None:
        """Tell one destination of jobs; note what became of each."""
        for told, error in zip(batch, self._published(notifier, arn, batch), strict=True):
            if error is not None:
                told.errors.append(error)
                self._context.breaker.note(error, self._trial(notifier, arn, told))

    def _trial(self, notifier: Notifier, arn: str, told: _Told) -> Trial:
        def again() -> None:
            # The message went back to the queue, and may have come further since.
            if arn not in told.passage.remembered.notified:
                (error,) = self._published(notifier, arn, [told])
                if error is not None:
                    raise error

        return Trial(
            check="notifications",
            paused="receiving is paused until notifications can be published again",
            works="notifications can be published again",
            again=again,
            destination=arn,
        )

    def _published(
        self, notifier: Notifier, arn: str, batch: Sequence[_Told]
    ) -> Sequence[JobError | None]:
        """Publish, count, and remember which of the jobs the destination knows now."""
        started, failed = time.perf_counter(), True
        self._troubled.begin(arn, started)
        try:
            errors = _publish(notifier, arn, batch)
            failed = all(errors)
        finally:
            self._troubled.end(arn, started, failed=failed)
        took_s, label = time.perf_counter() - started, self._labels[arn]
        metrics = self._context.metrics
        seconds = metrics.stage_seconds.labels("notify")
        done = [told for told, error in zip(batch, errors, strict=True) if error is None]
        for told in done:
            told.passage.note(lambda known: replace(known, notified=known.notified | {arn}))
            seconds.observe(took_s, trace_exemplar(told.passage.job.trace))
        if done:
            metrics.results.labels(label, "ok").inc(len(done))
        for error in filter(None, errors):
            metrics.results.labels(label, error.code.value).inc()
        return errors


def _publish(notifier: Notifier, arn: str, batch: Sequence[_Told]) -> Sequence[JobError | None]:
    """Publish, each notification in a span of its own trace."""
    with ExitStack() as open_spans:
        spans = [open_spans.enter_context(notify_span(told.passage.job, arn)) for told in batch]
        notifications = [
            told.notification if span is None else traced(told.notification, span)
            for told, span in zip(batch, spans, strict=True)
        ]
        errors = notifier.publish(arn, notifications)
        for span, error in zip(spans, errors, strict=True):
            if span is not None and error is not None:
                span.fail(error.code.value)
    return errors
