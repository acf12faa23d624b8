"""Scores that are at hand already instead of a download, a decode and an inference."""

from detection_contract.aws.s3_urls import S3Location
from detection_worker.cache.scores import Lookup
from detection_worker.core.messages.states import Event
from detection_worker.pipeline.files.handovers import Scored
from detection_worker.pipeline.messages.jobs import Job
from detection_worker.pipeline.stages.context import StageContext
from detection_worker.pipeline.stages.handovers import Fetched

_NOTHING = Lookup()


class Reuse:
    """What the download stage asks the cache of scores; without a cache it knows nothing.

    Args:
        context: What it works with.
    """

    def __init__(self, context: StageContext) -> None:
        self._context = context

    def begin(self, job: Job) -> bool:
        """Return whether the work on a job may begin now; if not, it comes back later.

        What is known of an object has to be compared with the object; that many jobs can do at
        once. Of those that may have to analyse it, only one begins.
        """
        scores, location = self._context.scores, job.request.location
        if scores is None or location is None or scores.remembers(location):
            return True
        return self._enter(job)

    def find(self, location: S3Location) -> Lookup:
        """Return what the cache knows of an object."""
        scores = self._context.scores
        return _NOTHING if scores is None else scores.find(location)

    def may_analyse(self, job: Job, lookup: Lookup) -> bool:
        """Return whether a downloaded object may be analysed now; if not, its job comes back.

        Args:
            job: The job.
            lookup: What was known of the object, which turned out to be another one by now.
        """
        scores, location = self._context.scores, job.request.location
        if scores is None or location is None or lookup.scores is None:
            return True
        scores.outdated(location)
        return self._enter(job)

    def scored(self, job: Job, lookup: Lookup) -> Scored[Fetched]:
        """Return the scores of an object that is still as the cache knows it."""
        scores = self._context.scores
        assert scores is not None and lookup.scores is not None  # noqa: S101, PT018 - they were found
        scores.confirmed(lookup)
        self.over(job)
        found = lookup.scores
        ticket = Fetched(
            job=job,
            file=found.object,
            folder=None,
            kind=found.main.decoded.info.kind,
            timings_s={},
        )
        return Scored(ticket=ticket, main=found.main, sound=found.sound, seconds=0.0)

    def over(self, job: Job) -> None:
        """Let the jobs go on that wait for this one: its scores are at hand, or never will be."""
        if self._context.flights is not None:
            self._context.flights.ended(job)

    def _enter(self, job: Job) -> bool:
        flights = self._context.flights
        if flights is None:
            return True
        # Before it may wait: another thread can take it up again at once.
        self._context.in_flight.move(job.message, Event.WORK_BEGUN)
        self._context.in_flight.move(job.message, Event.WORK_PAUSED)
        return flights.enter(job)
