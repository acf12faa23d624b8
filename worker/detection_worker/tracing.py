"""Tracing of a worker's process: begun as its environment asks, ended in bounded time."""

import time
from typing import Final

from detection_tracing import start
from detection_tracing.port import Tracing
from detection_tracing.start import FLUSH_S
from detection_worker.errors import UsageError

SERVICE: Final = "detection-worker"
LEAST_FLUSH_S: Final = 0.2
"""A collector that answers takes the last spans in this time."""


def tracing_here() -> Tracing | None:
    """Return the tracing that the environment asks for; None without.

    Raises:
        UsageError: It is asked for, and cannot be.
    """
    return start.tracing_here(SERVICE, failed=UsageError)


def flush(tracing: Tracing | None, *, until_s: float) -> None:
    """Export the last spans and end tracing.

    Args:
        tracing: That of the process.
        until_s: End of the grace period on ``time.monotonic``.
    """
    if tracing is not None:
        left_s = until_s - time.monotonic()
        tracing.close(timeout_s=min(FLUSH_S, max(LEAST_FLUSH_S, left_s)))
