"""What a queue asks of its pool, from its newest decision."""

from detection_operator.scaling.plan import Plan
from detection_operator.scaling.pools.demand import Demand
from detection_operator.scaling.rules import schedules
from detection_operator.spec.queue_spec import QueueSpec
from detection_operator.spec.scaling import Mode


def demand_of(
    key: str,
    spec: QueueSpec,
    plan: Plan,
    *,
    units_each: int,
    held: int,
    granted: int,
    now_s: float,
    followed: bool = True,
) -> Demand:
    """Return the demand.

    Args:
        key: Name of the queue.
        spec: Its spec, with ``scaling.pool``.
        plan: Its newest decision.
        units_each: Units of the pool that one replica takes.
        held: Replicas that exist or that the Deployment asks for; terminating pods count. Of two
            queues with the same Deployment only the one that scales it holds anything.
        granted: Its share so far; where there was none, what runs without draining.
        now_s: The time of the decision.
        followed: The plan is followed; False where something else sets the replicas, too.

    Raises:
        ValueError: The spec names no pool.
    """
    member, estimates = spec.scaling.pool, plan.estimates
    if member is None:
        raise ValueError(f"{key} names no pool")
    followed = followed and plan.apply
    pinned = not (followed and estimates.fresh)
    wanted = (estimates.unpooled or 0) if followed else held
    parallel = spec.service_time.messages_in_parallel
    return Demand(
        key=key,
        wanted=wanted,
        # A plan below the minimum is one of pods that do not start or may not be asked for.
        fewest=min(wanted, _fewest(spec, wanted, now_s)) if followed else 0,
        guaranteed=member.guaranteed,
        priority=member.priority,
        weight=member.weight,
        borrow=member.borrow,
        units_each=units_each,
        held=held,
        granted=granted,
        pinned=pinned,
        startable=None if pinned else estimates.startable,
        work_s=0.0 if pinned else estimates.work_s / parallel,
        age_s=0.0 if pinned else estimates.age_s or 0.0,
        wait_s=float(spec.slo.queue_wait_s),
        cold_start_s=estimates.cold_start_s,
        load=(estimates.arrivals_per_s or 0.0) * estimates.service_s / parallel,
    )


def _fewest(spec: QueueSpec, wanted: int, now_s: float) -> int:
    """Return the minimum that holds now; in mode Manual the user's number is one."""
    if spec.scaling.mode is Mode.MANUAL:
        return wanted
    every = spec.scaling.schedules
    holding = schedules.active(every, now_s) if every else None
    return max(spec.scaling.min_replicas, 0 if holding is None else holding.min_replicas)
