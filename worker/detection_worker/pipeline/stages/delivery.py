"""The callback stage: conclude a job, post its result, settle it."""

import json
import logging
import threading
import time
from collections.abc import Mapping

from detection_contract import user_messages
from detection_contract.error_codes import Disposition, disposition
from detection_contract.media_types import MediaKind
from detection_contract.results import encode_result
from detection_worker.core.messages.outcome import Failure
from detection_worker.core.messages.states import Event
from detection_worker.errors import Cancelled, JobError
from detection_worker.metrics import exemplar
from detection_worker.pipeline.files.analysis import (
    Analysis,
    NotApplicableResult,
    conclude_tracks,
)
from detection_worker.pipeline.files.handovers import Scored
from detection_worker.pipeline.messages.jobs import Job, JobEnd, JobOutcome
from detection_worker.pipeline.messages.log import log_bug, log_outcome
from detection_worker.pipeline.messages.result_cache import Finished
from detection_worker.pipeline.stages import envelopes
from detection_worker.pipeline.stages.context import StageContext
from detection_worker.pipeline.stages.handovers import Concluded, Fetched

NOT_APPLICABLE = "NOT_APPLICABLE"
"""In place of a label in the metrics: no detector is for the file."""


class Delivery:
    """Concludes jobs and posts their results.

    Args:
        context: What it works with.
    """

    def __init__(self, context: StageContext) -> None:
        self._context = context
        self._handler_lock = threading.Lock()

    def deliver(self, item: Scored[Fetched] | Concluded) -> None:
        """Conclude, post the result and settle the job."""
        failure = item.failure if isinstance(item, Concluded) else None
        ticket = item if isinstance(item, Concluded) else item.ticket
        job, kind = ticket.job, ticket.kind
        outcome: JobOutcome
        try:
            job.check()
            self._progress(job)
            concluded = item if isinstance(item, Concluded) else self._conclude(item)
            # Units are large, and a callback can take minutes.
            del item
            self._post(concluded)
            outcome = failure or JobEnd.FINISHED
        except Cancelled:
            outcome = JobEnd.ABANDONED
        except JobError as exc:
            outcome = self._undeliverable(job, failure, Failure.of(exc))
        except Exception:  # noqa: BLE001 - a bug that one file brings to light fails that file
            outcome = log_bug(job, f"delivering {job.request_id} failed")
        self._context.settlement.settle_job(job, outcome, kind=kind)

    def _conclude(self, scored: Scored[Fetched]) -> Concluded:
        ticket = scored.ticket
        job = ticket.job
        found = conclude_tracks(scored.main, scored.sound, threshold=job.request.threshold)
        timings_s = {
            **ticket.timings_s,
            "inference": scored.seconds,
            "total": time.monotonic() - job.message.received_s,
        }
        result = envelopes.finished(
            ticket, found, timings_s=timings_s, queue_url=self._context.queue_url
        )
        body = encode_result(result)
        self._announce(ticket, found)
        self._observe_service(found.info.kind, timings_s)
        return Concluded(job=job, body=body, result=result, kind=found.info.kind)

    def _announce(self, ticket: Fetched, found: Analysis | NotApplicableResult) -> None:
        request_id = ticket.request_id
        label: str = NOT_APPLICABLE
        if isinstance(found, NotApplicableResult):
            word = "not_applicable"
            line = user_messages.LOG_NOT_APPLICABLE.format(
                reason=found.reason, request_id=request_id
            )
            log_outcome(line, action="conclude", about=ticket, verdict=word, reason=found.reason)
        else:
            label, word, verdict = found.verdict.label, found.verdict.finding, found.verdict
            inconclusive = word == "inconclusive"
            form = user_messages.LOG_INCONCLUSIVE if inconclusive else user_messages.LOG_COMPLETE
            line = form.format(label=label, confidence=verdict.confidence, request_id=request_id)
            score = round(verdict.score, 4)
            log_outcome(
                line, action="conclude", about=ticket, verdict=word, label=label, score=score
            )
        self._context.metrics.jobs.labels(found.info.kind.value, label, word).inc(
            exemplar=dict(exemplar(request_id))
        )

    def _post(self, concluded: Concluded) -> None:
        """Post the envelope once, remembering it first: a redelivery must not compute it again."""
        job = concluded.job
        self._remember(concluded, delivered=False)
        if job.message not in self._context.in_flight:
            raise Cancelled
        self._progress(job)
        if job.request.callback_url is not None:
            self._call_back(job, job.request.callback_url, concluded.body)
        if self._context.on_result is not None:
            with self._handler_lock:
                self._context.on_result(concluded.result or json.loads(concluded.body))
        self._remember(concluded, delivered=True)
        self._context.in_flight.move(job.message, Event.WORK_PAUSED)

    def _call_back(self, job: Job, url: str, body: bytes) -> None:
        started = time.perf_counter()
        metrics = self._context.metrics
        try:
            self._context.callbacks.post(
                url,
                body,
                webhook_id=job.webhook_id,
                request_id=job.request_id,
                on_progress=lambda: self._progress(job),
                cancelled=lambda: job.cancelled,
            )
        except JobError as exc:
            metrics.callbacks.labels(exc.code.value).inc()
            raise
        metrics.callbacks.labels("delivered").inc()
        metrics.stage_seconds.labels("callback").observe(time.perf_counter() - started)

    @staticmethod
    def _undeliverable(job: Job, failure: Failure | None, callback: Failure) -> Failure:
        """Return how a job ends whose result, or whose own failure, could not be posted.

        A failed job keeps its own reason if the callback will never take it, and is tried again
        while the callback may still recover.
        """
        code = callback.code.value
        log_outcome(
            f"could not deliver the result of {job.request_id}: {code}: {callback.message}",
            action="deliver",
            about=job,
            level=logging.WARNING,
            code=code,
        )
        may_recover = disposition(callback.code) is Disposition.RETRY
        return callback if failure is None or may_recover else failure

    def _remember(self, concluded: Concluded, *, delivered: bool) -> None:
        job = concluded.job
        body = b"" if delivered else concluded.body
        finished = Finished(body=body, failure=concluded.failure, delivered=delivered)
        self._context.results.put(job.message.message_id, job.index, finished)

    def _observe_service(self, kind: MediaKind, timings_s: Mapping[str, float]) -> None:
        """The busiest stage decides how many messages a second this worker can finish."""
        lanes = self._context.lanes
        busiest_s = max(timings_s.get(stage, 0.0) / count for stage, count in lanes.items())
        smoothed_s = self._context.in_flight.observe_service(kind, busiest_s)
        metrics = self._context.metrics
        metrics.service_seconds.labels(kind.value).set(smoothed_s)
        metrics.sustainable_rate.labels(kind.value).set(1.0 / max(smoothed_s, 1e-6))

    def _progress(self, job: Job) -> None:
        self._context.in_flight.move(job.message, Event.WORK_BEGUN)
