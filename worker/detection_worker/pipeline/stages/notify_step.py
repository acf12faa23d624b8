"""The notifications of a finished job."""

import time
from dataclasses import replace
from typing import Final

from detection_contract.aws.arns import Service, parse_destination_arn
from detection_worker.errors import JobError
from detection_worker.metrics import trace_exemplar
from detection_worker.pipeline.messages.passage import Passage
from detection_worker.pipeline.messages.traces import notify_span
from detection_worker.pipeline.stages.breaker import Trial
from detection_worker.pipeline.stages.context import StageContext
from detection_worker.results.base import Notification, Notifier
from detection_worker.results.notifications import notification_of, traced

_LABELS: Final = {Service.SNS: "sns", Service.SQS: "sqs", Service.EVENTBRIDGE: "eventbridge"}
"""Labels of the services in the metrics."""


class NotifyStep:
    """Tells every destination of a finished or failed job.

    Args:
        context: What it works with.
    """

    def __init__(self, context: StageContext) -> None:
        self._context = context
        arns = (*context.destinations.on_success, *context.destinations.on_failure)
        self._labels = {arn: _LABELS[parse_destination_arn(arn).service] for arn in arns}

    def run(self, passage: Passage) -> None:
        """Publish to the destinations that have not been notified yet.

        One that fails does not keep the others from being notified.

        Raises:
            JobError: ``NOTIFICATION_FAILED``, of the first destination that failed.
            Cancelled: The message is no longer ours.
        """
        notifier = self._context.notifier
        wanted = self._wanted(passage)
        if notifier is None or not wanted:
            return
        notification = notification_of(
            passage.envelope,
            notification_id=passage.job.webhook_id,
            result_url=passage.finished.result_url,
            media=passage.job.request.location,
            region=self._context.region,
        )
        errors: list[JobError] = []
        for arn in wanted:
            passage.check()
            try:
                self._notify(notifier, arn, notification, passage)
            except JobError as exc:
                errors.append(exc)
        if errors:
            raise errors[0]

    def _wanted(self, passage: Passage) -> list[str]:
        destinations, finished = self._context.destinations, passage.finished
        arns = destinations.on_failure if finished.failure else destinations.on_success
        return [arn for arn in dict.fromkeys(arns) if arn not in finished.notified]

    def _notify(
        self, notifier: Notifier, arn: str, notification: Notification, passage: Passage
    ) -> None:
        def again() -> None:
            # The message went back to the queue, and may have come further since.
            if arn not in passage.remembered.notified:
                self._publish(notifier, arn, notification, passage)

        trial = Trial(
            check="notifications",
            paused="receiving is paused until notifications can be published again",
            works="notifications can be published again",
            again=again,
            destination=arn,
        )
        with self._context.breaker.watching(trial):
            self._publish(notifier, arn, notification, passage)

    def _publish(
        self, notifier: Notifier, arn: str, notification: Notification, passage: Passage
    ) -> None:
        started = time.perf_counter()
        metrics, label = self._context.metrics, self._labels[arn]
        try:
            with notify_span(passage.job, arn) as span:
                notifier.publish(arn, notification if span is None else traced(notification, span))
        except JobError as exc:
            metrics.results.labels(label, exc.code.value).inc()
            raise
        metrics.results.labels(label, "ok").inc()
        metrics.stage_seconds.labels("notify").observe(
            time.perf_counter() - started, trace_exemplar(passage.job.trace)
        )
        passage.note(lambda known: replace(known, notified=known.notified | {arn}))
