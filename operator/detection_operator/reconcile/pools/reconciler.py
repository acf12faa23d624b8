"""Reconcile one WorkerPool: read what there is to share, share it, and report it."""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from detection_operator.clock import Clock
from detection_operator.errors import NotFound
from detection_operator.kube.objects import is_going, key_of, seniority
from detection_operator.kube.port import Cluster, EventNote, Key, Object
from detection_operator.kube.store import POOL
from detection_operator.metrics import Metrics
from detection_operator.reconcile.act.steps import surge_of
from detection_operator.reconcile.observe.fleet import Group
from detection_operator.reconcile.pools.capacity import (
    READ_S,
    Capacity,
    CapacitySource,
    Elder,
    is_read,
    resource_of,
)
from detection_operator.reconcile.pools.ledger import Ledger, Party, Turn
from detection_operator.reconcile.pools.members import (
    left_over,
    pods_of,
    queues_of,
    standing,
    undecided,
)
from detection_operator.reconcile.pools.report import PoolReport, news, pool_status, timeless
from detection_operator.reconcile.report.transitions import transitions
from detection_operator.scaling.plan import Plan
from detection_operator.scaling.pool_demand import demand_of
from detection_operator.scaling.pools.allocate import allocate
from detection_operator.scaling.pools.demand import Demand
from detection_operator.scaling.pools.share import Allocation, Pool, PoolProblem, PoolShare
from detection_operator.spec.queue_spec import QueueSpec
from detection_operator.spec.validation import InvalidSpec
from detection_operator.spec.worker_pool import PoolSpec, parse_pool

STATUS_S: Final = 15.0
"""What changes all the time, such as what is wanted and held, is written this often."""
REST_S: Final = 300.0


@dataclass(slots=True)
class _State:
    """What is remembered of one pool. Losing it is safe."""

    uid: str
    source: CapacitySource = field(default_factory=CapacitySource)
    parsed: tuple[Any, PoolSpec] | None = None
    status: Mapping[str, Any] | None = None
    written_s: float | None = None
    unwritten: bool = False
    generation: int = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What was seen of a queue, and how a plan is made from it.

    Attributes:
        groups: Its Deployments.
        choose: Makes a plan with a share; None: without a pool.
        pinned: The plan will not be followed: another writer sets the replicas.
        now_s: The present, seconds since the epoch.
    """

    groups: Sequence[Group]
    choose: Callable[[PoolShare | None], Plan]
    pinned: bool
    now_s: float


@dataclass(slots=True)
class PoolReconciler:
    """Reconciles WorkerPools. The same key must not be reconciled twice at a time.

    Attributes:
        cluster: Kubernetes.
        clock: Wall and monotonic time.
        metrics: The operator's metrics.
        ledger: What the queues of each pool want.
    """

    cluster: Cluster
    clock: Clock
    metrics: Metrics
    ledger: Ledger
    _states: dict[Key, _State] = field(default_factory=dict)
    _lock: "threading.RLock" = field(default_factory=threading.RLock)

    def decide(self, queue: Object, spec: QueueSpec, look: Look) -> Turn:
        """Decide for one queue, with its share if it takes part in a pool.

        Args:
            queue: The DetectionQueue.
            spec: Its parsed spec.
            look: What was seen of it, and how a plan is made from that.
        """
        key, member = key_of(queue), spec.scaling.pool
        if member is None or not self.cluster.pools_served:
            self.ledger.leave(key)
            share = None if member is None else _unserved(member.name, spec)
            return Turn(share=share, plan=look.choose(share))
        pool = Key(key.namespace, member.name, POOL)
        self._know(pool, again=any(item.departing for item in look.groups))
        place, units = standing(look.groups, self._spec_of(pool))

        def demand(plan: Plan, granted: int) -> Demand:
            return demand_of(
                key.name,
                spec,
                plan,
                units_each=units,
                held=place.held,
                granted=granted,
                now_s=look.now_s,
                followed=not look.pinned,
            )

        def surge(plan: Plan) -> int:
            return surge_of(plan.desired) if any(not item.current for item in look.groups) else 0

        party = Party(pool=pool, standing=place, choose=look.choose, demand=demand, surge=surge)
        return self.ledger.decide(key, party)

    def hold(self, queue: Key) -> None:
        """Note that no plan is made for a queue, whose spec is invalid: it keeps what it holds."""
        self.ledger.hold(queue, None)

    def gone(self, queue: Key) -> None:
        """Note that a queue is gone: what its pods hold is free when they have ended."""
        if self.ledger.pool_of(queue) is not None:
            self.ledger.hold(queue, left_over(self.cluster, queue))

    def _know(self, key: Key, *, again: bool) -> None:
        """Read a pool before its first queue is decided: others may hold all of it.

        And ``again`` when workers are on nodes that are going: they no longer count, nor may their
        nodes, or each would be replaced by a pod without room.
        """
        with self._lock:
            if self.ledger.knows(key) and not (again and self._is_of_nodes(key)):
                return
            pool = self.cluster.pool(key)
            if pool is None or is_going(pool):
                self._forget(key)
            else:
                self._shared(key, pool, self._state(pool))

    def _is_of_nodes(self, key: Key) -> bool:
        spec = self._spec_of(key)
        return spec is not None and spec.capacity.from_nodes is not None

    def _spec_of(self, key: Key) -> PoolSpec | None:
        """Return the spec of a pool; None if there is none that can be followed."""
        pool = self.cluster.pool(key)
        try:
            return None if pool is None else _parsed(pool, self._state(pool))
        except InvalidSpec:
            return None

    def _state(self, pool: Object) -> _State:
        key, uid = key_of(pool, POOL), pool["metadata"]["uid"]
        state = self._states.get(key)
        if state is None or state.uid != uid:
            state = self._states[key] = _State(uid)
        return state

    def reconcile(self, key: Key) -> float | None:
        """Share the capacity of one pool and report it.

        Returns:
            Seconds until the next reconcile at the latest; None when the pool is gone.

        Raises:
            ClusterError: The API server refused or did not answer.
        """
        pool = self.cluster.pool(key)
        if pool is None:
            self._states.pop(key, None)
            self._forget(key)
            return None
        state = self._state(pool)
        if is_going(pool):
            self._write(key, pool, state, self._ending(key, pool))
            return REST_S
        with self._lock:
            shared = self._shared(key, pool, state)
        self._write(key, pool, state, shared)
        waiting_s = REST_S
        if state.parsed is not None and is_read(state.parsed[1]):
            waiting_s = READ_S
        if state.unwritten:
            waiting_s = min(waiting_s, STATUS_S)
        return waiting_s

    def _shared(self, key: Key, pool: Object, state: _State) -> PoolReport:
        """Share the capacity; return the report."""
        now_s, invalid = self.clock.monotonic_s(), None
        try:
            spec = _parsed(pool, state)
        except InvalidSpec as exc:
            spec, invalid, state.parsed = None, str(exc), None
        members = self._members(key, None if spec is None else resource_of(spec))
        if spec is None:
            what = Pool(
                name=key.name, capacity=None, problem=PoolProblem.INVALID, why=invalid or ""
            )
            capacity = Capacity(units=None, reason="NotReadYet", message="the spec is invalid")
        else:
            ours = self._existing(key, spec, members)
            capacity = state.source.read(
                self.cluster,
                key.namespace,
                spec,
                ours=ours,
                now_s=now_s,
                elders=self._elders(pool, spec),
            )
            unknown = capacity.units is None
            taken = capacity.reason == PoolProblem.CAPACITY_TAKEN
            problem = PoolProblem.CAPACITY_TAKEN if taken else PoolProblem.CAPACITY_UNKNOWN
            what = Pool(
                name=key.name,
                capacity=capacity.units,
                sharing=spec.sharing,
                problem=problem if unknown else None,
                why=capacity.message if unknown else "",
            )
        generation = int(pool["metadata"].get("generation", 0))
        edited, state.generation = generation != state.generation, generation
        return PoolReport(
            capacity=capacity,
            allocation=self.ledger.set_pool(key, what, members, edited=edited),
            generation=generation,
            now_s=self.clock.wall_s(),
            invalid=invalid,
        )

    def _elders(self, pool: Object, spec: PoolSpec) -> list[Elder]:
        """Return the older pools that may count the same, the oldest first."""
        if not is_read(spec):
            return []
        older = [item for item in self.cluster.pools() if seniority(item) < seniority(pool)]
        return [
            Elder(key.namespace, key.name, theirs)
            for item in sorted(older, key=seniority)
            if not is_going(item)
            and (theirs := self._spec_of(key := key_of(item, POOL))) is not None
        ]

    def _members(self, key: Key, resource: str | None) -> dict[str, Demand]:
        """Return what the queues of a pool hold, deleted ones with pods included."""
        found = {
            queue["metadata"]["name"]: undecided(self.cluster, queue, resource)
            for queue in queues_of(self.cluster, key)
        }
        for name, demand in self.ledger.demands(key).items():
            gone = Key(key.namespace, name)
            if name not in found and self.cluster.queue(gone) is None:
                held = left_over(self.cluster, gone)
                if held:
                    found[name] = replace(demand, held=held, wanted=held, pinned=True)
        return found

    def _existing(self, key: Key, spec: PoolSpec, members: Mapping[str, Demand]) -> int:
        """Return the units of pods that exist: a quota counts no others."""
        if spec.capacity.from_resource_quota is None:
            return 0
        return sum(
            pods_of(self.cluster, key.namespace, name) * demand.units_each
            for name, demand in members.items()
        )

    def _ending(self, key: Key, pool: Object) -> PoolReport:
        """Return the report of a pool that is being deleted and waits for its finalizers."""
        text = "the pool is being deleted, and for its queues it is gone"
        return PoolReport(
            capacity=Capacity(units=None, reason="Deleting", message=text),
            allocation=self._forget(key),
            generation=int(pool["metadata"].get("generation", 0)),
            now_s=self.clock.wall_s(),
        )

    def _forget(self, key: Key) -> Allocation:
        """Forget a pool that is gone; its queues hear of it. Return what they keep."""
        self.metrics.pools.forget(key.namespace, key.name)
        what = Pool(name=key.name, capacity=None, problem=PoolProblem.NOT_FOUND)
        members = self._members(key, None)
        if members:
            return self.ledger.set_pool(key, what, members)
        self.ledger.close(key)
        return allocate(what, ())

    def _write(self, key: Key, pool: Object, state: _State, report: PoolReport) -> None:
        """Write the status and post events, if there is news."""
        previous = state.status if state.status is not None else pool.get("status") or {}
        current = pool_status(report, previous)
        if not is_going(pool):
            self.metrics.pools.show(key.namespace, key.name, report.allocation, current)
        now_s = self.clock.monotonic_s()
        due = state.written_s is None or now_s - state.written_s >= STATUS_S
        differs = timeless(previous) != timeless(current)
        state.unwritten = differs
        if not differs or not (due or news(previous) != news(current)):
            return
        try:
            self.cluster.apply_status(key, current)
        except NotFound:
            return
        state.status, state.written_s, state.unwritten = current, now_s, False
        for event in transitions(previous, current):
            self.cluster.post_event(
                EventNote(
                    about=pool,
                    kind=POOL,
                    type=event.type,
                    reason=event.reason,
                    message=event.message,
                    now_s=report.now_s,
                )
            )


def _unserved(name: str, spec: QueueSpec) -> PoolShare:
    most = spec.scaling.max_replicas
    return PoolShare(
        name=name,
        capacity=None,
        replicas=most,
        share=most,
        problem=PoolProblem.NOT_FOUND,
        why="the operator cannot read WorkerPools, for lack of their CRD or of rights",
    )


def _parsed(pool: Object, state: _State) -> PoolSpec:
    raw = pool.get("spec") or {}
    if state.parsed is None or state.parsed[0] != raw:
        state.parsed = (raw, parse_pool(raw))
    return state.parsed[1]
