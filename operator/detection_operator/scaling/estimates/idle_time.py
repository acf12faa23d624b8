"""How long a warm replica on an empty queue costs less than the cold start that it saves.

Without knowledge of the future, keeping it exactly as long as a cold start costs is at most twice
as expensive as the best choice (ski rental). Idle times seen before sharpen the choice.
"""

from typing import Final

from detection_operator.spec.scaling import Idle, IdlePolicy

EDGES_S: Final = (15.0, 30.0, 60.0, 120.0, 240.0, 480.0, 960.0, 1920.0, 3840.0)
"""Upper edges of the histogram's bins; one more bin has no edge."""
MIN_GAPS: Final = 8.0
"""Fewer idle times say nothing about the next one."""
MEMORY: Final = 64.0
"""Idle times that count; older ones fade."""
DOUBT: Final = 0.25
"""Added to each bin: what was never seen can still happen."""
LATE_FACTOR: Final = 2.0
"""A cold start that alone breaks the objective counts this much more."""


def noted(gaps: tuple[float, ...], gap_s: float) -> tuple[float, ...]:
    """Return the histogram with one more idle time."""
    counts = list(gaps) or [0.0] * (len(EDGES_S) + 1)
    if sum(counts) >= MEMORY:
        counts = [count / 2 for count in counts]
    counts[_bin(gap_s)] += 1.0
    return tuple(counts)


def _bin(gap_s: float) -> int:
    return next((i for i, edge in enumerate(EDGES_S) if gap_s < edge), len(EDGES_S))


def keep_s(idle: Idle, *, gaps: tuple[float, ...], cold_start_s: float, wait_s: float) -> float:
    """Return the idle seconds after which the last replica goes; inf: never.

    Args:
        idle: The policy.
        gaps: Histogram of idle times; empty at first.
        cold_start_s: Cold start of a replica.
        wait_s: Allowed wait of a message.
    """
    if idle.policy is IdlePolicy.NEVER:
        return float("inf")
    if idle.policy is IdlePolicy.FIXED:
        return float(idle.fixed_s)
    cost_s = cold_start_s * (LATE_FACTOR if cold_start_s >= wait_s else 1.0)
    best_s = min(cost_s, float(idle.max_s))
    if sum(gaps) < MIN_GAPS:
        return best_s
    choices = [0.0, *(edge for edge in EDGES_S if edge <= idle.max_s)]
    return min(choices, key=lambda choice: _expected_cost_s(choice, gaps, cost_s))


def _expected_cost_s(choice_s: float, gaps: tuple[float, ...], cost_s: float) -> float:
    total = 0.0
    low_s = 0.0
    for index, count in enumerate(gaps):
        high_s = EDGES_S[index] if index < len(EDGES_S) else float("inf")
        survives = high_s <= choice_s
        total += (count + DOUBT) * ((low_s + high_s) / 2 if survives else choice_s + cost_s)
        low_s = high_s
    return total
