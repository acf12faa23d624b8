"""What this process has already finished, so that a redelivery costs no second inference.

Small and in memory: it covers the redelivery to the same worker (a destination that did not take
the result, a failed delete). Another worker finds the result in the store, if there is one.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from detection_worker.core.messages.outcome import Failure

MAX_JOBS = 4_000
MAX_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """The end of one job, and how far its result has come.

    Attributes:
        body: The encoded envelope; empty once it is delivered.
        failure: Why the job failed for good, if it did.
        result_url: ``s3://`` URL of the stored envelope; None if it is not stored.
        paged: Its page is stored, or could not be made.
        notified: ARNs of the destinations that have been notified.
        called_back: The callback was delivered, or the outbox has it.
        delivered: All of this is done; nothing is left but the message.
    """

    body: bytes
    failure: Failure | None = None
    result_url: str | None = None
    paged: bool = False
    notified: frozenset[str] = frozenset()
    called_back: bool = False
    delivered: bool = False


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
            self._put((message_id, index), finished)

    def get(self, message_id: str, index: int) -> Finished | None:
        """Return how the job ended, if that is known here."""
        with self._lock:
            return self._jobs.get((message_id, index))

    def amend(
        self,
        message_id: str,
        index: int,
        change: Callable[[Finished], Finished],
        *,
        otherwise: Finished,
    ) -> Finished:
        """Change what is known of a job, or ``otherwise`` if nothing is; return the outcome."""
        key = message_id, index
        with self._lock:
            changed = change(self._jobs.get(key, otherwise))
            self._put(key, changed)
        return changed

    def _put(self, key: tuple[str, int], finished: Finished) -> None:
        self._forget(key)
        self._jobs[key] = finished
        self._bytes += len(finished.body)
        while len(self._jobs) > self._max_jobs or self._bytes > self._max_bytes:
            self._forget(next(iter(self._jobs)))

    def _forget(self, key: tuple[str, int]) -> None:
        old = self._jobs.pop(key, None)
        self._bytes -= len(old.body) if old else 0
