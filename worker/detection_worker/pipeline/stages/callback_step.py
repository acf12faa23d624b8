"""The callback of a finished job: posted, or handed over to the outbox."""

import logging
import time
from dataclasses import replace

from detection_contract.error_codes import ErrorCode
from detection_worker.errors import JobError
from detection_worker.metrics import trace_exemplar
from detection_worker.outbox.base import Outbox, PendingCallback
from detection_worker.outbox.gate import HostRefused
from detection_worker.pipeline.messages.log import log_outcome
from detection_worker.pipeline.messages.passage import Passage
from detection_worker.pipeline.messages.traces import step
from detection_worker.pipeline.stages.context import StageContext


class CallbackStep:
    """Posts the envelope to the callback URL of the job, if it has one.

    A callback that fails for now goes to the outbox, if there is one; then it counts as done.

    Args:
        context: What it works with.
    """

    def __init__(self, context: StageContext) -> None:
        self._context = context

    def run(self, passage: Passage) -> None:
        """Post the envelope, unless that is done.

        Raises:
            JobError: ``CALLBACK_*``; with an outbox ``CALLBACK_UNREACHABLE`` only if the outbox
                does not take it.
            Cancelled: The message is no longer ours.
        """
        url = passage.job.request.callback_url
        if url is None or passage.finished.called_back:
            return
        passage.check()
        try:
            self._post(passage, url)
        except JobError as exc:
            outbox = self._context.outbox
            if outbox is None or exc.code is not ErrorCode.CALLBACK_UNREACHABLE:
                raise
            passage.check()
            self._hand_over(passage, url, exc, outbox)
        passage.note(lambda known: replace(known, called_back=True))

    def _post(self, passage: Passage, url: str) -> None:
        started = time.perf_counter()
        job, metrics = passage.job, self._context.metrics
        try:
            self._context.callbacks.post(
                url,
                passage.body,
                webhook_id=job.webhook_id,
                request_id=job.request_id,
                on_progress=passage.progress,
                cancelled=lambda: job.cancelled,
                trace=job.trace,
            )
        except HostRefused:
            raise
        except JobError as exc:
            metrics.callbacks.labels(exc.code.value).inc()
            raise
        metrics.callbacks.labels("delivered").inc()
        metrics.stage_seconds.labels("callback").observe(
            time.perf_counter() - started, trace_exemplar(job.trace)
        )

    @staticmethod
    def _hand_over(passage: Passage, url: str, problem: JobError, outbox: Outbox) -> None:
        job, code = passage.job, problem.code
        with step(job, "outbox") as span:
            outbox.put(
                PendingCallback(
                    url=url,
                    body=passage.body,
                    webhook_id=job.webhook_id,
                    request_id=job.request_id,
                    message_id=job.message.message_id,
                    result_url=passage.finished.result_url,
                    code=code,
                    reason=problem.message,
                    retry_after_s=problem.retry_after_s,
                    carrier=None if span is None else span.carrier,
                )
            )
        log_outcome(
            f"the outbox has the result of {job.request_id}: {code}: {problem.message}",
            action="hand_over",
            about=job,
            level=logging.WARNING,
            code=code.value,
        )
