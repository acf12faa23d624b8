"""What a clairvoyant would run: it knows every arrival, but its pods start cold like all others.

All work must be started after it arrives and before it is late. In the plane of time and work done
that is a tube; the shortest path through it (the taut string) does the work with the least change
of pace, hence the fewest cold starts, and without idling. Replicas are its slope, asked for a cold
start early; a gap shorter than a cold start is bridged, because a new start would cost more. Of
several such paths the cheapest is kept that meets the objective in the simulation. This is a
strong bound, not a proof of the optimum.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from detection_operator.simulation.policies import Fixed
from detection_operator.simulation.simulator import EPOCH_S, Run, Simulator, World
from detection_operator.simulation.workload import Workload

STEP_S: Final = 5.0
SLACKS: Final = (0.5, 0.7, 0.8, 0.9, 0.95, 1.0, 1.05, 1.1, 1.2)
"""Tube widths that are tried, as shares of the allowed wait."""
ROUNDINGS: Final = (0.0, 0.3, 0.5, 0.7, 0.999)
"""Shares of a replica that are rounded up."""


def best_run(
    workload: Workload, world: World, *, objective: float, max_replicas: int
) -> tuple[Run, tuple[int, ...]]:
    """Return the cheapest clairvoyant run that meets ``objective`` (0..1), and its replicas.

    When none meets it, the one that comes nearest.
    """
    best: tuple[tuple[bool, float], tuple[int, ...]] | None = None
    for slack in SLACKS:
        pace = _pace(workload, world.wait_s * slack, world.tail_s)
        for rounding in ROUNDINGS:
            plan = _replicas(pace, rounding, world.cold_start_s, max_replicas)
            run = _run(workload, world, plan, every_step=False)
            in_time, judged = in_time_of(run, world.wait_s)
            met = in_time / judged if judged else 1.0
            good = met >= objective
            key = (not good, run.replica_s if good else -met)
            if best is None or key < best[0]:
                best = (key, plan)
    if best is None:
        raise ValueError("no candidate")
    return _run(workload, world, best[1], every_step=True), best[1]


def _run(workload: Workload, world: World, plan: tuple[int, ...], *, every_step: bool) -> Run:
    """Run a schedule; only the samples differ with ``every_step``, and it takes longer."""
    policy = Fixed(plan, step_s=STEP_S, start_s=EPOCH_S, every_step=every_step)
    return Simulator(workload, replace(world, noise=0.0), policy).run()


def attainment(run: Run, wait_s: float) -> float:
    """Return the share of messages that started within ``wait_s``.

    Of those that are left at the end only late ones are judged: the others may yet be in time.

    Raises:
        ValueError: None was judged.
    """
    in_time, judged = in_time_of(run, wait_s)
    if not judged:
        raise ValueError("no message was judged")
    return in_time / judged


def in_time_of(run: Run, wait_s: float) -> tuple[int, int]:
    """Return how many messages started within ``wait_s``, and of how many that is known."""
    late = sum(wait > wait_s for wait in run.unserved_s)
    return sum(wait <= wait_s for wait in run.waits_s), len(run.waits_s) + late


def _pace(workload: Workload, wait_s: float, tail_s: float) -> list[float]:
    """Return worker seconds per second for each step."""
    times = workload.arrivals_s
    end_s = (times[-1] if times else 0.0) + tail_s
    steps = math.ceil(end_s / STEP_S) + 1
    upper = _cumulative(workload, steps, 0.0)
    lower = _cumulative(workload, steps, wait_s)
    path = taut_string(lower, upper)
    return [(b - a) / STEP_S for a, b in itertools.pairwise(path)]


def _cumulative(workload: Workload, steps: int, delay_s: float) -> list[float]:
    """Return the work that arrived until each step, ``delay_s`` ago."""
    totals: list[float] = []
    work = 0.0
    index = 0
    for step in range(steps):
        limit_s = step * STEP_S - delay_s
        while index < len(workload.arrivals_s) and workload.arrivals_s[index] <= limit_s:
            work += workload.services_s[index]
            index += 1
        totals.append(work)
    return totals


def taut_string(lower: Sequence[float], upper: Sequence[float]) -> list[float]:
    """Return the shortest path between ``lower`` and ``upper`` from lower[0] to lower[-1].

    By walking the funnel of still possible slopes; where it closes, the path turns at the wall
    that closed it. Both bounds are ascending and ``lower <= upper``.
    """
    last = len(lower) - 1
    path = [lower[0]]
    while len(path) <= last:
        path.extend(_straight(lower, upper, len(path) - 1, path[-1]))
    return path


def _straight(
    lower: Sequence[float], upper: Sequence[float], start: int, value: float
) -> list[float]:
    """Return the points of the next straight piece after ``start``."""
    last = len(lower) - 1
    low_slope, high_slope = -math.inf, math.inf
    low_at = high_at = start
    for index in range(start + 1, last + 1):
        floor = (lower[index] - value) / (index - start)
        ceiling = (upper[index] - value) / (index - start)
        if index == last:
            ceiling = floor
        if floor > high_slope:
            return _line(value, high_slope, high_at - start)
        if ceiling < low_slope:
            return _line(value, low_slope, low_at - start)
        if floor >= low_slope:
            low_slope, low_at = floor, index
        if ceiling <= high_slope:
            high_slope, high_at = ceiling, index
    return _line(value, low_slope, last - start)


def _line(value: float, slope: float, length: int) -> list[float]:
    return [value + slope * step for step in range(1, length + 1)]


def _replicas(
    pace: Sequence[float], rounding: float, cold_start_s: float, max_replicas: int
) -> tuple[int, ...]:
    """Return the replicas to ask for at each step; ``rounding`` of a replica is left out."""
    ahead = math.ceil(cold_start_s / STEP_S)
    whole = [min(max_replicas, math.ceil(item - rounding - 1e-9)) for item in pace]
    return tuple(max(whole[index : index + ahead + 1]) for index in range(len(whole)))
