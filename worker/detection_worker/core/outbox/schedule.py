"""When a callback is tried again: days of attempts, reached by hops of SQS's delays."""

import math
from typing import Final

PAUSES_S: Final = (
    5.0, 300.0, 1800.0, 7200.0, 18_000.0, 36_000.0, 50_400.0, 72_000.0, 86_400.0,
)  # fmt: skip
"""Before each attempt; the retry schedule that Standard Webhooks 1.0.0 recommends."""
JITTER: Final = 0.1
"""A pause is up to a tenth longer, so that entries of one outage do not come back together. Less
than the step between two pauses, so that they still grow."""
LONGEST_S: Final = PAUSES_S[-1] * (1 + JITTER)
"""Longest pause; what a receiver asks for is bounded by it too."""
LIFE_S: Final = sum(PAUSES_S) * (1 + JITTER)
"""From the first failure to the last attempt, at most: 3.5 days."""
MAX_HOP_S: Final = 900
"""Longest ``DelaySeconds`` of SQS."""


def pause_s(attempts: int, *, retry_after_s: float | None, random01: float) -> float | None:
    """Return how long to wait before the next attempt; None if there is none.

    Args:
        attempts: Attempts so far that failed, >= 0.
        retry_after_s: How long the receiver asked us to wait, if it did.
        random01: Uniform in [0, 1).
    """
    if attempts >= len(PAUSES_S):
        return None
    planned_s = PAUSES_S[attempts] * (1 + JITTER * random01)
    return min(max(planned_s, retry_after_s or 0.0), LONGEST_S)


def hop_s(not_before_s: float, *, now_s: float) -> int | None:
    """Return for how long to delay an entry, 1 to 900 whole seconds; None if it is due.

    A time further away than any pause was written by a wrong clock: such an entry is due.

    Args:
        not_before_s: When it may be tried, in Unix seconds.
        now_s: Current time, in Unix seconds.
    """
    left_s = not_before_s - now_s
    if not 0.0 < left_s <= LONGEST_S:
        return None
    return min(MAX_HOP_S, math.ceil(left_s))
