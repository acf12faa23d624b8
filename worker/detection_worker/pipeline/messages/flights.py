"""One analysis of an object at a time: jobs about the same object wait for the first one's."""

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from detection_contract.aws.s3_urls import S3Location
from detection_worker.pipeline.messages.jobs import Job

_Object = tuple[str, str, str | None]
_JobKey = tuple[str, int]


@dataclass(slots=True)
class _Flight:
    """An object that is being analysed.

    Attributes:
        leader: The job that it is analysed for.
        waiting: Jobs that wait for it, in the order in which they came.
    """

    leader: _JobKey
    waiting: deque[Job] = field(default_factory=deque)


class Flights:
    """Which objects are being analysed, for which job, and which jobs wait for that. Thread-safe.

    A job that waits holds no thread. If the job that it waits for ends without scores (it failed,
    or its message is no longer ours), the next one takes its place.

    Args:
        is_known: Says whether the scores of an object are at hand.
        resume: Takes the jobs that need not wait any more; never blocks.
    """

    def __init__(
        self, *, is_known: Callable[[S3Location], bool], resume: Callable[[Job], None]
    ) -> None:
        self._is_known = is_known
        self._resume = resume
        self._lock = threading.Lock()
        self._flights: dict[_Object, _Flight] = {}

    def __len__(self) -> int:
        """Objects that are being analysed."""
        return len(self._flights)

    @property
    def waiting(self) -> int:
        """Jobs that wait."""
        with self._lock:
            return sum(len(flight.waiting) for flight in self._flights.values())

    def enter(self, job: Job) -> bool:
        """Return whether the object may be analysed for this job now.

        If not, the job waits: the caller leaves it alone, and ``resume`` gets it later. If so,
        ``ended`` has to be called.
        """
        with self._lock:
            flight = self._flights.setdefault(_object(job), _Flight(_key(job)))
            if flight.leader == _key(job):
                return True
            flight.waiting.append(job)
            return False

    def ended(self, job: Job) -> None:
        """Note that the scores of a job's object are at hand, or that the job ended without.

        Only the first call for a job that the object is analysed for does anything.
        """
        if job.request.location is None:
            return
        # Asked before the lock is taken: it has a lock of its own.
        known = self._is_known(job.request.location)
        with self._lock:
            resumed = self._released(_object(job), _key(job), known=known)
        for each in resumed:
            self._resume(each)

    def _released(self, of: _Object, key: _JobKey, *, known: bool) -> list[Job]:
        flight = self._flights.get(of)
        if flight is None or flight.leader != key:
            return []
        if known or not flight.waiting:
            del self._flights[of]
            return list(flight.waiting)
        following = flight.waiting.popleft()
        flight.leader = _key(following)
        return [following]


def _object(job: Job) -> _Object:
    location = job.request.location
    assert location is not None  # noqa: S101 - bad messages never reach a stage
    return location.bucket, location.key, location.version_id


def _key(job: Job) -> _JobKey:
    return job.message.message_id, job.index
