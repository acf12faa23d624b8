"""A finished job on its way to its destinations."""

import json
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property

from detection_contract.result_types import DetectionResult
from detection_worker.core.messages.states import Event
from detection_worker.errors import Cancelled
from detection_worker.pipeline.messages.in_flight import InFlight
from detection_worker.pipeline.messages.jobs import Job
from detection_worker.pipeline.messages.result_cache import Finished, ResultCache
from detection_worker.report.values import NO_PICTURES, Pictures


class Passage:
    """One finished job, how far its result has come, and whether its message is still ours.

    What is noted is remembered before the next step begins: a redelivery to this worker repeats
    nothing that is done.

    Args:
        job: The job.
        finished: Its envelope, and what is done already.
        in_flight: Says whether the message is ours.
        results: Remembers what is done.
        envelope: The decoded envelope, if it is at hand.
        pictures: Pictures of the file, if pages are made.

    Attributes:
        body: The encoded envelope: the same bytes for every destination.
        pictures: As given.
        earlier: The envelope was stored by an earlier delivery, with its page.
    """

    def __init__(
        self,
        job: Job,
        finished: Finished,
        *,
        in_flight: InFlight,
        results: ResultCache,
        envelope: DetectionResult | None = None,
        pictures: Pictures = NO_PICTURES,
    ) -> None:
        self.job = job
        self.pictures = pictures
        self.earlier = finished.result_url is not None
        self.body = finished.body
        self._finished = finished
        self._in_flight = in_flight
        self._results = results
        if envelope is not None:
            self.envelope = envelope
        results.put(job.message.message_id, job.index, finished)

    def __repr__(self) -> str:
        return f"<Passage {self.job.request_id} {self._finished}>"

    @cached_property
    def envelope(self) -> DetectionResult:
        """The decoded envelope."""
        decoded: DetectionResult = json.loads(self.body)
        return decoded

    @property
    def finished(self) -> Finished:
        """What is done, as this passage knows it."""
        return self._finished

    @property
    def remembered(self) -> Finished:
        """What is done, as the process knows it: a later delivery may have come further."""
        known = self._results.get(self.job.message.message_id, self.job.index)
        return known or self._finished

    def check(self) -> None:
        """Show a sign of life before a step; raise ``Cancelled`` if the lease is lost."""
        if self.job.cancelled or self.job.message not in self._in_flight:
            raise Cancelled
        self.progress()

    def progress(self) -> None:
        """Show a sign of life."""
        self._in_flight.move(self.job.message, Event.WORK_BEGUN)

    def note(self, change: Callable[[Finished], Finished]) -> None:
        """Remember what was just done."""
        self._finished = self._results.amend(
            self.job.message.message_id, self.job.index, change, otherwise=self._finished
        )

    def replace_by(self, finished: Finished) -> None:
        """Go on with the envelope of an earlier delivery instead."""
        self.body = finished.body
        self.earlier = True
        self.__dict__.pop("envelope", None)
        self.note(lambda _: finished)

    def end(self) -> None:
        """Note that everything is done; the envelope is not needed any more."""
        self.note(lambda known: replace(known, body=b"", delivered=True))
        self._in_flight.move(self.job.message, Event.WORK_PAUSED)
