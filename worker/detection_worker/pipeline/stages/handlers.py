"""What each stage does to a job: download, decode, conclude, deliver."""

import json
import logging
import threading
import time
from collections.abc import Callable

from detection_contract import user_messages
from detection_contract.aws.s3_urls import redact_url
from detection_contract.error_codes import Disposition, ErrorCode, disposition
from detection_contract.results import encode_result
from detection_worker.core.messages.outcome import Failure
from detection_worker.errors import Cancelled, JobError
from detection_worker.metrics import exemplar
from detection_worker.pipeline.files.analysis import Analysis, NotApplicableResult, conclude_tracks
from detection_worker.pipeline.files.downloads import file_name, job_folder
from detection_worker.pipeline.files.file_job import failure_of
from detection_worker.pipeline.messages.jobs import Job, Message
from detection_worker.pipeline.messages.result_cache import Finished
from detection_worker.pipeline.stages import envelopes
from detection_worker.pipeline.stages.context import StageContext

CALLBACK_CODES = frozenset(
    {
        ErrorCode.BAD_CALLBACK_URL,
        ErrorCode.CALLBACK_FORBIDDEN,
        ErrorCode.CALLBACK_REJECTED,
        ErrorCode.CALLBACK_UNREACHABLE,
    }
)
"""Failures of the callback itself: nobody can be told of them by callback."""
NOT_APPLICABLE = "NOT_APPLICABLE"
"""In place of a label in the metrics: no detector is for the file."""

log = logging.getLogger(__name__)


class StageHandlers:
    """The handlers of the stages; each passes the job on or ends it.

    Args:
        context: What they work with.
        to_decode: Next stage after the download.
        to_inference: Next stage after decoding.
        to_delivery: Where jobs with a result or a final failure go.
    """

    def __init__(
        self,
        context: StageContext,
        *,
        to_decode: Callable[[Job], None],
        to_inference: Callable[[Job], None],
        to_delivery: Callable[[Job], None],
    ) -> None:
        self._context = context
        self._to_decode = to_decode
        self._to_inference = to_inference
        self._to_delivery = to_delivery
        self._handler_lock = threading.Lock()

    # -- stages --------------------------------------------------------------------------------

    def download(self, job: Job) -> None:
        """Fetch the object into a private folder."""
        self._stage(job, "download", self._download, self._to_decode)

    def decode(self, job: Job) -> None:
        """Turn the file into units."""
        self._stage(job, "decode", self._decode, self._to_inference)

    def scored(self, job: Job) -> None:
        """Take a job back from the inference stage; quick, for it runs on the device's thread."""
        if job.failure is None and not job.cancelled:
            self._context.metrics.stage_seconds.labels("inference").observe(
                job.timings_s.get("inference", 0.0)
            )
        self._context.in_flight.work_done(job)
        self._context.in_flight.progress(job, working=False)
        self._to_delivery(job)

    def deliver(self, job: Job) -> None:
        """Conclude, post the result and end the job."""
        try:
            job.check()
            job.started = True
            if job.body is not None or self._conclude(job):
                self._post(job)
                self._context.settlement.job_ended(job)
        except Cancelled:
            self._context.settlement.job_dropped(job)
        except JobError as exc:
            self._undeliverable(job, exc)
        except Exception:
            log.exception("delivering %s failed", job.request_id)
            job.failure = Failure(code=ErrorCode.INTERNAL, message="internal error")
            self._context.settlement.job_ended(job)

    # -- download and decode -------------------------------------------------------------------

    def _stage(
        self, job: Job, name: str, act: Callable[[Job], None], then: Callable[[Job], None]
    ) -> None:
        """Run one stage on a job and pass it on; whatever goes wrong ends the job in order."""
        started = time.perf_counter()
        try:
            job.check()
            job.started = True
            self._context.in_flight.progress(job)
            act(job)
            job.check()
        except Cancelled:
            self._context.settlement.job_dropped(job)
            return
        except JobError as exc:
            self._context.breaker.note(exc, job.request.location)
            self.fail(job, failure_of(exc))
            return
        except Exception:
            log.exception("stage %s failed for %s", name, job.request_id)
            self.fail(job, Failure(code=ErrorCode.INTERNAL, message="internal error"))
            return
        seconds = time.perf_counter() - started
        job.timings_s[name] = seconds
        self._context.metrics.stage_seconds.labels(name).observe(seconds)
        self._context.in_flight.progress(job, working=False)
        then(job)

    def _download(self, job: Job) -> None:
        location = job.request.location
        url = job.request.sqs_to_ml_url or ""
        assert location is not None  # noqa: S101 - bad messages never reach this stage
        log.info(
            user_messages.LOG_PROCESSING.format(url=redact_url(url), request_id=job.request_id),
            extra={"request_id": job.request_id, "message_id": job.message.message_id},
        )
        self._context.disk.wait(cancelled=lambda: job.cancelled)
        try:
            job.folder = job_folder(self._context.data.s3_cache_dir)
        except OSError as exc:
            raise JobError(
                ErrorCode.S3_UNAVAILABLE,
                f"no room for downloads: {exc.strerror}",
                environment=True,
            ) from exc
        job.fetched = self._context.storage.fetch(
            location,
            job.folder / file_name(location.key),
            max_bytes=self._context.decoding.limits.max_bytes,
            on_progress=lambda: self._context.in_flight.progress(job),
            cancelled=lambda: job.cancelled,
        )
        job.disk_bytes = job.fetched.size_bytes
        self._context.disk.use(job.disk_bytes)
        self._context.metrics.downloaded_bytes.inc(job.fetched.size_bytes)

    def _decode(self, job: Job) -> None:
        assert job.fetched is not None  # noqa: S101 - set by the stage before
        assert job.request.location is not None  # noqa: S101
        self._context.decoding.decode_job(
            job,
            job.fetched.path,
            name=job.request.location.key,
            on_progress=lambda: self._context.in_flight.progress(job),
        )
        self._context.settlement.clean(job)

    # -- results -------------------------------------------------------------------------------

    def _conclude(self, job: Job) -> bool:
        """Give the job its envelope; False if it failed and is to be tried again instead."""
        if job.failure is not None:
            job.decoded = job.sound = job.pictures = None
            return self._report(job, job.failure)
        main, sound = job.take_scored()
        found = conclude_tracks(main, sound, threshold=job.request.threshold)
        job.timings_s["total"] = time.monotonic() - job.message.received_s
        job.result = envelopes.finished(job, found, queue_url=self._context.queue_url)
        job.body = encode_result(job.result)
        self._announce(job, found)
        self._observe_service(job)
        return True

    def _announce(self, job: Job, found: Analysis | NotApplicableResult) -> None:
        label: str = NOT_APPLICABLE
        if isinstance(found, NotApplicableResult):
            word = "not_applicable"
            line = user_messages.LOG_NOT_APPLICABLE.format(
                reason=found.reason, request_id=job.request_id
            )
            facts = _facts(job, verdict=word, reason=found.reason)
        else:
            label, word, verdict = found.verdict.label, found.verdict.finding, found.verdict
            form = (
                user_messages.LOG_INCONCLUSIVE
                if word == "inconclusive"
                else user_messages.LOG_COMPLETE
            )
            line = form.format(
                label=label, confidence=verdict.confidence, request_id=job.request_id
            )
            facts = _facts(job, verdict=word, label=label, score=round(verdict.score, 4))
        log.info(line, extra=facts)
        self._context.metrics.jobs.labels(found.info.kind.value, label, word).inc(
            exemplar=dict(exemplar(job.request_id))
        )

    def fail(self, job: Job, failure: Failure) -> None:
        """End a job that failed before it was scored."""
        if self._report(job, failure):
            self._to_delivery(job)

    def stalled(self, message: Message) -> None:
        """Stop the work on a message that shows no progress; its jobs fail instead."""
        fresh = self._context.in_flight.reopen(message)
        if fresh is None:
            return
        fresh.jobs = [
            Job(
                message=fresh,
                index=j.index,
                request=j.request,
                request_id=j.request_id,
                kind=j.kind,
            )
            for j in message.jobs
        ]
        failure = Failure(code=ErrorCode.TIMEOUT, message="the work on it made no progress")
        for job in fresh.jobs:
            self.fail(job, failure)

    def _report(self, job: Job, failure: Failure) -> bool:
        """Give a job that failed for good its envelope; end one that will be tried again."""
        outcome = self._context.settlement.preview(job.message, failure)
        final = outcome.failure or failure
        log.warning(
            "detection failed for %s: %s: %s",
            job.request_id,
            failure.code.value,
            failure.message,
            extra=_facts(job, code=failure.code.value),
        )
        self._context.in_flight.work_done(job)
        job.failure = final
        if outcome.action == "retry" or failure.code in CALLBACK_CODES:
            self._context.settlement.job_ended(job)
            return False
        job.timings_s["total"] = time.monotonic() - job.message.received_s
        job.result = envelopes.failed(job, final, queue_url=self._context.queue_url)
        job.body = encode_result(job.result)
        return True

    def _post(self, job: Job) -> None:
        """Post the envelope once, remembering it first: a redelivery must not compute it again."""
        body = job.body or b""
        self._remember(job, body, delivered=False)
        if not self._context.in_flight.holds(job.message):
            raise Cancelled
        self._context.in_flight.progress(job)
        if job.request.callback_url is not None:
            self._call_back(job, job.request.callback_url, body)
        if self._context.on_result is not None:
            with self._handler_lock:
                self._context.on_result(job.result or json.loads(body))
        self._remember(job, b"", delivered=True)
        self._context.in_flight.progress(job, working=False)

    def _call_back(self, job: Job, url: str, body: bytes) -> None:
        started = time.perf_counter()
        try:
            self._context.callbacks.post(
                url,
                body,
                webhook_id=job.webhook_id,
                request_id=job.request_id,
                on_progress=lambda: self._context.in_flight.progress(job),
                cancelled=lambda: job.cancelled,
            )
        except JobError as exc:
            self._context.metrics.callbacks.labels(exc.code.value).inc()
            raise
        self._context.metrics.callbacks.labels("delivered").inc()
        self._context.metrics.stage_seconds.labels("callback").observe(
            time.perf_counter() - started
        )

    def _undeliverable(self, job: Job, exc: JobError) -> None:
        # A failed job whose failure cannot be reported either keeps its own reason once the
        # callback is hopeless, and is tried again while the callback may still recover.
        failure = failure_of(exc)
        log.warning(
            "could not deliver the result of %s: %s: %s",
            job.request_id,
            failure.code.value,
            failure.message,
        )
        if job.failure is None or disposition(failure.code) is Disposition.RETRY:
            job.failure = failure
        self._context.settlement.job_ended(job)

    def _remember(self, job: Job, body: bytes, *, delivered: bool) -> None:
        finished = Finished(body=body, failure=job.failure, delivered=delivered)
        self._context.results.put(job.message.message_id, job.index, finished)

    def _observe_service(self, job: Job) -> None:
        """The busiest stage decides how many messages a second this worker can finish."""
        if job.kind is None:
            return
        busiest_s = max(
            job.timings_s.get(stage, 0.0) / lanes for stage, lanes in self._context.lanes.items()
        )
        self._context.in_flight.observe_service(job.kind, busiest_s)
        smoothed_s = self._context.in_flight.measured_service()[job.kind]
        self._context.metrics.service_seconds.labels(job.kind.value).set(smoothed_s)
        self._context.metrics.sustainable_rate.labels(job.kind.value).set(
            1.0 / max(smoothed_s, 1e-6)
        )


def _facts(job: Job, **more: object) -> dict[str, object]:
    return {
        "request_id": job.request_id,
        "message_id": job.message.message_id,
        "receive_count": job.message.received.receive_count,
        "media_type": job.kind.value if job.kind else None,
        **more,
    }
