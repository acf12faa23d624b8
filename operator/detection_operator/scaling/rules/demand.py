"""Rules that say how many replicas the messages need; each may raise the number so far."""

import math
from typing import Final

from detection_operator.scaling.decision_input import Situation
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


def _plans_ahead(now: Situation) -> bool:
    """Say whether past arrivals count as demand."""
    return now.spec.scaling.policy is Policy.OBJECTIVE and not now.abandoned


def _foresees(now: Situation) -> bool:
    """Say whether replicas must be there before their messages wait."""
    wait_s = now.spec.slo.queue_wait_s
    return now.cold_start_s > LAZY_COLD * wait_s or LAZY_SERVICE * now.mix.mean_s > wait_s


def steady(now: Situation, replicas: int) -> Term | None:
    """Keep up with the arrivals, where those that wait could not be made good."""
    rate = now.rate_per_s
    if not rate or not _plans_ahead(now):
        return None
    if not _foresees(now):
        # Nothing grows for a rate, but what keeps up with it stays: no coming and going.
        need = min(now.present, _steady(now, rate, LAZY_UTILISATION))
        return Term("Steady", max(replicas, need), "steady", (rate, now.mix.mean_s))
    need = _steady(now, rate, TARGET_UTILISATION)
    if need < now.present:
        # Arrivals scatter as the root of their number: two standard deviations must fit too.
        spread = 1.0 + 2.0 / math.sqrt(max(1.0, rate * SPREAD_S))
        need = min(now.present, _steady(now, rate * spread, RELEASE_UTILISATION))
    return Term("Steady", max(replicas, need), "steady", (rate, now.mix.mean_s))


def young(now: Situation, replicas: int) -> Term | None:
    """Keep those who are all busy with what arrives, while the estimate of the rate is young.

    After a restart of the operator, or a jump of its clock, it starts from nothing and errs low
    for minutes.
    """
    line, service = now.learned.arrivals, now.spec.service_time
    if line is None or now.learned.packed_since_s is None or not _plans_ahead(now):
        return None
    window_s = max(learning.ARRIVALS_WINDOW_S, float(service.cold_start_s))
    if line.samples * now.spec.queue.poll_interval_s >= SETTLED_WINDOWS * window_s:
        return None
    pace = pace_of_late_per_s(line, window_s) * (1.0 - now.poison)
    need = min(now.seen.busy + now.seen.silent, _steady(now, pace, LAZY_UTILISATION))
    return Term("Steady", need, "steady", (pace, now.mix.mean_s)) if need > replicas else None


def recent(now: Situation, replicas: int) -> Term | None:
    """Have what the bursts of the last minutes would have needed: where some came, more come.

    On an empty queue only as long as the idle policy keeps a replica warm.
    """
    line = now.learned.arrivals
    if line is None or not _plans_ahead(now):
        return None
    pace = recent_pace_per_s(line) * (1.0 - now.poison)
    # Fast starters can still make a burst good: they need little that is there before it.
    share = min(1.0, now.cold_start_s / now.spec.slo.queue_wait_s)
    kept = share * now.learned.caution.factor / RECENT_UTILISATION
    need = queueing.ceil_replicas(pace * now.lane_s * kept)
    return Term("Recent", need, "recent", (pace,)) if need > replicas else None


def _steady(now: Situation, rate_per_s: float, target: float) -> int:
    return queueing.steady_replicas(
        rate_per_s=rate_per_s,
        service_s=now.mix.mean_s,
        parallel=now.spec.service_time.messages_in_parallel,
        target=target,
    )


def tail(now: Situation, replicas: int) -> Term | None:
    """Keep the unlucky within the objective too, where waits are short against service times."""
    rate = now.rate_per_s
    if not rate or not _plans_ahead(now) or not _foresees(now):
        return None
    slo = now.spec.slo
    need = queueing.tail_replicas(
        replicas,
        rate_per_s=rate,
        service_s=now.mix.mean_s,
        parallel=now.spec.service_time.messages_in_parallel,
        wait_s=slo.queue_wait_s,
        late=1.0 - slo.objective_percent / 100,
    )
    if need <= replicas:
        return None
    return Term("Tail", need, "tail", (slo.objective_percent, slo.queue_wait_s))


def drain(now: Situation, replicas: int) -> Term | None:
    """Finish what waits before it is due."""
    line = now.learned.arrivals
    if now.spec.scaling.policy is not Policy.OBJECTIVE or not now.waiting or line is None:
        return None
    wait_s = float(now.spec.slo.queue_wait_s)
    held = min(now.seen.in_flight, now.present * now.spec.service_time.messages_in_parallel)
    due = queueing.due_work(
        _shape(now, wait_s),
        waiting=now.waiting,
        gone=line.count - now.seen.visible,
        now_s=now.now_s,
        wait_s=wait_s,
    )
    need = queueing.drain_replicas(
        due,
        ready=now.seen.ready,
        starting=now.seen.starting,
        starting_in_s=now.starting_in_s,
        cold_start_s=now.cold_start_s,
        lane_s=now.lane_s,
        busy_s=held * now.lane_s / 2,
        rate_per_s=now.rate_per_s or 0.0,
        wait_s=wait_s,
    )
    facts = (now.seen.visible, now.waiting * now.mix.mean_s, now.spec.slo.queue_wait_s)
    return Term("Drain", max(replicas, queueing.ceil_replicas(need)), "drain", facts)


def _shape(now: Situation, wait_s: float) -> tuple[tuple[float, float], ...]:
    """Return the past counts, none from before the queue was last seen empty."""
    line = now.learned.arrivals
    since_s = now.learned.depth_since_s
    if line is None or since_s is None:
        return ()
    first_s = max(since_s, now.now_s - wait_s)
    return tuple(point for point in line.shape if point[0] >= first_s)


def backlog(now: Situation, replicas: int) -> Term | None:
    """Divide the messages by the user's number."""
    each = now.spec.scaling.backlog_per_replica
    if now.spec.scaling.policy is not Policy.BACKLOG or not each:
        return None
    messages = now.waiting + min(now.seen.in_flight, _lanes(now))
    need = queueing.ceil_replicas(messages / each)
    return Term("Backlog", max(replicas, need), "backlog", (round(messages), each))


def _lanes(now: Situation) -> int:
    return now.present * now.spec.service_time.messages_in_parallel


def present(now: Situation, replicas: int) -> Term | None:
    """Have one replica for whatever waits, poison too: somebody must carry it out."""
    if replicas or not now.seen.visible:
        return None
    return Term("Present", 1, "present", (now.seen.visible,))


def poison(now: Situation, replicas: int) -> Term | None:
    """Say that failing messages were left out."""
    if not now.poison or not now.seen.visible:
        return None
    return Term("Poison", replicas, "poison", (now.poison,))


def activation(now: Situation, replicas: int) -> Term | None:
    """Start the first replica only on confirmed messages."""
    if now.seen.replicas or not replicas:
        return None
    need = now.spec.scaling.activation
    if now.seen.visible < need.min_messages:
        return Term("Activation", 0, "below_activation", (now.seen.visible, need.min_messages))
    missing = need.confirm_samples - now.learned.confirmed
    if missing <= 0:
        return None
    return Term("Activation", 0, "activation", (missing, now.seen.visible))


def headroom(now: Situation, replicas: int) -> Term | None:
    """Add the spare replicas while there is work."""
    spare = now.spec.scaling.headroom_replicas
    if not spare or not replicas:
        return None
    return Term("Headroom", replicas + spare, "headroom", (spare,))


def occupied(now: Situation, replicas: int) -> Term | None:
    """Keep one replica until nothing is left anywhere."""
    seen = now.seen
    anything = seen.in_flight or seen.delayed or seen.working or seen.silent
    if replicas or not seen.replicas or not anything or now.phantom:
        return None
    facts = (seen.in_flight, seen.delayed, seen.working, seen.silent)
    return Term("Occupied", 1, "occupied", facts)


def full(now: Situation, replicas: int) -> Term | None:
    """Keep whoever works while so much waits that nobody would be idle: it costs no more."""
    seen, poll_s = now.seen, now.spec.queue.poll_interval_s
    held = seen.busy + seen.silent
    if replicas >= held or now.waiting * now.lane_s < poll_s * held:
        return None
    return Term("Full", held, "full", (seen.visible,))


def idle(now: Situation, replicas: int) -> Term | None:
    """Keep one replica warm on an empty queue as long as the policy says."""
    since_s = now.learned.idle_since_s
    # A replica that waits for a node is not warm, and no node should be started for it now.
    if replicas or not now.seen.paid or since_s is None or now.phantom:
        return None
    left_s = now.keep_s - (now.now_s - since_s)
    if left_s <= 0.0:
        return None
    policy = now.spec.scaling.idle.policy
    if policy is IdlePolicy.NEVER:
        return Term("Idle", 1, "idle_never")
    if policy is IdlePolicy.FIXED:
        return Term("Idle", 1, "idle_fixed", (left_s,))
    return Term("Idle", 1, "idle_keep", (left_s, now.cold_start_s))
