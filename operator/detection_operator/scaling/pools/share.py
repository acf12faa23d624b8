"""What a pool lets each queue run, as the allocation says it and as a decision sees it."""

import heapq
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from detection_operator.scaling.pools.demand import Demand
from detection_operator.spec.worker_pool import Sharing

TAKERS_MAX: Final = 3
"""Other queues that a share names; the rest is a sum."""


class PoolProblem(StrEnum):
    """Why a pool cannot say what a queue may run; reasons of the condition PoolAvailable."""

    NOT_FOUND = "PoolNotFound"
    INVALID = "PoolInvalid"
    CAPACITY_UNKNOWN = "CapacityUnknown"
    CAPACITY_TAKEN = "CapacityTaken"
    REPLICA_TOO_LARGE = "ReplicaTooLarge"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """A pool as the allocation sees it.

    Attributes:
        name: Its name.
        capacity: Units to share; None while unknown.
        sharing: How.
        problem: Why the capacity is unknown; None when it is known.
        why: The same in words for a message; may be empty.
    """

    name: str
    capacity: int | None
    sharing: Sharing = Sharing.PRIORITY
    problem: PoolProblem | None = None
    why: str = ""

    def is_too_small(self, units: int) -> bool:
        """Say whether it never has so many units for one replica. Without any it is just empty."""
        return 0 < (self.capacity or 0) < units


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What one queue may run.

    Attributes:
        share: Replicas that it is to have in the end.
        replicas: Most replicas that it may have now, besides what leaves in any case; less than
            its share while that or others still hold it, never more. What it holds above its share
            drains.
    """

    share: int
    replicas: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Allocation:
    """Who may run what.

    Attributes:
        pool: The pool.
        demands: What was asked for, by key, in the order of keys.
        grants: What was granted, by key.
        covered: The capacity covers every queue's floor and what pinned ones hold.
    """

    pool: Pool
    demands: Mapping[str, Demand]
    grants: Mapping[str, Grant]
    covered: bool = True

    @property
    def wanted(self) -> int:
        """Units that the queues want together, without replicas that can never fit."""
        return sum(
            demand.limit * demand.units_each
            for demand in self.demands.values()
            if not self.pool.is_too_small(demand.units_each)
        )

    @property
    def granted(self) -> int:
        """Units of all shares."""
        return sum(
            self.grants[key].share * demand.units_each for key, demand in self.demands.items()
        )

    @property
    def held(self) -> int:
        """Units that exist."""
        return sum(demand.held * demand.units_each for demand in self.demands.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Taker:
    """Another queue of the pool.

    Attributes:
        name: Its name.
        units: Units of its share.
        priority: Its priority.
    """

    name: str
    units: int
    priority: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolShare:
    """What a decision knows of its pool.

    Attributes:
        name: Name of the pool.
        capacity: Units to share; None while unknown.
        replicas: Most replicas that the queue may have now, besides what leaves in any case.
        share: Replicas that it is to have in the end.
        units_each: Units that one of its replicas takes.
        takers: Other queues by units, most first; at most ``TAKERS_MAX``.
        others: Units of all other queues together.
        problem: Why the pool cannot be followed as meant; None when it can.
        why: The same in words; may be empty.
    """

    name: str
    capacity: int | None
    replicas: int
    share: int
    units_each: int = 1
    takers: tuple[Taker, ...] = ()
    others: int = 0
    problem: PoolProblem | None = None
    why: str = ""


def share_of(allocation: Allocation, key: str) -> PoolShare:
    """Return what the queue of ``key`` is to know of the allocation.

    Raises:
        KeyError: The queue is no member.
    """
    pool, demand, grant = allocation.pool, allocation.demands[key], allocation.grants[key]
    takers = [
        Taker(name=name, units=units, priority=other.priority)
        for name, other in allocation.demands.items()
        if name != key and (units := allocation.grants[name].share * other.units_each)
    ]
    takers.sort(key=lambda taker: (-taker.units, taker.name))
    too_small = pool.is_too_small(demand.units_each)
    return PoolShare(
        name=pool.name,
        capacity=pool.capacity,
        replicas=grant.replicas,
        share=grant.share,
        units_each=demand.units_each,
        takers=tuple(takers[:TAKERS_MAX]),
        others=sum(taker.units for taker in takers),
        problem=PoolProblem.REPLICA_TOO_LARGE if too_small else pool.problem,
        why=pool.why,
    )


def most_takers(allocation: Allocation) -> tuple[tuple[str, ...], int]:
    """Return one name more than a share tells of, and the units of all shares."""
    units = {
        name: allocation.grants[name].share * demand.units_each
        for name, demand in allocation.demands.items()
    }
    most = heapq.nsmallest(TAKERS_MAX + 1, units, key=lambda name: (-units[name], name))
    return tuple(most), sum(units.values())


def share_beside(
    allocation: Allocation, name: str, takers: tuple[tuple[str, ...], int]
) -> PoolShare:
    """Return what one queue is to know, without a look at all of a thousand others."""
    names = {name, *takers[0]}
    some = replace(
        allocation,
        demands={key: allocation.demands[key] for key in names},
        grants={key: allocation.grants[key] for key in names},
    )
    share = share_of(some, name)
    return replace(share, others=takers[1] - share.share * share.units_each)
