"""Who may run what: the capacity of a pool divided between the demands of its queues.

In this order: what pinned queues hold, the guarantees, the minimums, and then what is left, by
priority, by urgency and by weight; pods that do not start take only what nobody else can use.
Everything is derived from the arguments; what a queue was granted so far decides only where two
claims are equal.
"""

import heapq
import itertools
from collections.abc import Callable, Iterable, Sequence

from detection_operator.scaling.pools.claims import Claim, by_urgency, by_weight
from detection_operator.scaling.pools.demand import Demand
from detection_operator.scaling.pools.share import Allocation, Grant, Pool, PoolProblem
from detection_operator.spec.worker_pool import Sharing

_Most = Callable[[Demand], int]


def allocate(pool: Pool, demands: Iterable[Demand]) -> Allocation:
    """Return what each queue may run; the same for the same demands in any order.

    Args:
        pool: What there is to share.
        demands: One of each queue.

    Returns:
        Shares that together are within the capacity. A share is never above what a queue wants,
        nor above its guarantee when it may not borrow. No queue is left short while units for one
        more of its replicas are free. ``Grant.replicas`` rises only into units that are really
        free, so that what exists stays within the capacity unless that fell.

        With an unknown capacity each queue may keep what it holds or was granted, and have its
        guarantee and its minimum, at least one replica. With one that counts for an older pool
        each may keep what it holds or was granted.

    Raises:
        ValueError: Two demands have the same key.
    """
    ordered = sorted(demands, key=lambda demand: demand.key)
    by_key = {demand.key: demand for demand in ordered}
    if len(by_key) < len(ordered):
        raise ValueError("two demands have the same key")
    if pool.capacity is None:
        taken = pool.problem is PoolProblem.CAPACITY_TAKEN
        grants = {key: _ungoverned(demand, taken=taken) for key, demand in by_key.items()}
        return Allocation(pool=pool, demands=by_key, grants=grants)
    levels = _levels(ordered, pool.sharing)
    claim = by_urgency if pool.sharing is Sharing.PRIORITY else by_weight
    shares = dict.fromkeys(by_key, 0)
    pinned = [[demand for demand in level if demand.pinned] for level in levels]
    left = _fill(pinned, shares, pool.capacity, most=lambda d: d.held, claim=by_weight)
    _fill_in_turn(levels, shares, left, most=lambda d: d.limit, claim=claim)
    covered = all(shares[demand.key] >= demand.floor for demand in ordered)
    # What leaves is replaced only from what is free, until it is gone.
    now = {d.key: min(max(0, d.held - d.leaving), shares[d.key]) for d in ordered}
    free = pool.capacity - sum(demand.held * demand.units_each for demand in ordered)
    _fill_in_turn(levels, now, free, most=lambda d: shares[d.key], claim=claim)
    grants = {key: Grant(share=shares[key], replicas=now[key]) for key in by_key}
    return Allocation(pool=pool, demands=by_key, grants=grants, covered=covered)


def _fill_in_turn(
    levels: Sequence[Sequence[Demand]],
    given: dict[str, int],
    left: int,
    *,
    most: _Most,
    claim: Claim,
) -> None:
    """Add to ``given`` up to ``most``: first all guarantees, then all minimums, then the rest.

    Pods that do not start come last.
    """
    left = _fill(levels, given, left, most=lambda d: min(d.guarantee, most(d)), claim=by_weight)
    left = _fill(levels, given, left, most=lambda d: min(d.floor, most(d)), claim=by_weight)
    left = _fill(levels, given, left, most=lambda d: min(d.usable, most(d)), claim=claim)
    _fill(levels, given, left, most=most, claim=claim)


def unallocated(demand: Demand) -> int:
    """Return what a queue may run while its pool is not there or its capacity is unknown.

    It keeps working: with what it has, its guarantee and its minimum, at least one replica.
    """
    return max(_kept(demand), min(demand.limit, max(demand.floor, 1)))


def _kept(demand: Demand) -> int:
    """Return what a queue has; what a roll-out or a node has removed from that is replaced."""
    return min(demand.limit, max(demand.held, demand.granted))


def _ungoverned(demand: Demand, *, taken: bool) -> Grant:
    most = _kept(demand) if taken else unallocated(demand)
    staying = demand.held - demand.leaving
    return Grant(share=most, replicas=max(0, most - demand.leaving, min(most, staying)))


def _levels(demands: Sequence[Demand], sharing: Sharing) -> list[list[Demand]]:
    """Return the demands by priority, the highest first; under Fair all are of one priority."""
    if sharing is Sharing.FAIR:
        return [list(demands)]
    falling = sorted(demands, key=lambda demand: -demand.priority)
    return [list(level) for _, level in itertools.groupby(falling, lambda d: d.priority)]


def _fill(
    levels: Iterable[Sequence[Demand]],
    given: dict[str, int],
    left: int,
    *,
    most: _Most,
    claim: Claim,
) -> int:
    """Add to ``given``, level by level, one replica at a time to the strongest claim.

    Returns:
        Units that are left. Claims fall, so that this is the same as to raise the water in all
        demands of a level at once.
    """

    def entry(demand: Demand) -> tuple[bool, float, bool, int, str, Demand]:
        nth = given[demand.key] + 1
        urgent, value = claim(demand, nth)
        return (not urgent, -value, nth > demand.granted, -demand.weight, demand.key, demand)

    for level in levels:
        heap = [entry(demand) for demand in level]
        heapq.heapify(heap)
        while heap:
            demand = heap[0][-1]
            if given[demand.key] >= most(demand) or demand.units_each > left:
                heapq.heappop(heap)
                continue
            given[demand.key] += 1
            left -= demand.units_each
            heapq.heapreplace(heap, entry(demand))
    return left
