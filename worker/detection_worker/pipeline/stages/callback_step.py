"""The callback of a finished job."""

import time
from dataclasses import replace

from detection_worker.errors import JobError
from detection_worker.pipeline.messages.passage import Passage
from detection_worker.pipeline.stages.context import StageContext


class CallbackStep:
    """Posts the envelope to the callback URL of the job, if it has one.

    Args:
        context: What it works with.
    """

    def __init__(self, context: StageContext) -> None:
        self._context = context

    def run(self, passage: Passage) -> None:
        """Post the envelope, unless that is done.

        Raises:
            JobError: ``CALLBACK_*``.
            Cancelled: The message is no longer ours.
        """
        url = passage.job.request.callback_url
        if url is None or passage.finished.called_back:
            return
        passage.check()
        self._post(passage, url)
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
            )
        except JobError as exc:
            metrics.callbacks.labels(exc.code.value).inc()
            raise
        metrics.callbacks.labels("delivered").inc()
        metrics.stage_seconds.labels("callback").observe(time.perf_counter() - started)
