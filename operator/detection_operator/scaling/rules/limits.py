"""Rules that bound the number: schedule, hold, rates, budget, capacity, busy work, min and max."""

from typing import Final

from detection_contract.user_messages import counted
from detection_operator.scaling.decision_input import DecisionInput
from detection_operator.scaling.estimates import cluster_capacity as capacity
from detection_operator.scaling.estimates import learning, pod_starts
from detection_operator.scaling.rules import schedules
from detection_operator.scaling.rules.terms import Fact, Rule, Term, duration, say
from detection_operator.spec.queue_spec import Budget, OnExceeded
from detection_operator.spec.scaling import FallbackBehavior

HOUR_S: Final = 3600.0
FEW: Final = 10
"""So many replicas at least are what ``scaleDown.maxPercent`` is a percentage of: one after the
other, the last few would take minutes and save nothing that a new start would not bring back."""
_MIN: Final = "minReplicas is {replicas}"
_MAX: Final = "maxReplicas is {replicas}"
_UNREAD: Final = "queue not read ({error}) for {lost}: "


def paused_or_manual(inputs: DecisionInput) -> Term:
    """Return the number that the user set: what runs when paused, else ``spec.replicas``."""
    current, high = inputs.seen.existing, inputs.spec.scaling.max_replicas
    if inputs.spec.paused:
        return say(Rule.PAUSED, current, "paused at {replicas}")
    wanted = current if inputs.spec.replicas is None else inputs.spec.replicas
    if wanted > high:
        sentence = "Manual: spec.replicas is {wanted}, capped at maxReplicas {replicas}"
        return say(Rule.MANUAL, high, sentence, wanted=wanted)
    return say(Rule.MANUAL, wanted, "Manual: spec.replicas is {replicas}")


def scheduled_minimum(inputs: DecisionInput, replicas: int) -> Term | None:
    """Have at least the minimum of the schedule that holds at this time."""
    every = inputs.spec.scaling.schedules
    holding = schedules.active(every, inputs.now_s) if every else None
    if holding is None or holding.min_replicas <= replicas:
        return None
    sentence = "schedule {name} sets a minimum of {replicas}"
    return say(Rule.SCHEDULED_MINIMUM, holding.min_replicas, sentence, name=holding.name)


def at_least_min(inputs: DecisionInput, replicas: int) -> Term | None:
    """Have at least minReplicas."""
    low = inputs.spec.scaling.min_replicas
    return say(Rule.MIN_REPLICAS, low, _MIN) if replicas < low else None


def hold_surplus(inputs: DecisionInput, replicas: int) -> Term | None:
    """Let a surplus last before it goes: the most that was needed within the hold stays."""
    oldest_s = inputs.now_s - inputs.hold_s
    needed_s, recent = next(
        (item for item in inputs.history.needed if item[0] >= oldest_s), (oldest_s, 0)
    )
    # What was needed but never granted is no reason to grow now.
    held = min(recent, inputs.seen.replicas)
    if held <= replicas:
        return None
    return say(
        Rule.HOLD_SURPLUS,
        held,
        "held at {replicas} for {left_s:.0f} s: "
        "scale-in waits until the surplus has lasted {hold_s:.0f} s",
        left_s=needed_s - oldest_s,
        hold_s=inputs.hold_s,
    )


def limit_scale_in_rate(inputs: DecisionInput, replicas: int) -> Term | None:
    """Let at most a share of the replicas go within a minute, the last few of them together."""
    window = inputs.estimators.down
    if window is None or replicas >= inputs.seen.replicas:
        return None
    percent = inputs.spec.scaling.scale_down.max_percent
    floor = window[1] - max(1, max(window[1], FEW) * percent // 100)
    if replicas >= floor:
        return None
    return say(
        Rule.LIMIT_SCALE_IN_RATE,
        min(floor, inputs.seen.replicas),
        "down to {replicas} for {left_s:.0f} s: scale-in is limited to {percent} % a minute",
        left_s=max(0.0, window[0] + learning.MINUTE_S - inputs.now_s),
        percent=percent,
    )


def limit_scale_out_rate(inputs: DecisionInput, replicas: int) -> Term | None:
    """Add at most ``scaleUp.maxReplicasPerMinute``."""
    most = inputs.spec.scaling.scale_up.max_replicas_per_minute
    window = inputs.estimators.up
    if most is None or window is None or replicas <= inputs.seen.replicas:
        return None
    ceiling = max(window[1] + most, inputs.seen.replicas)
    if replicas <= ceiling:
        return None
    sentence = "up to {replicas} for now: scale-out is limited to {most} a minute"
    return say(Rule.LIMIT_SCALE_OUT_RATE, ceiling, sentence, most=most)


def within_budget(inputs: DecisionInput, replicas: int) -> Term | None:
    """Stay within what may be spent; minReplicas are always paid."""
    budget = inputs.spec.budget
    if budget is None:
        return None
    affordable, reason, facts = min(_affordable(inputs, budget), key=lambda limit: limit[0])
    ceiling = max(affordable, inputs.spec.scaling.min_replicas)
    if replicas <= ceiling:
        return None
    if budget.on_exceeded is OnExceeded.WARN:
        sentence = f"{{replicas}} exceed the budget ({reason}), which only warns"
        return say(Rule.WITHIN_BUDGET, replicas, sentence, **facts)
    return say(Rule.WITHIN_BUDGET, ceiling, f"capped at {{replicas}}: {reason}", **facts)


def _affordable(inputs: DecisionInput, budget: Budget) -> list[tuple[int, str, dict[str, Fact]]]:
    """Return the replicas that each limit of the budget pays for, and the reason to show."""
    limits: list[tuple[int, str, dict[str, Fact]]] = []
    price = budget.replica_hour_cost
    if budget.max_per_hour is not None:
        facts: dict[str, Fact] = {"hourly": str(budget.max_per_hour), "price": str(price)}
        replicas = int(budget.max_per_hour // price)
        limits.append((replicas, "{hourly} an hour at {price} per replica", facts))
    if budget.max_per_day is not None:
        left = max(0.0, float(budget.max_per_day) - spent_today(inputs))
        # The rest of the day gets what the next hour leaves: the last money is spent slower and
        # slower, a burst in the morning is not starved for the sake of the evening.
        facts = {"left": left, "daily": str(budget.max_per_day)}
        limits.append((int(left / float(price)), "{left:.2f} of {daily} left today", facts))
    return limits


def spent_today(inputs: DecisionInput) -> float:
    """Return what the replicas of this day cost so far; 0 without a price."""
    budget = inputs.spec.budget
    if budget is None:
        return 0.0
    return inputs.estimators.replica_s / HOUR_S * float(budget.replica_hour_cost)


def cluster_capacity(inputs: DecisionInput, replicas: int) -> Term | None:
    """Ask for no more pods while some are unschedulable, but for a probe now and then."""
    state = inputs.estimators.capacity
    ceiling = capacity.cap(state, inputs.seen)
    if ceiling is None or replicas <= ceiling or state.blocked_since_s is None:
        return None
    rule, why = Rule.CLUSTER_CAPACITY, state.why or "no reason given"
    if state.added:
        sentence = "capped at {replicas}: trying {added} more, the cluster was full ({why})"
        return say(rule, ceiling, sentence, added=state.added, why=why)
    if inputs.seen.unschedulable:
        blocked = duration(inputs.now_s - state.blocked_since_s)
        sentence = "capped at {replicas}: {pods} unschedulable ({why}) for {blocked}"
        pods = counted(inputs.seen.unschedulable, "pod")
        return say(rule, ceiling, sentence, pods=pods, why=why, blocked=blocked)
    retry = duration((state.retry_at_s or inputs.now_s) - inputs.now_s)
    sentence = "capped at {replicas}: the cluster is full ({why}), next try in {retry}"
    return say(rule, ceiling, sentence, why=why, retry=retry)


def starting_pods(inputs: DecisionInput, replicas: int) -> Term | None:
    """Ask for no more pods than start, but for a probe now and then, minReplicas or not."""
    state = inputs.estimators.pod_starts
    ceiling = pod_starts.cap(state, inputs.seen, inputs.spec.capacity)
    if ceiling is None or replicas <= ceiling:
        return None
    why = state.why or "no reason given"
    if state.retry_at_s is None:
        sentence = "capped at {replicas}: trying {added} more after pods did not start ({why})"
        return say(Rule.POD_STARTS, ceiling, sentence, added=state.probe, why=why)
    retry = duration(state.retry_at_s - inputs.now_s)
    sentence = "capped at {replicas}: pods do not start ({why}), next try in {retry}"
    return say(Rule.POD_STARTS, ceiling, sentence, why=why, retry=retry)


def taken_by_server(inputs: DecisionInput, replicas: int) -> Term | None:
    """Ask for no more than the API server takes, but for a few more now and then."""
    refusal = inputs.seen.refusal
    if refusal is None or refusal.most is None or replicas <= refusal.most:
        return None
    rule, why = Rule.TAKEN_BY_SERVER, refusal.why
    if refusal.retry_in_s is None:
        sentence = "capped at {replicas}: trying if the API server takes so many now ({why})"
        return say(rule, refusal.most, sentence, why=why)
    sentence = "capped at {replicas}: the API server refuses more ({why}), next try in {retry}"
    return say(rule, refusal.most, sentence, why=why, retry=duration(refusal.retry_in_s))


def not_below_busy(inputs: DecisionInput, replicas: int) -> Term | None:
    """Drain no worker that holds a message while idle ones can go.

    Workers hold what they report, one message or sixty. Those that do not report may hold some,
    and stay. Under steady traffic no worker is ever idle: then the surplus drains while it works.
    Workers that drain already are left out: they go in any case.
    """
    seen = inputs.seen
    staying = seen.replicas - seen.draining
    holding = seen.busy + seen.silent
    return _kept(inputs, replicas, staying, holding if holding < staying else seen.silent)


def drain_busy_only_if_never_idle(inputs: DecisionInput, replicas: int) -> Term | None:
    """Drain no worker that holds a message unless no worker would ever be idle.

    That is: all have been busy for a whole hold, and more messages come. Where workers are idle
    now and then, those go, and all of them busy means that the load is more than was thought.
    What drains longer than the drain timeout gets SIGTERM: long jobs are left alone.
    """
    down, since_s = inputs.spec.scaling.scale_down, inputs.estimators.packed_since_s
    packed = since_s is not None and inputs.now_s - since_s >= inputs.hold_s
    if packed and inputs.fresh and inputs.flowing and inputs.mix.p90_s <= down.drain_timeout_s:
        return None
    seen = inputs.seen
    return _kept(inputs, replicas, seen.replicas, seen.busy + seen.silent)


def _kept(inputs: DecisionInput, replicas: int, staying: int, holding: int) -> Term | None:
    floor = min(holding, staying)
    if replicas >= floor:
        return None
    busy, in_flight = inputs.seen.busy, inputs.seen.in_flight
    sentence = "{replicas} kept: {busy} busy, {in_flight} in flight"
    return say(
        Rule.NOT_BELOW_BUSY, floor, sentence, busy=busy, in_flight=counted(in_flight, "message")
    )


def within_bounds(inputs: DecisionInput, replicas: int) -> Term | None:
    """Stay between minReplicas and maxReplicas, whatever the rules before said."""
    low, high = inputs.spec.scaling.min_replicas, inputs.spec.scaling.max_replicas
    if replicas > high:
        return say(Rule.MAX_REPLICAS, high, _MAX)
    return say(Rule.MIN_REPLICAS, low, _MIN) if replicas < low else None


def fall_back(inputs: DecisionInput, replicas: int) -> Term | None:
    """Keep what runs while the queue cannot be read; after a while follow the fallback."""
    since_s = inputs.estimators.unread_since_s
    lost_s = 0.0 if since_s is None else inputs.now_s - since_s
    fallback, current = inputs.spec.scaling.fallback, inputs.settled_replicas
    minimum = fallback.replicas or 0
    if lost_s < fallback.after_s or fallback.behavior is FallbackBehavior.HOLD:
        number, sentence = max(replicas, current), "keeping {replicas}"
    elif fallback.behavior is FallbackBehavior.STATIC:
        number, sentence = minimum, "fallback.replicas is {replicas}"
    else:
        number, sentence = max(current, minimum), "at least {replicas}"
    error = str(inputs.seen.error or "stale")
    return say(Rule.FALL_BACK, number, _UNREAD + sentence, error=error, lost=duration(lost_s))
