"""What this process has already finished, so that a redelivery costs no second inference.

Small and in memory: it covers the redelivery to the same worker (failed callback, failed delete).
A shared cache keyed by the object's identity can take its place behind the same methods.
"""

import threading
from collections import OrderedDict
from dataclasses import dataclass

from detection_worker.core.messages.outcome import Failure

MAX_JOBS = 4_000
MAX_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """The end of one job.

    Attributes:
        body: The encoded envelope; empty once it is delivered.
        failure: Why the job failed for good, if it did.
        delivered: The caller has it.
    """

    body: bytes
    failure: Failure | None
    delivered: bool


class ResultCache:
    """Finished jobs by message id and index, oldest dropped first. Thread-safe."""

    def __init__(self, *, max_jobs: int = MAX_JOBS, max_bytes: int = MAX_BYTES) -> None:
        self._lock = threading.Lock()
        self._jobs: OrderedDict[tuple[str, int], Finished] = OrderedDict()
        self._bytes = 0
        self._max_jobs = max_jobs
        self._max_bytes = max_bytes

    def put(self, message_id: str, index: int, finished: Finished) -> None:
        """Remember the end of a job in place of what was known of it."""
        with self._lock:
            self._forget((message_id, index))
            self._jobs[message_id, index] = finished
            self._bytes += len(finished.body)
            while len(self._jobs) > self._max_jobs or self._bytes > self._max_bytes:
                self._forget(next(iter(self._jobs)))

    def get(self, message_id: str, index: int) -> Finished | None:
        """Return how the job ended, if that is known here."""
        with self._lock:
            return self._jobs.get((message_id, index))

    def _forget(self, key: tuple[str, int]) -> None:
        old = self._jobs.pop(key, None)
        self._bytes -= len(old.body) if old else 0
