"""Several queues on the same nodes, with a pool that divides them, or without.

Each queue is a ``Simulator`` on one clock. Pods take units of the nodes; those that find none wait
for the next that are free, the oldest first, as under a scheduler.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from detection_operator.scaling.decision import decide
from detection_operator.scaling.memory import Memory
from detection_operator.scaling.observation import Observation
from detection_operator.scaling.plan import Plan
from detection_operator.scaling.pool_demand import demand_of
from detection_operator.scaling.pools.allocate import allocate
from detection_operator.scaling.pools.claims import needed
from detection_operator.scaling.pools.demand import Demand
from detection_operator.scaling.pools.share import Allocation, Pool, PoolShare, share_of
from detection_operator.simulation.parts import Event, Pod
from detection_operator.simulation.policies import Ours
from detection_operator.simulation.simulator import EPOCH_S, Policy, Run, Simulator, World
from detection_operator.simulation.workload import Workload
from detection_operator.spec.queue_spec import QueueSpec

ROUNDS: Final = 10
"""Most times that grants are computed again at one time. Each round drains or starts pods, so that
it ends by itself; this bounds the cost of a mistake."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A queue of a pool.

    Attributes:
        name: Its name.
        spec: Its spec.
        workload: What happens to it; ``no_room`` is ignored, because the nodes are simulated.
        world: What no policy can influence.
        units_each: Units of the nodes that one replica takes.
    """

    name: str
    spec: QueueSpec
    workload: Workload
    world: World
    units_each: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolRun:
    """Result of one run of several queues.

    Attributes:
        runs: By name of the queue.
        most_held: Most units that pods with a node took at one time.
        most_asked: The same with pods that waited for a node.
    """

    runs: Mapping[str, Run]
    most_held: int
    most_asked: int


class _Nodes:
    """The units that all queues run on."""

    def __init__(self, units: int) -> None:
        self.units = units
        self.queues: list[_Queue] = []
        self.held = 0
        self.most_held = 0
        self.most_asked = 0

    def place(self, now_s: float) -> None:
        """Give free units to the pods that wait, the oldest first; the first in line blocks."""
        waiting = [
            (pod.created_s, number, queue, pod)
            for number, queue in enumerate(self.queues)
            for pod in queue.homeless()
        ]
        waiting.sort(key=lambda item: item[:2])
        asked = sum(queue.pods * queue.units_each for queue in self.queues)
        self.most_asked = max(self.most_asked, asked)
        for _, _, queue, pod in waiting:
            if self.held + queue.units_each > self.units:
                break
            self.held += queue.units_each
            queue.start(pod, now_s)
        self.most_held = max(self.most_held, self.held)

    def free(self, units: int, now_s: float) -> None:
        """Take back the units of a pod that is gone."""
        self.held -= units
        self.place(now_s)


class _Queue(Simulator):
    """One queue on nodes that it shares."""

    def __init__(self, member: Member, policy: Policy, nodes: _Nodes) -> None:
        super().__init__(member.workload, member.world, policy)
        self.units_each = member.units_each
        self._nodes = nodes
        nodes.queues.append(self)

    @property
    def pods(self) -> int:
        """Pods that exist, with or without a node."""
        return len(self._pods)

    def homeless(self) -> list[Pod]:
        """Return the pods that wait for a node."""
        return [pod for pod in self._pods if pod.placed_s is None]

    def start(self, pod: Pod, now_s: float) -> None:
        """Start a pod on a node."""
        pod.placed_s = now_s
        self._at(now_s + self._world.cold_start_s, Event.READY, pod)

    def reconcile(self, now_s: float) -> None:
        """Decide again, between two readings of the queue."""
        desired, _ = self._policy.choose(self._observe(now_s), EPOCH_S + now_s)
        self._desired = desired
        self._scale(desired, now_s)

    def _place(self, now_s: float) -> None:
        self._nodes.place(now_s)

    def _remove(self, pod: Pod, now_s: float) -> None:
        super()._remove(pod, now_s)
        if pod.placed_s is not None:
            self._nodes.free(self.units_each, now_s)


class _Ledger:
    """The newest demand of each queue, and what the pool grants them, as in the operator."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._demands: dict[str, Demand] = {}
        self._followed: dict[str, PoolShare] = {}
        self.queues: dict[str, _Queue] = {}
        self.changed = False

    def share(self, name: str) -> PoolShare | None:
        """Return what a queue may run now; None before its first demand."""
        return share_of(self._allocation(), name) if name in self._demands else None

    def note(self, demand: Demand, share: PoolShare | None) -> None:
        """Take down the demand of a queue, and the share that its decision followed."""
        if share is not None:
            self._followed[demand.key] = share
        known = self._demands.get(demand.key)
        before = None if known is None else needed(known)
        self._demands[demand.key] = replace(demand, needed_before=before)
        self.changed = True

    def settle(self, now_s: float) -> None:
        """Let the queues decide again whose grants have changed."""
        for _ in range(ROUNDS):
            if not self.changed:
                return
            self.changed = False
            for name, queue in self.queues.items():
                share, followed = self.share(name), self._followed.get(name)
                if share is not None and followed is not None and _differ(share, followed):
                    queue.reconcile(now_s)

    def _allocation(self) -> Allocation:
        return allocate(
            self._pool,
            [
                replace(demand, held=self.queues[name].pods)
                for name, demand in self._demands.items()
            ],
        )


def _differ(share: PoolShare, followed: PoolShare) -> bool:
    return (share.replicas, share.share) != (followed.replicas, followed.share)


class _Pooled:
    """This operator's decision within what the pool grants, and the demand that it makes."""

    drains = True

    def __init__(self, member: Member, ledger: _Ledger) -> None:
        self._member = member
        self._ledger = ledger
        self._memory = Memory()

    def choose(self, seen: Observation, now_s: float) -> tuple[int, float]:
        """Return the replicas and the poll interval, and tell the ledger the demand.

        A demand that changes the queue's own grant is decided again at once.
        """
        plan = self._decided(seen, now_s)
        plan = self._decided(seen, now_s)
        self._memory = plan.memory
        return plan.desired, plan.next_poll_s

    def _decided(self, seen: Observation, now_s: float) -> Plan:
        member = self._member
        share = self._ledger.share(member.name)
        seen = replace(seen, pool=share)
        plan = decide(member.spec, seen, self._memory, now_s)
        demand = demand_of(
            member.name,
            member.spec,
            plan,
            units_each=member.units_each,
            held=seen.replicas,
            granted=seen.replicas - seen.draining if share is None else share.share,
            now_s=now_s,
        )
        self._ledger.note(demand, share)
        return plan


def run_pool(members: Sequence[Member], pool: Pool) -> PoolRun:
    """Run the queues in a pool whose capacity is what the nodes have.

    Raises:
        ValueError: The capacity is unknown.
    """
    if pool.capacity is None:
        raise ValueError("the capacity is unknown")
    ledger, nodes = _Ledger(pool), _Nodes(pool.capacity)
    for member in members:
        ledger.queues[member.name] = _Queue(member, _Pooled(member, ledger), nodes)
    return _run(ledger.queues, nodes, ledger)


def run_alone(members: Sequence[Member], units: int, most: Mapping[str, int]) -> PoolRun:
    """Run the queues on the same nodes, each within a maximum of its own and without a pool.

    Args:
        members: The queues.
        units: Units that the nodes have.
        most: maxReplicas by name, in place of the spec's. Where they add up to more than the nodes
            have, the first pod that comes is the first that runs.
    """
    nodes = _Nodes(units)
    queues = {
        member.name: _Queue(member, Ours(_bounded(member.spec, most[member.name])), nodes)
        for member in members
    }
    return _run(queues, nodes, None)


def shares_of_load(members: Sequence[Member], units: int) -> dict[str, int]:
    """Return maxima that divide the units by the queues' loads, known beforehand; at least 1.

    Rounded to the largest remainders, so that nothing is left over.
    """
    loads = {
        member.name: sum(member.workload.services_s) * member.units_each for member in members
    }
    total = sum(loads.values()) or 1.0
    exact = {
        member.name: units * loads[member.name] / total / member.units_each for member in members
    }
    most = {name: max(1, int(value)) for name, value in exact.items()}
    by_remainder = sorted(members, key=lambda member: most[member.name] - exact[member.name])
    for member in by_remainder:
        used = sum(most[other.name] * other.units_each for other in members)
        if used + member.units_each <= units:
            most[member.name] += 1
    return most


def without_pool(spec: QueueSpec) -> QueueSpec:
    """Return a spec that names no pool, for a simulation of one queue alone."""
    return replace(spec, scaling=replace(spec.scaling, pool=None))


def _bounded(spec: QueueSpec, most: int) -> QueueSpec:
    low = min(spec.scaling.min_replicas, most)
    scaling = replace(spec.scaling, pool=None, min_replicas=low, max_replicas=most)
    return replace(spec, scaling=scaling)


def _run(queues: Mapping[str, _Queue], nodes: _Nodes, ledger: _Ledger | None) -> PoolRun:
    end_s = max((queue.begin() for queue in queues.values()), default=0.0)
    while (now_s := min((queue.next_s for queue in queues.values()), default=end_s)) < end_s:
        for queue in queues.values():
            before = queue.pods
            queue.advance(now_s)
            if ledger is not None and queue.pods != before:
                ledger.changed = True
        if ledger is not None:
            ledger.settle(now_s)
    return PoolRun(
        runs={name: queue.finish(end_s) for name, queue in queues.items()},
        most_held=nodes.most_held,
        most_asked=nodes.most_asked,
    )
