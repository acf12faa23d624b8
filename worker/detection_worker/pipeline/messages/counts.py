"""The counts that the guide promises: processed, failed, runtime, rate."""

import threading
import time
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """A snapshot.

    Attributes:
        processed: Messages finished and deleted.
        failed: Messages dead-lettered.
        retried: Messages handed back to be tried again.
        runtime_s: Since the start.
    """

    processed: int
    failed: int
    retried: int
    runtime_s: float

    @property
    def rate_per_s(self) -> float:
        """Messages processed each second."""
        return self.processed / self.runtime_s if self.runtime_s > 0 else 0.0

    def __str__(self) -> str:
        return (
            f"Statistics: {self.processed} processed, {self.failed} failed, "
            f"{self.retried} to retry, runtime {self.runtime_s:.1f} s, "
            f"rate {self.rate_per_s:.2f} messages/s"
        )


class MessageCounts:
    """Counts since the start. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._started_s = time.monotonic()
        self._counts = {"processed": 0, "failed": 0, "retried": 0}

    def add(self, what: str) -> int:
        """Count one; return how many messages have ended so far in any way."""
        with self._lock:
            self._counts[what] += 1
            return sum(self._counts.values())

    def snapshot(self) -> Statistics:
        """Return the counts."""
        with self._lock:
            return Statistics(**self._counts, runtime_s=time.monotonic() - self._started_s)
