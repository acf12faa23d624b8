"""The last stage: conclude a job, take its result to every destination, settle it."""

import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Protocol

from detection_contract import user_messages
from detection_contract.media_types import MediaKind
from detection_contract.results import encode_result
from detection_worker.cache.codec import Scores
from detection_worker.cache.scores import Unwritten
from detection_worker.core.messages.outcome import Failure
from detection_worker.core.messages.states import Event
from detection_worker.errors import Cancelled, JobError
from detection_worker.metrics import exemplar
from detection_worker.pipeline.files.analysis import (
    Analysis,
    NotApplicableResult,
    conclude_tracks,
)
from detection_worker.pipeline.files.applicability import listened
from detection_worker.pipeline.files.handovers import Scored
from detection_worker.pipeline.files.pictures import pictures_of
from detection_worker.pipeline.messages.jobs import JobEnd, JobOutcome
from detection_worker.pipeline.messages.log import log_bug, log_outcome
from detection_worker.pipeline.messages.passage import Passage
from detection_worker.pipeline.messages.result_cache import Finished
from detection_worker.pipeline.stages import envelopes
from detection_worker.pipeline.stages.callback_step import CallbackStep
from detection_worker.pipeline.stages.context import StageContext
from detection_worker.pipeline.stages.handovers import Concluded, Fetched
from detection_worker.pipeline.stages.notify_step import NotifyStep
from detection_worker.pipeline.stages.store_step import PageStep, StoreStep

NOT_APPLICABLE = "NOT_APPLICABLE"
"""In place of a label in the metrics: no detector is for the file."""


class Step(Protocol):
    """Takes a result to one kind of destination; does nothing where that is done already."""

    def run(self, passage: Passage) -> None:
        """Take the result there, and note it.

        Raises:
            JobError: The destination did not take it.
            Cancelled: The message is no longer ours.
        """
        ...


class Delivery:
    """Concludes jobs and takes their results to every destination, in order.

    Args:
        context: What it works with.
    """

    def __init__(self, context: StageContext) -> None:
        self._context = context
        self._handler_lock = threading.Lock()
        self._steps: tuple[Step, ...] = (
            StoreStep(context),
            PageStep(context),
            NotifyStep(context),
            CallbackStep(context),
        )

    def deliver(self, item: Scored[Fetched] | Concluded) -> None:
        """Conclude, take the result to its destinations and settle the job."""
        ticket = item if isinstance(item, Concluded) else item.ticket
        job, kind = ticket.job, ticket.kind
        outcome: JobOutcome
        try:
            job.check()
            self._context.in_flight.move(job.message, Event.WORK_BEGUN)
            concluded = item if isinstance(item, Concluded) else self._conclude(item)
            # Units are large, and a callback can take minutes.
            del item
            passage = self._passage(concluded)
            if self._context.scores is not None and concluded.entry is not None:
                self._context.scores.write(concluded.entry)
            outcome = self._take_along(passage)
        except Cancelled:
            outcome = JobEnd.ABANDONED
        except Exception:  # noqa: BLE001 - a bug that one file brings to light fails that file
            outcome = log_bug(job, f"delivering {job.request_id} failed")
        self._context.settlement.settle_job(job, outcome, kind=kind)

    def _passage(self, concluded: Concluded) -> Passage:
        # From here on it is remembered: a redelivery must not compute it again.
        return Passage(
            concluded.job,
            concluded.finished,
            in_flight=self._context.in_flight,
            results=self._context.results,
            envelope=concluded.result,
            pictures=concluded.pictures,
        )

    def _take_along(self, passage: Passage) -> JobOutcome:
        """Take every step that is not done; return how the job ends."""
        try:
            passage.check()
            for step in self._steps:
                step.run(passage)
            if self._context.on_result is not None:
                with self._handler_lock:
                    self._context.on_result(passage.envelope)
        except JobError as exc:
            return _undelivered(passage, Failure.of(exc))
        passage.end()
        return passage.finished.failure or JobEnd.FINISHED

    def _conclude(self, scored: Scored[Fetched]) -> Concluded:
        ticket = scored.ticket
        job = ticket.job
        if self._context.scores is not None and not ticket.cached:
            # What is kept has no sound to listen to.
            sound = scored.sound and listened(scored.sound)
            scored = replace(scored, main=listened(scored.main), sound=sound)
        found = conclude_tracks(scored.main, scored.sound, threshold=job.request.threshold)
        timings_s = {
            **ticket.timings_s,
            "inference": scored.seconds,
            "total": time.monotonic() - job.message.received_s,
        }
        result = envelopes.finished(
            ticket,
            found,
            timings_s=timings_s,
            queue_url=self._context.queue_url,
            trust_declared=self._context.trust_declared,
        )
        finished = Finished(body=encode_result(result))
        self._announce(ticket, found, result["verdict"])
        if not ticket.cached:
            # A burst of cached objects says nothing of what the next one will cost, nor of how
            # the model scores what comes in now.
            self._observe_service(found.info.kind, timings_s)
            self._observe_scores(found)
        entry = self._remembered(scored)
        return Concluded(
            job=job,
            finished=finished,
            result=result,
            kind=found.info.kind,
            entry=entry,
            pictures=pictures_of(scored.main, scored.sound),
        )

    def _remembered(self, scored: Scored[Fetched]) -> Unwritten | None:
        """Keep scores in memory, for the jobs that wait for them; return what is to be written."""
        ticket, scores, flights = scored.ticket, self._context.scores, self._context.flights
        location = ticket.job.request.location
        if scores is None or flights is None or location is None or ticket.cached:
            return None
        known = Scores(object=ticket.file, main=scored.main, sound=scored.sound)
        entry = scores.remember(location, known, replaces=ticket.replaces)
        flights.ended(ticket.job)
        return entry

    def _announce(
        self, ticket: Fetched, found: Analysis | NotApplicableResult, word: str | None
    ) -> None:
        """Log and count a result; its verdict may follow what the file declares."""
        request_id = ticket.request_id
        label: str = NOT_APPLICABLE
        if isinstance(found, NotApplicableResult):
            line = user_messages.LOG_NOT_APPLICABLE.format(
                reason=found.reason, request_id=request_id
            )
            log_outcome(line, action="conclude", about=ticket, verdict=word, reason=found.reason)
        else:
            label, verdict = found.verdict.label, found.verdict
            agrees = word == label.lower()
            form = user_messages.LOG_COMPLETE if agrees else user_messages.LOG_OTHER_VERDICT
            line = form.format(
                label=label, confidence=verdict.confidence, request_id=request_id, verdict=word
            )
            score = round(verdict.score, 4)
            log_outcome(
                line, action="conclude", about=ticket, verdict=word, label=label, score=score
            )
        self._context.metrics.jobs.labels(found.info.kind.value, label, word).inc(
            exemplar=exemplar(request_id, ticket.job.trace)
        )

    def _observe_service(self, kind: MediaKind, timings_s: Mapping[str, float]) -> None:
        """The busiest stage decides how many messages a second this worker can finish."""
        lanes = self._context.lanes
        busiest_s = max(timings_s.get(stage, 0.0) / count for stage, count in lanes.items())
        smoothed_s = self._context.in_flight.observe_service(kind, busiest_s)
        metrics = self._context.metrics
        metrics.service_seconds.labels(kind.value).set(smoothed_s)
        metrics.sustainable_rate.labels(kind.value).set(1.0 / max(smoothed_s, 1e-6))

    def _observe_scores(self, found: Analysis | NotApplicableResult) -> None:
        """Count the scores of each model: those of a video's pictures and sound by themselves."""
        for one in [track.found for track in found.tracks] or [found]:
            if isinstance(one, Analysis):
                self._context.metrics.scores.labels(
                    one.info.kind.value, str(one.model["name"]), str(one.model["version"])
                ).observe(one.verdict.score)


def _undelivered(passage: Passage, problem: Failure) -> Failure:
    """Return how a job ends whose result, or whose own failure, a destination did not take.

    A failed job keeps its own reason if that destination will never take it, and is tried again
    while the destination may still recover.
    """
    job, code = passage.job, problem.code.value
    log_outcome(
        f"could not deliver the result of {job.request_id}: {code}: {problem.message}",
        action="deliver",
        about=job,
        level=logging.WARNING,
        code=code,
    )
    failure: Failure | None = passage.finished.failure
    return problem if failure is None or problem.passes else failure
