"""Days with a burst at about the same time, and days that differ."""

import random
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from detection_operator.simulation.workload import LEAD_S, Workload, with_services

DAY_S: Final = 86_400.0
HOUR_S: Final = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """One day.

    Attributes:
        start_s: When its burst starts, in s since midnight UTC; None: it has none.
        length_s: How long the burst lasts.
        burst_per_s: Messages a second in the burst.
        rest_per_s: Messages a second in the rest of the day.
    """

    start_s: float | None = 9 * HOUR_S
    length_s: float = 3600.0
    burst_per_s: float = 2.0
    rest_per_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """How much one day differs from another.

    Attributes:
        start_s: Standard deviation of the burst's start.
        height: Standard deviation of its messages a second, relative.
    """

    start_s: float = 30.0
    height: float = 0.15


def workload(
    name: str, days: Iterable[Day], *, mean_s: float, spread: Spread | None = None, seed: int = 1
) -> Workload:
    """Return the arrivals of one day after the other; the first begins at midnight.

    Args:
        name: Name of the workload.
        days: The days.
        mean_s: Mean service time.
        spread: How much the days differ; None: as ``Spread()`` says.
        seed: Seed of all random numbers.
    """
    rng = random.Random(seed)  # noqa: S311 - a simulation, not a secret
    differ = Spread() if spread is None else spread
    arrivals: list[float] = []
    for index, day in enumerate(days):
        midnight_s = index * DAY_S
        arrivals += _steady(rng, midnight_s, midnight_s + DAY_S, day.rest_per_s)
        if day.start_s is not None:
            start_s = midnight_s + day.start_s + rng.gauss(0.0, differ.start_s)
            pace = day.burst_per_s * max(0.1, 1.0 + rng.gauss(0.0, differ.height))
            arrivals += _steady(rng, start_s, start_s + day.length_s, pace)
    # The first LEAD_S of any workload are quiet: clocks there start that much later.
    shifted = (at_s - LEAD_S for at_s in arrivals if at_s >= LEAD_S)
    return with_services(name, shifted, mean_s=mean_s, cv=0.5, seed=seed + 1)


def _steady(rng: random.Random, from_s: float, to_s: float, per_s: float) -> list[float]:
    """Return the times of a Poisson process."""
    times: list[float] = []
    at_s = from_s + rng.expovariate(per_s) if per_s else to_s
    while at_s < to_s:
        times.append(at_s)
        at_s += rng.expovariate(per_s)
    return times
