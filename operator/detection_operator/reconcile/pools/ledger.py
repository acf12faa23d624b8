"""The last demand of every queue in a pool, and what follows from all of them together.

A decision takes its share and leaves its demand in one step, so that two threads never give the
same unit away twice. What a plan may be writing counts as held until the queue is observed again.
"""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from detection_operator.kube.port import Key
from detection_operator.scaling.plan import Plan
from detection_operator.scaling.pools.allocate import allocate
from detection_operator.scaling.pools.claims import needed
from detection_operator.scaling.pools.demand import Demand
from detection_operator.scaling.pools.share import (
    Allocation,
    Grant,
    Pool,
    PoolProblem,
    PoolShare,
    most_takers,
    share_beside,
)

SMALL: Final = 50
"""A pool of so many queues is shared again with every change of a demand."""
PER_MEMBER_S: Final = 0.0005
"""In larger ones this many seconds for each queue pass between two allocations."""
WAKES_PER_S: Final = 200.0
"""Queues whose shares change together are reconciled at this rate."""
TELL_S: Final = 1.0
"""A pool's status waits this long for further changes."""
Wake = Callable[[Key, float], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What is observed of a queue's replicas.

    Attributes:
        running: Replicas that its Deployments ask for, without those whose node goes.
        held: Those that exist or are asked for, with draining and terminating ones.
        beside: Some more are on nodes that go, which are no capacity, so that they hold none.
    """

    running: int
    held: int
    beside: bool = False

    @property
    def leaving(self) -> int:
        """Replicas that terminate or go with their node: they take room and never come back."""
        return max(0, self.held - self.running)

    def of(self, demand: Demand) -> Demand:
        """Return the demand of a queue that has these replicas."""
        return replace(demand, held=self.held, leaving=self.leaving)


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What one queue decided with its pool.

    Attributes:
        share: Its share; None without a pool.
        plan: The plan that was made with it.
        most: Replicas that there may be at a time, with the surge of a roll-out; None: no limit.
        lasting: Replicas that there are to be once what goes is gone; None without a pool.
    """

    share: PoolShare | None
    plan: Plan
    most: int | None = None
    lasting: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Party:
    """A queue that takes part in a pool.

    Attributes:
        pool: Key of the WorkerPool.
        standing: Its replicas.
        choose: Makes a plan with a share.
        demand: Returns what a plan asks of the pool, given the share so far.
        surge: Returns the replicas that a roll-out would add to a plan.
    """

    pool: Key
    standing: Standing
    choose: Callable[[PoolShare], Plan]
    demand: Callable[[Plan, int], Demand]
    surge: Callable[[Plan], int] = lambda _plan: 0


@dataclass(slots=True)
class _Book:
    """One pool.

    Attributes:
        pool: What there is to share.
        demands: The last one of each queue, by name.
        absent: Queues without a decision in this process; they keep what they hold.
        told: What each queue was told last.
        allocation: Who may run what.
        settled: The one of which every queue has heard.
        takers: Names of those that have most by it, and the units of all shares.
        at_s: When that was found, monotonic.
        dirty: A demand has changed since then.
        stale: It must not be used any more.
    """

    pool: Pool
    demands: dict[str, Demand] = field(default_factory=dict)
    absent: set[str] = field(default_factory=set)
    told: dict[str, Grant] = field(default_factory=dict)
    allocation: Allocation | None = None
    settled: Allocation | None = None
    takers: tuple[tuple[str, ...], int] = ((), 0)
    at_s: float = float("-inf")
    dirty: bool = False
    stale: bool = True


class Ledger:
    """Demands and grants of all pools. Safe to use from several threads.

    Args:
        monotonic_s: A clock.

    Attributes:
        wake: Called with the key of a DetectionQueue whose share has changed or of a WorkerPool
            whose status has, and the seconds that this may wait.
    """

    def __init__(self, monotonic_s: Callable[[], float]) -> None:
        self._monotonic_s = monotonic_s
        self._lock = threading.RLock()
        self._books: dict[Key, _Book] = {}
        self._pool_of: dict[Key, Key] = {}
        self.wake: Wake = lambda _key, _after_s: None

    def decide(self, queue: Key, party: Party) -> Turn:
        """Decide for one queue with its share of its pool.

        Args:
            queue: Key of the DetectionQueue.
            party: What it holds and wants.
        """
        with self._lock:
            book = self._join(party.pool, queue)
            name, standing = queue.name, party.standing
            known = book.demands.get(name)
            first = known is None or name in book.absent
            known = known or Demand(key=name, wanted=standing.held, pinned=True)
            self._put(book, standing.of(known))
            share = self._share(book, name)
            plan = party.choose(share)
            granted = standing.running if first else share.share
            wanted = standing.of(party.demand(plan, granted))
            if not first:
                wanted = replace(wanted, needed_before=needed(known))
            book.absent.discard(name)
            self._put(book, wanted)
            newer = self._share(book, name)
            if newer != share:
                share, plan = newer, party.choose(newer)
            most = self._most(book, wanted, party, plan)
            if plan.apply:
                # It may be writing this: nobody else gets these units meanwhile.
                self._put(book, replace(wanted, held=max(wanted.held, most + standing.leaving)))
            concerned = self._settle(party.pool, book, but=name)
        self._wake(concerned)
        lasting = wanted.wanted if standing.beside else min(wanted.wanted, share.share)
        return Turn(share=share, plan=plan, most=most, lasting=lasting)

    @staticmethod
    def _most(book: _Book, wanted: Demand, party: Party, plan: Plan) -> int:
        """Return the replicas of a plan, with the surge of a roll-out if nobody has the room."""
        surge = party.surge(plan) if plan.apply else 0
        if not surge or book.pool.capacity is None:
            return plan.desired
        others = sum(d.held * d.units_each for d in book.demands.values() if d.key != wanted.key)
        room = (book.pool.capacity - others) // wanted.units_each - party.standing.leaving
        return max(plan.desired, min(plan.desired + surge, room))

    def set_pool(
        self, key: Key, pool: Pool, members: Mapping[str, Demand], *, edited: bool = False
    ) -> Allocation:
        """Take in what there is to share and who takes part; return who may run what.

        Args:
            key: Key of the WorkerPool.
            pool: What there is to share.
            members: Every queue that names the pool, and every one whose pods have not ended yet:
                what it holds. Counts only until its first decision.
            edited: The spec of the pool has changed: every queue is decided again.
        """
        with self._lock:
            book = self._books.setdefault(key, _Book(pool))
            book.stale |= book.dirty or book.pool != pool
            if pool.capacity is None and book.pool.capacity is not None:
                self._keep_what_exists(book)
            book.pool = pool
            if edited:
                book.told.clear()
                book.settled = None
            for name in book.demands.keys() - members.keys():
                self._drop(book, key, name)
            for name, demand in members.items():
                if name not in book.demands or name in book.absent:
                    book.absent.add(name)
                    self._put(book, demand)
            allocation = self._allocation(book)
            concerned = self._settle(key, book, but="")
        self._wake(concerned)
        return allocation

    def _keep_what_exists(self, book: _Book) -> None:
        """Void the rest of shares for which others had to drain first: it may never be free."""
        for demand in list(book.demands.values()):
            self._put(book, replace(demand, granted=min(demand.granted, demand.held)))

    def close(self, key: Key) -> None:
        """Forget a pool that is gone and has no queues."""
        with self._lock:
            book = self._books.pop(key, None)
            for name in list(book.demands) if book is not None else ():
                self._pool_of.pop(Key(key.namespace, name), None)

    def hold(self, queue: Key, held: int | None) -> None:
        """Note that no plan is made for a queue: it keeps what it holds, until nothing is left.

        Args:
            queue: Key of a DetectionQueue that is gone, or whose spec is invalid.
            held: Replicas that still exist; None: as many as before.
        """
        with self._lock:
            pool = self._pool_of.get(queue)
            book = self._books.get(pool) if pool is not None else None
            if pool is None or book is None or queue.name not in book.demands:
                return
            known = book.demands[queue.name]
            if held == 0:
                self._drop(book, pool, queue.name)
            else:
                left = known.held if held is None else held
                kept = replace(known, held=left, leaving=0, wanted=left, pinned=True)
                self._put(book, kept)
            concerned = self._settle(pool, book, but=queue.name)
        self._wake(concerned)

    def leave(self, queue: Key) -> None:
        """Forget a queue without a pool."""
        self.hold(queue, 0)

    def demands(self, pool: Key) -> dict[str, Demand]:
        """Return the demands of a pool, by the names of the queues."""
        with self._lock:
            book = self._books.get(pool)
            return {} if book is None else dict(book.demands)

    def allocation(self, pool: Key) -> Allocation | None:
        """Return who may run what of a pool; None before anybody takes part."""
        with self._lock:
            book = self._books.get(pool)
            return None if book is None else self._allocation(book)

    def knows(self, pool: Key) -> bool:
        """Say whether it was told of a pool."""
        return pool in self._books

    def pool_of(self, queue: Key) -> Key | None:
        """Return the pool that a queue takes part in, as far as known."""
        return self._pool_of.get(queue)

    def _join(self, pool: Key, queue: Key) -> _Book:
        before = self._pool_of.get(queue)
        if before is not None and before != pool:
            self.leave(queue)
        self._pool_of[queue] = pool
        if pool not in self._books:
            gone = Pool(name=pool.name, capacity=None, problem=PoolProblem.NOT_FOUND)
            self._books[pool] = _Book(gone)
        return self._books[pool]

    def _drop(self, book: _Book, pool: Key, name: str) -> None:
        book.demands.pop(name, None)
        book.told.pop(name, None)
        book.absent.discard(name)
        book.stale = True
        queue = Key(pool.namespace, name)
        if self._pool_of.get(queue) == pool:
            del self._pool_of[queue]

    def _put(self, book: _Book, demand: Demand) -> None:
        before = book.demands.get(demand.key)
        if before == demand:
            return
        book.demands[demand.key] = demand
        book.dirty = True
        # The allocation of a moment ago is still safe: its grants fit into the capacity together.
        book.stale |= before is None

    def _allocation(self, book: _Book) -> Allocation:
        waited_s = self._monotonic_s() - book.at_s
        members = len(book.demands)
        rested = members <= SMALL or waited_s >= members * PER_MEMBER_S
        if book.allocation is None or book.stale or (book.dirty and rested):
            book.allocation = allocate(book.pool, book.demands.values())
            book.at_s, book.stale, book.dirty = self._monotonic_s(), False, False
            book.takers = most_takers(book.allocation)
        return book.allocation

    def _share(self, book: _Book, name: str) -> PoolShare:
        allocation = self._allocation(book)
        book.told[name] = allocation.grants[name]
        return share_beside(allocation, name, book.takers)

    def _settle(self, pool: Key, book: _Book, *, but: str) -> dict[Key, float]:
        """Return what must be reconciled: queues whose grant has changed, and the pool."""
        allocation = self._allocation(book)
        if allocation is book.settled:
            # In a large pool the next allocation waits for more changes.
            return {pool: TELL_S} if book.dirty else {}
        book.settled = allocation
        changed = [
            name
            for name, grant in allocation.grants.items()
            if name != but and name not in book.absent and book.told.get(name) != grant
        ]
        book.told.update((name, allocation.grants[name]) for name in changed)
        waits = {
            Key(pool.namespace, name): place / WAKES_PER_S for place, name in enumerate(changed)
        }
        return {pool: TELL_S, **waits}

    def _wake(self, concerned: Mapping[Key, float]) -> None:
        for key, after_s in concerned.items():
            self.wake(key, after_s)
