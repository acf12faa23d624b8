"""The slowest constant pace of work that would have kept the objective in the last hour.

Bursts that came within an hour come again: replicas that work at this pace would have served them.
It is found by playing the hour back, as a fluid, for one pace after the other.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

BIN_S: Final = 30.0
"""Arrivals are counted in bins of this length."""
REACH_S: Final = 3600.0
"""How far back they are kept. Twice as far costs more than it saves; half as far, and bursts that
come every half an hour are forgotten."""
MEAN_S: Final = 900.0
"""A mean over this long scatters little: what stays for it does not flap."""
WAIT_SHARE: Final = 0.8
"""Share of the allowed wait that the play may use: inside a bin the order of messages is not
known, and service times scatter."""
STEPS: Final = 3
"""Halvings of the interval in which the pace is searched, around the last pace: to 3 %."""


@dataclass(frozen=True, slots=True)
class RecentLoad:
    """Arrivals of the last hour, and the pace that would have done.

    Attributes:
        counts: ``(time, arrivals so far)`` pairs, one a bin, oldest first.
        pace_per_s: Messages a second; 0 while nothing is known.
        since_s: When the first was counted; None before it.
    """

    counts: tuple[tuple[float, float], ...] = ()
    pace_per_s: float = 0.0
    since_s: float | None = None

    def moved(self, by_s: float) -> "RecentLoad":
        """Return the same on a clock that jumped by ``by_s``."""
        if self.since_s is None:
            return self
        counts = tuple((at_s + by_s, count) for at_s, count in self.counts)
        return RecentLoad(counts, self.pace_per_s, self.since_s + by_s)


NO_LOAD: Final = RecentLoad()
"""Before the first count."""


def absorb(
    old: RecentLoad, *, at_s: float, count: float, wait_s: float, late: float
) -> RecentLoad:
    """Return the load after another count.

    Args:
        old: The load so far.
        at_s: Time of the count; one before the last starts over.
        count: Arrivals so far.
        wait_s: Wait that the objective allows.
        late: Share of the messages that may wait longer, (0, 1).
    """
    if not old.counts or at_s < old.counts[-1][0]:
        return RecentLoad(((at_s, count),), old.pace_per_s, at_s)
    if at_s - old.counts[-1][0] < BIN_S:
        return old
    counts = (*(point for point in old.counts if point[0] >= at_s - REACH_S), (at_s, count))
    pace = _slowest_pace(counts, old.pace_per_s, wait_s=WAIT_SHARE * wait_s, late=late)
    return RecentLoad(counts, pace, old.since_s)


def mean_per_s(load: RecentLoad) -> float:
    """Return the mean arrivals a second over the newest ``MEAN_S``; 0 while nothing is known."""
    if len(load.counts) < 2:
        return 0.0
    at_s, count = load.counts[-1]
    since_s, before = next(point for point in load.counts if point[0] >= at_s - MEAN_S)
    return max(0.0, count - before) / max(BIN_S, at_s - since_s)


def _slowest_pace(
    counts: Sequence[tuple[float, float]], guess: float, *, wait_s: float, late: float
) -> float:
    bins = [
        (at_s - since_s, count - before)
        for (since_s, before), (at_s, count) in itertools.pairwise(counts)
    ]
    allowed = late * sum(max(0.0, arrived) for _, arrived in bins)
    if allowed <= 0.0:
        return 0.0
    low, high = 0.0, max(guess, 1e-3)
    while _late(bins, high, wait_s) > allowed:
        low, high = high, 1.3 * high
    if not low and _late(bins, 0.75 * high, wait_s) > allowed:
        low = 0.75 * high
    for _ in range(STEPS):
        middle = (low + high) / 2
        if _late(bins, middle, wait_s) > allowed:
            low = middle
        else:
            high = middle
    return high


def _late(bins: Sequence[tuple[float, float]], pace: float, wait_s: float) -> float:
    """Return how many messages of ``(seconds, arrivals)`` would start later than ``wait_s``."""
    longest = pace * wait_s
    waiting = late = 0.0
    for length_s, arrived in bins:
        waiting += arrived - pace * length_s
        if waiting > longest:
            late += min(arrived, waiting - longest)
        elif waiting < 0.0:
            waiting = 0.0
    return late
