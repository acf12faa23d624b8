"""Rules that say how many replicas the messages need; each may raise the number so far."""

import math
from typing import Final

from detection_operator.scaling.decision_input import DecisionInput
from detection_operator.scaling.estimates import learning
from detection_operator.scaling.estimates.arrivals import pace_of_late_per_s, recent_pace_per_s
from detection_operator.scaling.rules import queueing
from detection_operator.scaling.rules.terms import Term
from detection_operator.spec.scaling import IdlePolicy, Policy

TARGET_UTILISATION: Final = 0.97
"""Of the replicas under steady load. Close to 1, because minutes of waiting are allowed and smooth
the load; where they are not, the rule for the tail asks for more."""
RELEASE_UTILISATION: Final = 0.9
"""A replica goes only if the others would then be below this, so that noise moves nothing."""
SPREAD_S: Final = 120.0
"""Arrivals of about this time stand behind the rate."""
LAZY_COLD: Final = 0.5
"""In allowed waits: replicas that start within this come in time for messages that wait already,
so that nothing need be there for a rate. Half of the wait is left to work in."""
LAZY_UTILISATION: Final = 0.95
"""Of the replicas that stay then."""
LAZY_SERVICE: Final = 4.0
"""In service times: with shorter waits than this the unlucky need idle replicas all the same."""
RECENT_UTILISATION: Final = 0.9
"""Of the replicas that the bursts of the recent past would have needed. This and those above were
chosen on generated arrivals (``simulation.workload``): the cheapest near the best attainment.
"""
SETTLED_WINDOWS: Final = 8.0
"""After so many windows of samples the line of arrivals has forgotten what it started from."""


def _plans_ahead(inputs: DecisionInput) -> bool:
    """Say whether past arrivals count as demand."""
    return inputs.spec.scaling.policy is Policy.OBJECTIVE and not inputs.abandoned


def _foresees(inputs: DecisionInput) -> bool:
    """Say whether replicas must be there before their messages wait."""
    wait_s = inputs.spec.slo.queue_wait_s
    return inputs.cold_start_s > LAZY_COLD * wait_s or LAZY_SERVICE * inputs.mix.mean_s > wait_s


def steady(inputs: DecisionInput, replicas: int) -> Term | None:
    """Keep up with the arrivals, where those that wait could not be made good."""
    rate = inputs.rate_per_s
    if not rate or not _plans_ahead(inputs):
        return None
    if not _foresees(inputs):
        # Nothing grows for a rate, but what keeps up with it stays: no coming and going.
        need = min(inputs.present, _steady(inputs, rate, LAZY_UTILISATION))
        return Term("Steady", max(replicas, need), "steady", (rate, inputs.mix.mean_s))
    need = _steady(inputs, rate, TARGET_UTILISATION)
    if need < inputs.present:
        # Arrivals scatter as the root of their number: two standard deviations must fit too.
        spread = 1.0 + 2.0 / math.sqrt(max(1.0, rate * SPREAD_S))
        need = min(inputs.present, _steady(inputs, rate * spread, RELEASE_UTILISATION))
    return Term("Steady", max(replicas, need), "steady", (rate, inputs.mix.mean_s))


def young(inputs: DecisionInput, replicas: int) -> Term | None:
    """Keep those who are all busy with what arrives, while the estimate of the rate is young.

    After a restart of the operator, or a jump of its clock, it starts from nothing and errs low
    for minutes.
    """
    line, service = inputs.estimators.arrivals, inputs.spec.service_time
    if line is None or inputs.estimators.packed_since_s is None or not _plans_ahead(inputs):
        return None
    window_s = max(learning.ARRIVALS_WINDOW_S, float(service.cold_start_s))
    if line.samples * inputs.spec.queue.poll_interval_s >= SETTLED_WINDOWS * window_s:
        return None
    pace = pace_of_late_per_s(line, window_s) * (1.0 - inputs.poison)
    need = min(inputs.seen.busy + inputs.seen.silent, _steady(inputs, pace, LAZY_UTILISATION))
    return Term("Steady", need, "steady", (pace, inputs.mix.mean_s)) if need > replicas else None


def recent(inputs: DecisionInput, replicas: int) -> Term | None:
    """Have what the bursts of the last minutes would have needed: where some came, more come.

    On an empty queue only as long as the idle policy keeps a replica warm.
    """
    line = inputs.estimators.arrivals
    if line is None or not _plans_ahead(inputs):
        return None
    pace = recent_pace_per_s(line) * (1.0 - inputs.poison)
    # Fast starters can still make a burst good: they need little that is there before it.
    share = min(1.0, inputs.cold_start_s / inputs.spec.slo.queue_wait_s)
    kept = share * inputs.estimators.slo_feedback.factor / RECENT_UTILISATION
    need = queueing.ceil_replicas(pace * inputs.lane_s * kept)
    return Term("Recent", need, "recent", (pace,)) if need > replicas else None


def _steady(inputs: DecisionInput, rate_per_s: float, target: float) -> int:
    return queueing.steady_replicas(
        rate_per_s=rate_per_s,
        service_s=inputs.mix.mean_s,
        parallel=inputs.spec.service_time.messages_in_parallel,
        target=target,
    )


def tail(inputs: DecisionInput, replicas: int) -> Term | None:
    """Keep the unlucky within the objective too, where waits are short against service times."""
    rate = inputs.rate_per_s
    if not rate or not _plans_ahead(inputs) or not _foresees(inputs):
        return None
    slo = inputs.spec.slo
    need = queueing.tail_replicas(
        replicas,
        rate_per_s=rate,
        service_s=inputs.mix.mean_s,
        parallel=inputs.spec.service_time.messages_in_parallel,
        wait_s=slo.queue_wait_s,
        late=1.0 - slo.objective_percent / 100,
    )
    if need <= replicas:
        return None
    return Term("Tail", need, "tail", (slo.objective_percent, slo.queue_wait_s))


def drain(inputs: DecisionInput, replicas: int) -> Term | None:
    """Finish what waits before it is due."""
    line = inputs.estimators.arrivals
    if inputs.spec.scaling.policy is not Policy.OBJECTIVE or not inputs.waiting or line is None:
        return None
    wait_s = float(inputs.spec.slo.queue_wait_s)
    held = min(
        inputs.seen.in_flight, inputs.present * inputs.spec.service_time.messages_in_parallel
    )
    due = queueing.due_work(
        _shape(inputs, wait_s),
        waiting=inputs.waiting,
        gone=line.count - inputs.seen.visible,
        now_s=inputs.now_s,
        wait_s=wait_s,
    )
    need = queueing.drain_replicas(
        due,
        ready=inputs.seen.ready,
        starting=inputs.seen.starting,
        starting_in_s=inputs.starting_in_s,
        cold_start_s=inputs.cold_start_s,
        lane_s=inputs.lane_s,
        busy_s=held * inputs.lane_s / 2,
        rate_per_s=inputs.rate_per_s or 0.0,
        wait_s=wait_s,
    )
    facts = (inputs.seen.visible, inputs.waiting * inputs.mix.mean_s, inputs.spec.slo.queue_wait_s)
    return Term("Drain", max(replicas, queueing.ceil_replicas(need)), "drain", facts)


def _shape(inputs: DecisionInput, wait_s: float) -> tuple[tuple[float, float], ...]:
    """Return the past counts, none from before the queue was last seen empty."""
    line = inputs.estimators.arrivals
    since_s = inputs.estimators.depth_since_s
    if line is None or since_s is None:
        return ()
    first_s = max(since_s, inputs.now_s - wait_s)
    return tuple(point for point in line.shape if point[0] >= first_s)


def backlog(inputs: DecisionInput, replicas: int) -> Term | None:
    """Divide the messages by the user's number."""
    each = inputs.spec.scaling.backlog_per_replica
    if inputs.spec.scaling.policy is not Policy.BACKLOG or not each:
        return None
    messages = inputs.waiting + min(inputs.seen.in_flight, _lanes(inputs))
    need = queueing.ceil_replicas(messages / each)
    return Term("Backlog", max(replicas, need), "backlog", (round(messages), each))


def _lanes(inputs: DecisionInput) -> int:
    return inputs.present * inputs.spec.service_time.messages_in_parallel


def present(inputs: DecisionInput, replicas: int) -> Term | None:
    """Have one replica for whatever waits, poison too: somebody must carry it out."""
    if replicas or not inputs.seen.visible:
        return None
    return Term("Present", 1, "present", (inputs.seen.visible,))


def poison(inputs: DecisionInput, replicas: int) -> Term | None:
    """Say that failing messages were left out."""
    if not inputs.poison or not inputs.seen.visible:
        return None
    return Term("Poison", replicas, "poison", (inputs.poison,))


def activation(inputs: DecisionInput, replicas: int) -> Term | None:
    """Start the first replica only on confirmed messages."""
    if inputs.seen.replicas or not replicas:
        return None
    need = inputs.spec.scaling.activation
    if inputs.seen.visible < need.min_messages:
        return Term("Activation", 0, "below_activation", (inputs.seen.visible, need.min_messages))
    missing = need.confirm_samples - inputs.estimators.confirmed
    if missing <= 0:
        return None
    return Term("Activation", 0, "activation", (missing, inputs.seen.visible))


def headroom(inputs: DecisionInput, replicas: int) -> Term | None:
    """Add the spare replicas while there is work."""
    spare = inputs.spec.scaling.headroom_replicas
    if not spare or not replicas:
        return None
    return Term("Headroom", replicas + spare, "headroom", (spare,))


def occupied(inputs: DecisionInput, replicas: int) -> Term | None:
    """Keep one replica until nothing is left anywhere."""
    seen = inputs.seen
    anything = seen.in_flight or seen.delayed or seen.working or seen.silent
    if replicas or not seen.replicas or not anything or inputs.phantom:
        return None
    facts = (seen.in_flight, seen.delayed, seen.working, seen.silent)
    return Term("Occupied", 1, "occupied", facts)


def full(inputs: DecisionInput, replicas: int) -> Term | None:
    """Keep whoever works while so much waits that nobody would be idle: it costs no more."""
    seen, poll_s = inputs.seen, inputs.spec.queue.poll_interval_s
    held = seen.busy + seen.silent
    if replicas >= held or inputs.waiting * inputs.lane_s < poll_s * held:
        return None
    return Term("Full", held, "full", (seen.visible,))


def idle(inputs: DecisionInput, replicas: int) -> Term | None:
    """Keep one replica warm on an empty queue as long as the policy says."""
    since_s = inputs.estimators.idle_since_s
    # A replica that waits for a node is not warm, and no node should be started for it now.
    if replicas or not inputs.seen.paid or since_s is None or inputs.phantom:
        return None
    left_s = inputs.keep_s - (inputs.now_s - since_s)
    if left_s <= 0.0:
        return None
    policy = inputs.spec.scaling.idle.policy
    if policy is IdlePolicy.NEVER:
        return Term("Idle", 1, "idle_never")
    if policy is IdlePolicy.FIXED:
        return Term("Idle", 1, "idle_fixed", (left_s,))
    return Term("Idle", 1, "idle_keep", (left_s, inputs.cold_start_s))
