"""What the stages before the callback do to a job: download, decode, take the scores."""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from detection_contract import user_messages
from detection_contract.aws.s3_urls import S3Location, redact_url, s3_uri
from detection_contract.error_codes import ErrorCode
from detection_contract.results import encode_result
from detection_worker.cache.scores import Lookup
from detection_worker.core.messages.outcome import Failure
from detection_worker.core.messages.states import Event
from detection_worker.errors import Cancelled, JobError
from detection_worker.metrics import trace_exemplar
from detection_worker.pipeline.files.downloads import file_name, remove_folder
from detection_worker.pipeline.files.handovers import Decoded, Scored, Unscored
from detection_worker.pipeline.messages.jobs import Job, JobEnd, Message
from detection_worker.pipeline.messages.log import log_bug, log_outcome
from detection_worker.pipeline.messages.result_cache import Finished
from detection_worker.pipeline.messages.traces import end_inference, inference_step, step
from detection_worker.pipeline.stages import envelopes
from detection_worker.pipeline.stages.breaker import download_trial, new_folder
from detection_worker.pipeline.stages.context import StageContext
from detection_worker.pipeline.stages.handovers import Concluded, Fetched
from detection_worker.pipeline.stages.reuse import Reuse
from detection_worker.pipeline.stages.store_step import StoreStep
from detection_worker.storage.base import FetchedObject

CALLBACK_CODES = frozenset(
    {
        ErrorCode.BAD_CALLBACK_URL,
        ErrorCode.CALLBACK_FORBIDDEN,
        ErrorCode.CALLBACK_REJECTED,
        ErrorCode.CALLBACK_UNREACHABLE,
    }
)
"""Failures of the callback itself, which no callback can report."""

R = TypeVar("R")


class StageHandlers:
    """The handlers of the stages; each returns what the next stage gets, or ends the job.

    Args:
        context: What they work with.
        deliver: Takes jobs with scores or with a failure to report.
    """

    def __init__(
        self, context: StageContext, *, deliver: Callable[[Scored[Fetched] | Concluded], None]
    ) -> None:
        self._context = context
        self._deliver = deliver
        self._store = StoreStep(context)
        self._reuse = Reuse(context)

    # -- stages --------------------------------------------------------------------------------

    def download(self, job: Job) -> Fetched | None:
        """Fetch the object into a private folder, unless its result or its scores are at hand.

        None is returned too if another job's analysis of the same object is waited for.
        """
        if self._context.store is not None and self._is_recalled(job):
            return None
        if not self._reuse.begin(job):
            return None
        done = self._attempt(job, "download", lambda: self._download(job))
        if done is None:
            return None
        found, seconds = done
        timings_s = {"download": seconds}
        if isinstance(found, Fetched):
            return replace(found, timings_s=timings_s)
        if found is not None:
            self._take_cached(found, timings_s)
        return None

    def decode(self, fetched: Fetched) -> Decoded[Fetched] | None:
        """Turn the file into units, and remove it."""
        done = self._attempt(fetched.job, "decode", lambda: self._decode(fetched), fetched)
        if done is None:
            return None
        decoded, seconds = done
        ticket = replace(
            fetched,
            kind=decoded.main.media.info.kind,
            timings_s={**fetched.timings_s, "decode": seconds},
            trace=inference_step(fetched.job),
        )
        return replace(decoded, ticket=ticket)

    def scored(self, ticket: Fetched, outcome: Scored[Fetched] | Unscored | None) -> None:
        """Take a job back from the inference stage; quick, for it runs on the device's thread."""
        job = ticket.job
        self._context.in_flight.work_done(job)
        self._context.in_flight.move(job.message, Event.WORK_PAUSED)
        if ticket.trace is not None:
            end_inference(ticket.trace, outcome)
        if outcome is None:
            self._context.settlement.settle_job(job, JobEnd.ABANDONED)
        elif isinstance(outcome, Unscored):
            timings_s = {**ticket.timings_s, "inference": outcome.seconds}
            self.fail(job, outcome.failure, replace(ticket, timings_s=timings_s))
        else:
            seconds = self._context.metrics.stage_seconds.labels("inference")
            seconds.observe(outcome.seconds, trace_exemplar(job.trace))
            self._deliver(outcome)

    def got_ahead(self, ticket: Fetched) -> None:
        """Note a sign of life from the inference stage."""
        self._context.in_flight.move(ticket.job.message, Event.WORK_BEGUN)

    # -- failures ------------------------------------------------------------------------------

    def fail(self, job: Job, failure: Failure, fetched: Fetched | None = None) -> None:
        """End a job that failed before it was scored: report it, or leave it to be tried again."""
        code = failure.code.value
        log_outcome(
            f"detection failed for {job.request_id}: {code}: {failure.message}",
            action="fail",
            about=fetched or job,
            level=logging.WARNING,
            code=code,
        )
        self._context.in_flight.work_done(job)
        self._reuse.over(job)
        outcome = self._context.settlement.outcome_of(job.message, failure)
        final = outcome.failure or failure
        kind = fetched.kind if fetched else job.kind
        if outcome.action == "retry" or not self._can_be_told(failure):
            self._context.settlement.settle_job(job, final, kind=kind)
            return
        result = envelopes.failed(job, final, fetched, queue_url=self._context.queue_url)
        finished = Finished(body=encode_result(result), failure=final)
        self._deliver(Concluded(job=job, finished=finished, result=result, kind=kind))

    def stalled(self, message: Message) -> None:
        """Stop the work on a message that shows no progress; its jobs fail instead."""
        fresh = self._context.in_flight.reopen(message)
        if fresh is None:
            return
        fresh.jobs = tuple(replace(job, message=fresh) for job in message.jobs)
        failure = Failure(code=ErrorCode.TIMEOUT, message="the work on it made no progress")
        for job in fresh.jobs:
            known = self._context.results.get(job.message.message_id, job.index)
            if known is None:
                self.fail(job, failure)
                continue
            # It was its result that hung: no other one may be told under the same id.
            end = (known.failure or JobEnd.FINISHED) if known.delivered else failure
            self._context.settlement.settle_job(job, end)

    def _can_be_told(self, failure: Failure) -> bool:
        """Say whether a failure can be reported: a store and topics take what no callback can."""
        told_otherwise = self._context.store or self._context.destinations.on_failure
        return bool(told_otherwise) or failure.code not in CALLBACK_CODES

    # -- download and decode -------------------------------------------------------------------

    def _is_recalled(self, job: Job) -> bool:
        """Ask the store for the result of an earlier delivery; True ends the work on the job."""
        asked = self._attempt(job, "recall", lambda: self._store.recall(job))
        if asked is None:
            return True
        recalled, _ = asked
        if recalled is None:
            return False
        self._context.in_flight.work_done(job)
        self._deliver(recalled)
        return True

    def _attempt(
        self, job: Job, name: str, act: Callable[[], R], fetched: Fetched | None = None
    ) -> tuple[R, float] | None:
        """Run one stage on a job and time it; whatever goes wrong ends the job in order."""
        started = time.perf_counter()
        try:
            self._context.in_flight.move(job.message, Event.WORK_BEGUN)
            with step(job, name):
                result = act()
        except Cancelled:
            self._context.settlement.settle_job(job, JobEnd.ABANDONED)
            return None
        except JobError as exc:
            self.fail(job, Failure.of(exc), fetched)
            return None
        except Exception:  # noqa: BLE001 - a bug that one file brings to light fails that file
            self.fail(job, log_bug(job, f"stage {name} failed for {job.request_id}"), fetched)
            return None
        seconds = time.perf_counter() - started
        observed = self._context.metrics.stage_seconds.labels(name)
        observed.observe(seconds, trace_exemplar(job.trace))
        self._context.in_flight.move(job.message, Event.WORK_PAUSED)
        return result, seconds

    def _take_cached(self, found: Scored[Fetched], timings_s: Mapping[str, float]) -> None:
        """Send a job on whose scores come from the cache: it needs the busy stages no more."""
        ticket = replace(found.ticket, timings_s={**timings_s, "decode": 0.0})
        self._context.in_flight.work_done(ticket.job)
        line = f"scores of {ticket.request_id} come from the cache"
        log_outcome(line, action="reuse", about=ticket)
        self._deliver(replace(found, ticket=ticket))

    def _download(self, job: Job) -> Fetched | Scored[Fetched] | None:
        job.check()
        location = job.request.location
        assert location is not None  # noqa: S101 - bad messages never reach this stage
        url = redact_url(job.request.sqs_to_ml_url or "")
        line = user_messages.LOG_PROCESSING.format(url=url, request_id=job.request_id)
        log_outcome(line, action="process", about=job)
        lookup = self._reuse.find(location)
        self._context.disk.wait(cancelled=lambda: job.cancelled)
        cache_dir = self._context.data.s3_cache_dir
        trial = download_trial(self._context.storage, cache_dir, location)
        with self._context.breaker.watching(trial):
            folder = new_folder(cache_dir)
            try:
                found = self._fetch(job, location, folder, lookup)
            except BaseException:
                self._remove(folder)
                raise
        if found is None:
            folder.rmdir()
            return self._reuse.scored(job, lookup)
        if found.is_result and job.request.of_event:
            self._remove(folder)
            self._skip_result(job, location)
            return None
        if not self._reuse.may_analyse(job, lookup):
            self._remove(folder)
            return None
        self._context.disk.use(found.size_bytes)
        self._context.metrics.downloaded_bytes.inc(found.size_bytes)
        return Fetched(
            job=job,
            file=found,
            folder=folder,
            kind=job.kind,
            timings_s={},
            replaces=lookup.replaces,
        )

    def _skip_result(self, job: Job, location: S3Location) -> None:
        """End a job that only the event of a stored result asks for.

        Results of workers with other settings are known by nothing but their metadata. To report
        one as a failed detection would store a failure, whose event is the next such job.
        """
        what = f"the stored result {s3_uri(location)}"
        line = user_messages.LOG_SKIPPED.format(what=what, message_id=job.message.message_id)
        log_outcome(line, action="skip", about=job)
        self._context.settlement.settle_job(job, JobEnd.FINISHED)

    def _fetch(
        self, job: Job, location: S3Location, folder: Path, lookup: Lookup
    ) -> FetchedObject | None:
        """Download the object; None if it is still the one whose scores are known."""
        storage = self._context.storage
        fetch = (
            storage.fetch
            if lookup.scores is None
            else partial(storage.fetch_unless, known=lookup.scores.object)
        )
        return fetch(
            location,
            target=folder / file_name(location.key),
            max_bytes=self._context.decoding.limits.max_bytes,
            on_progress=lambda: self._progress(job),
            cancelled=lambda: job.cancelled,
        )

    def _decode(self, fetched: Fetched) -> Decoded[Fetched]:
        job, location = fetched.job, fetched.job.request.location
        assert fetched.path is not None and fetched.folder is not None  # noqa: S101, PT018 - downloaded
        try:
            job.check()
            decoded = self._context.decoding.decode_for(
                fetched,
                fetched.path,
                name=location.key if location else "",
                on_progress=lambda: self._progress(job),
                previews=self._context.pages is not None,
            )
        finally:
            self._context.disk.free(fetched.file.size_bytes)
            self._remove(fetched.folder)
        job.check()
        return decoded

    def _progress(self, job: Job) -> None:
        self._context.in_flight.move(job.message, Event.WORK_BEGUN)

    def _remove(self, folder: Path) -> None:
        if self._context.data.cleanup_temp_files:
            remove_folder(folder)
