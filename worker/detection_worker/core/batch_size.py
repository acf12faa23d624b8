"""How many units to put through a device together: from measured times and free memory."""

from collections.abc import Sequence
from dataclasses import dataclass

CPU_UNITS = 32
"""Most units of one forward pass on a CPU, where larger batches gain nothing."""
GPU_UNITS = 256
"""Most units of one forward pass on a GPU: more wait too long for each other."""
EFFICIENCY = 0.95
"""Share of a device's best rate at which a larger batch is no longer worth the wait for it."""
MEMORY_SHARE = 0.5
"""Share of the free memory that one batch may take: two are under way, and a library's choice of
kernels for another size may need more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PassCost:
    """Time of a forward pass: ``unit_s * n + fixed_s``.

    Attributes:
        unit_s: Seconds of one more unit, >= 0.
        fixed_s: Seconds of a pass whatever its size, >= 0.
    """

    unit_s: float
    fixed_s: float

    def seconds(self, units: int) -> float:
        """Return the time of a pass with so many units."""
        return self.unit_s * units + self.fixed_s


def fit_cost(times: Sequence[tuple[int, float]]) -> PassCost:
    """Return the line through measured passes: least squares, never falling, never below zero.

    Args:
        times: Units and seconds of each pass; one at least.

    Raises:
        ValueError: There is none.
    """
    if not times:
        raise ValueError("no pass was measured")
    mean_n = sum(n for n, _ in times) / len(times)
    mean_s = sum(s for _, s in times) / len(times)
    spread = sum((n - mean_n) ** 2 for n, _ in times)
    together = sum((n - mean_n) * (s - mean_s) for n, s in times)
    slope = max(0.0, together / spread) if spread else 0.0
    fixed = mean_s - slope * mean_n
    if fixed < 0:
        # Through the origin: no pass is faster than its units.
        return PassCost(
            unit_s=sum(n * s for n, s in times) / sum(n * n for n, _ in times), fixed_s=0.0
        )
    return PassCost(unit_s=slope, fixed_s=fixed)


def efficient_units(cost: PassCost, *, most: int, efficiency: float = EFFICIENCY) -> int:
    """Return the fewest units at which a device does ``efficiency`` of its best rate.

    The rate of passes with n units is ``n / (a n + b)``, the best one ``1 / a``.

    Args:
        cost: a and b.
        most: Bound of the result, >= 1.
        efficiency: Between 0 and 1.
    """
    if cost.fixed_s <= 0:
        return 1
    wanted = efficiency / (1 - efficiency) * cost.fixed_s
    return most if wanted >= most * cost.unit_s else max(1, -int(-wanted // cost.unit_s))


def units_in_memory(*, free_bytes: int, unit_bytes: int, most: int) -> int:
    """Return how many units of one pass fit into a device's free memory, >= 1.

    Args:
        free_bytes: What is free before the pass.
        unit_bytes: What one unit takes with everything computed from it, >= 0.
        most: Bound of the result, >= 1.
    """
    if unit_bytes <= 0:
        return most
    return max(1, min(most, int(free_bytes * MEMORY_SHARE) // unit_bytes))


def halved(units: int) -> int:
    """Return the size of the next pass after one of ``units`` found no memory, >= 1."""
    return max(1, units // 2)


def buckets(most: int) -> tuple[int, ...]:
    """Return the sizes of batches up to ``most`` that are prepared for, ascending.

    Powers of two, and ``most`` itself: what a batch is filled up with is less than the batch.
    """
    sizes = [1]
    while sizes[-1] * 2 < most:
        sizes.append(sizes[-1] * 2)
    return tuple(sizes) if most == 1 else (*sizes, most)


def bucket_of(units: int, sizes: Sequence[int]) -> int | None:
    """Return the smallest of ascending ``sizes`` that holds ``units``; None if none does."""
    return next((size for size in sizes if size >= units), None)


def is_gain(plain_s: float, other_s: float, *, least: float = 0.05) -> bool:
    """Return whether another way is faster by the share ``least``, more than chance gives."""
    return other_s <= plain_s * (1 - least)
