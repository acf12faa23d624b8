"""What a queue asks of its pool, from its newest decision."""

from detection_operator.scaling.observation import Observation
from detection_operator.scaling.plan import Plan
from detection_operator.scaling.pools.demand import Demand
from detection_operator.scaling.rules import schedules
from detection_operator.spec.queue_spec import QueueSpec
from detection_operator.spec.scaling import Mode


def demand_of(
    key: str,
    spec: QueueSpec,
    seen: Observation,
    plan: Plan,
    *,
    units_each: int,
    held: int,
    now_s: float,
    applied: bool = True,
) -> Demand:
    """Return the demand.

    Args:
        key: Name of the queue.
        spec: Its spec, with ``scaling.pool``.
        seen: The observation of its newest decision.
        plan: That decision.
        units_each: Units of the pool that one replica takes.
        held: Replicas that exist or that the Deployment asks for; terminating pods count. Of two
            queues with the same Deployment only the one that scales it holds anything.
        now_s: The time of the decision.
        applied: Plans are applied; False where something else sets the replicas, too.

    Raises:
        ValueError: The spec names no pool.
    """
    member, estimates = spec.scaling.pool, plan.estimates
    if member is None:
        raise ValueError(f"{key} names no pool")
    applied = applied and plan.apply
    pinned = not (applied and estimates.fresh)
    wanted = (estimates.unpooled or 0) if applied else held
    share = None if seen.pool is None or seen.pool.problem is not None else seen.pool
    parallel = spec.service_time.messages_in_parallel
    return Demand(
        key=key,
        wanted=wanted,
        fewest=_fewest(spec, wanted, now_s) if applied else 0,
        guaranteed=member.guaranteed,
        priority=member.priority,
        weight=member.weight,
        borrow=member.borrow,
        units_each=units_each,
        held=held,
        granted=max(0, seen.replicas - seen.draining) if share is None else share.share,
        pinned=pinned,
        work_s=0.0 if pinned else estimates.work_s / parallel,
        age_s=0.0 if pinned else estimates.age_s or 0.0,
        wait_s=float(spec.slo.queue_wait_s),
        cold_start_s=estimates.cold_start_s,
        load=(estimates.arrivals_per_s or 0.0) * estimates.service_s / parallel,
    )


def unknown_demand(key: str, spec: QueueSpec, *, units_each: int, held: int) -> Demand:
    """Return the demand of a queue without a decision so far: it keeps what it holds.

    Raises:
        ValueError: The spec names no pool.
    """
    member = spec.scaling.pool
    if member is None:
        raise ValueError(f"{key} names no pool")
    return Demand(
        key=key,
        wanted=held,
        guaranteed=member.guaranteed,
        priority=member.priority,
        weight=member.weight,
        borrow=member.borrow,
        units_each=units_each,
        held=held,
        granted=held,
        pinned=True,
    )


def _fewest(spec: QueueSpec, wanted: int, now_s: float) -> int:
    """Return the minimum that holds now; in mode Manual the user's number is one."""
    if spec.scaling.mode is Mode.MANUAL:
        return wanted
    every = spec.scaling.schedules
    holding = schedules.active(every, now_s) if every else None
    return max(spec.scaling.min_replicas, 0 if holding is None else holding.min_replicas)
