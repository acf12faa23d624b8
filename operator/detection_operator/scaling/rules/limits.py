"""Rules that bound the number: schedule, hold, rates, budget, room, busy work, min and max."""

import dataclasses
from typing import Final

from detection_operator.scaling.decision_input import DecisionInput
from detection_operator.scaling.estimates import cluster_capacity as capacity
from detection_operator.scaling.estimates import pod_starts as beginnings
from detection_operator.scaling.rules import schedules as schedule
from detection_operator.scaling.rules.terms import Term, duration
from detection_operator.spec.queue_spec import OnExceeded
from detection_operator.spec.scaling import FallbackBehavior

HOUR_S: Final = 3600.0


def scheduled(inputs: DecisionInput, replicas: int) -> Term | None:
    """Have what the schedule asks for at this time."""
    schedules = inputs.spec.scaling.schedules
    holding = schedule.active(schedules, inputs.now_s) if schedules else None
    if holding is None or holding.min_replicas <= replicas:
        return None
    return Term("Schedule", holding.min_replicas, "schedule", (holding.name,))


def least(inputs: DecisionInput, replicas: int) -> Term | None:
    """Have at least minReplicas."""
    low = inputs.spec.scaling.min_replicas
    return Term("Min", low, "min") if replicas < low else None


def hold(inputs: DecisionInput, replicas: int) -> Term | None:
    """Let a surplus last before it goes: the most that was needed within the hold stays."""
    hold_s = inputs.spec.scaling.scale_down.hold_s
    oldest_s = inputs.now_s - hold_s
    recent = next((count for at_s, count in inputs.history.needed if at_s >= oldest_s), 0)
    # What was needed but never granted is no reason to grow now.
    held = min(recent, inputs.seen.replicas)
    return Term("Hold", held, "hold", (hold_s,)) if held > replicas else None


def step_down(inputs: DecisionInput, replicas: int) -> Term | None:
    """Let at most a share of the replicas go within a minute, but always one."""
    window = inputs.estimators.down
    if window is None or replicas >= inputs.seen.replicas:
        return None
    percent = inputs.spec.scaling.scale_down.max_percent
    floor = window[1] - max(1, window[1] * percent // 100)
    if replicas >= floor:
        return None
    return Term("ScaleDown", min(floor, inputs.seen.replicas), "step_down", (percent,))


def step_up(inputs: DecisionInput, replicas: int) -> Term | None:
    """Let at most so many replicas join within a minute."""
    most = inputs.spec.scaling.scale_up.max_replicas_per_minute
    window = inputs.estimators.up
    if most is None or window is None or replicas <= inputs.seen.replicas:
        return None
    ceiling = max(window[1] + most, inputs.seen.replicas)
    return Term("ScaleUp", ceiling, "step_up", (most,)) if replicas > ceiling else None


def budget(inputs: DecisionInput, replicas: int) -> Term | None:
    """Stay within what may be spent; minReplicas are always paid."""
    limits = inputs.spec.budget
    if limits is None:
        return None
    price = float(limits.replica_hour_cost)
    caps: list[tuple[int, str, tuple[str | float, ...]]] = []
    if limits.max_per_hour is not None:
        facts = (str(limits.max_per_hour), str(limits.replica_hour_cost))
        caps.append((int(limits.max_per_hour // limits.replica_hour_cost), "budget_hour", facts))
    if limits.max_per_day is not None:
        left = max(0.0, float(limits.max_per_day) - spent_today(inputs))
        # The rest of the day gets what the next hour leaves: the last money is spent slower and
        # slower, a burst in the morning is not starved for the sake of the evening.
        caps.append((int(left / price), "budget_day", (left, str(limits.max_per_day))))
    ceiling, key, why = min(caps, key=lambda cap: cap[0])
    ceiling = max(ceiling, inputs.spec.scaling.min_replicas)
    if replicas <= ceiling:
        return None
    if limits.on_exceeded is OnExceeded.WARN:
        return Term("Budget", replicas, "budget_warn", (replicas, why[0]))
    return Term("Budget", ceiling, key, why)


def spent_today(inputs: DecisionInput) -> float:
    """Return what the replicas of this day cost so far; 0 without a price."""
    limits = inputs.spec.budget
    if limits is None:
        return 0.0
    return inputs.estimators.replica_s / HOUR_S * float(limits.replica_hour_cost)


def room(inputs: DecisionInput, replicas: int) -> Term | None:
    """Ask for no more pods than are asked for while these wait, and a probe now and then."""
    state = inputs.estimators.capacity
    ceiling = capacity.cap(state, inputs.seen)
    if ceiling is None or replicas <= ceiling or state.blocked_since_s is None:
        return None
    why = state.why or "no reason given"
    if state.added:
        return Term("Capacity", ceiling, "capacity_probe", (state.added, why))
    if inputs.seen.unschedulable:
        since = duration(inputs.now_s - state.blocked_since_s)
        facts = (inputs.seen.unschedulable, why, since)
        return Term("Capacity", ceiling, "capacity", facts)
    retry = duration((state.retry_at_s or inputs.now_s) - inputs.now_s)
    return Term("Capacity", ceiling, "capacity_backoff", (why, retry))


def starting(inputs: DecisionInput, replicas: int) -> Term | None:
    """Ask for no more pods than start, and a probe now and then, minReplicas or not."""
    state = inputs.estimators.pod_starts
    ceiling = beginnings.cap(state, inputs.seen, inputs.spec.capacity)
    if ceiling is None or replicas <= ceiling:
        return None
    why = state.why or "no reason given"
    if state.retry_at_s is None:
        return Term("Starts", ceiling, "starts_probe", (state.probe, why))
    retry = duration(state.retry_at_s - inputs.now_s)
    return Term("Starts", ceiling, "starts_backoff", (why, retry))


def busy(inputs: DecisionInput, replicas: int) -> Term | None:
    """Ask nobody who holds a message while others can go.

    Workers hold what they say they hold, one message or sixty. Those that are silent may hold
    some, and stay. Under steady traffic nobody is ever idle: then the surplus is asked while it
    works, finishes what it holds, and goes.
    """
    holding = inputs.seen.busy + inputs.seen.silent
    return _kept(
        inputs, replicas, holding if holding < inputs.seen.replicas else inputs.seen.silent
    )


def takers(inputs: DecisionInput, replicas: int) -> Term | None:
    """Apply ``busy`` to the workers that take messages: those that drain go already."""
    draining = inputs.seen.draining
    if not draining:
        return busy(inputs, replicas)
    staying = dataclasses.replace(inputs.seen, replicas=inputs.seen.replicas - draining)
    return busy(dataclasses.replace(inputs, seen=staying), replicas)


def lull(inputs: DecisionInput, replicas: int) -> Term | None:
    """Ask nobody who holds a message unless nobody would ever be idle by himself.

    That is: all have been busy for a whole hold, and more messages come. Where workers are idle
    now and then, those go, and all of them busy means that the load is more than was thought.
    What is asked for longer than the drain timeout gets SIGTERM: long jobs are left alone.
    """
    down, since_s = inputs.spec.scaling.scale_down, inputs.estimators.packed_since_s
    packed = since_s is not None and inputs.now_s - since_s >= down.hold_s
    if packed and inputs.fresh and inputs.flowing and inputs.mix.p90_s <= down.drain_timeout_s:
        return None
    return _kept(inputs, replicas, inputs.seen.busy + inputs.seen.silent)


def _kept(inputs: DecisionInput, replicas: int, holding: int) -> Term | None:
    floor = min(holding, inputs.seen.replicas)
    if replicas >= floor:
        return None
    return Term("Busy", floor, "busy", (inputs.seen.busy, inputs.seen.in_flight))


def bounds(inputs: DecisionInput, replicas: int) -> Term | None:
    """Stay between minReplicas and maxReplicas, whatever else was said."""
    low, high = inputs.spec.scaling.min_replicas, inputs.spec.scaling.max_replicas
    if replicas > high:
        return Term("Max", high, "max")
    return Term("Min", low, "min") if replicas < low else None


def unread(inputs: DecisionInput, replicas: int) -> Term | None:
    """Hold while the queue cannot be read; after a while do as the fallback says."""
    since_s = inputs.estimators.unread_since_s
    lost_s = 0.0 if since_s is None else inputs.now_s - since_s
    why = (str(inputs.seen.error or "stale"), duration(lost_s))
    wanted = inputs.spec.scaling.fallback
    current = inputs.seen.replicas
    if lost_s < wanted.after_s or wanted.behavior is FallbackBehavior.HOLD:
        return Term("Fallback", max(replicas, current), "unread", why)
    if wanted.behavior is FallbackBehavior.STATIC:
        return Term("Fallback", wanted.replicas or 0, "fallback_static", why)
    return Term("Fallback", max(current, wanted.replicas or 0), "fallback_at_least", why)
