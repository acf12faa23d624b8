"""Rules that say how many replicas the messages need; each may raise the number so far."""

import math
from typing import Final

from detection_operator.scaling.decision_input import DecisionInput
from detection_operator.scaling.estimates import learning
from detection_operator.scaling.estimates.arrivals import (
    Arrivals,
    pace_of_late_per_s,
    recent_pace_per_s,
)
from detection_operator.scaling.rules import queueing
from detection_operator.scaling.rules.terms import Rule, Term, say
from detection_operator.spec.scaling import IdlePolicy, Policy

TARGET_UTILISATION: Final = 0.97
"""Utilisation of the replicas under steady load. Close to 1, because minutes of waiting are
allowed and smooth the load; where they are not, ``meet_tail_objective`` adds replicas."""
RELEASE_UTILISATION: Final = 0.9
"""A replica goes only if the others would then be below this, so that noise moves nothing."""
SPREAD_S: Final = 120.0
"""Arrivals of about this time stand behind the rate."""
LAZY_COLD: Final = 0.5
"""In allowed waits: replicas that start within this come in time for messages that wait already,
so that none need be there for a rate. Half of the wait is left to work in."""
LAZY_UTILISATION: Final = 0.95
"""Utilisation of the replicas that stay then."""
LAZY_SERVICE: Final = 4.0
"""In service times: with shorter waits than this, idle replicas are needed for the tail anyway."""
RECENT_UTILISATION: Final = 0.9
"""Utilisation of the replicas that the bursts of the recent past would have needed. This and those
above were chosen on generated arrivals (``simulation.workload``): the cheapest near the best
attainment."""
SETTLED_WINDOWS: Final = 8.0
"""After so many windows of samples the line of arrivals has forgotten what it started from."""

_STEADY: Final = (
    "{replicas} needed to keep up with {rate:.3g} messages/s of {service_s:.3g} s each"
)


def _plans_ahead(inputs: DecisionInput) -> bool:
    """Say whether past arrivals count as demand."""
    return inputs.spec.scaling.policy is Policy.OBJECTIVE and not inputs.abandoned


def _foresees(inputs: DecisionInput) -> bool:
    """Say whether replicas must be there before their messages wait."""
    wait_s = inputs.spec.slo.queue_wait_s
    return inputs.cold_start_s > LAZY_COLD * wait_s or LAZY_SERVICE * inputs.mix.mean_s > wait_s


def keep_up_with_arrivals(inputs: DecisionInput, replicas: int) -> Term | None:
    """Keep up with the arrivals, where replicas that start on a backlog would come too late."""
    rate = inputs.rate_per_s
    if not rate or not _plans_ahead(inputs):
        return None
    if not _foresees(inputs):
        # Nothing grows for a rate, but what keeps up with it stays: no flapping.
        need = min(inputs.present, _steady(inputs, rate, LAZY_UTILISATION))
        return _steady_term(inputs, max(replicas, need), rate)
    need = _steady(inputs, rate, TARGET_UTILISATION)
    if need < inputs.present:
        # Arrivals scatter as the root of their number: two standard deviations must fit too.
        spread = 1.0 + 2.0 / math.sqrt(max(1.0, rate * SPREAD_S))
        need = min(inputs.present, _steady(inputs, rate * spread, RELEASE_UTILISATION))
    return _steady_term(inputs, max(replicas, need), rate)


def keep_busy_while_rate_is_young(inputs: DecisionInput, replicas: int) -> Term | None:
    """Keep replicas that are all busy with what arrives, while the estimate of the rate is young.

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
    holding = inputs.seen.busy + inputs.seen.silent
    need = min(holding, _steady(inputs, pace, LAZY_UTILISATION))
    return _steady_term(inputs, need, pace) if need > replicas else None


def cover_recent_bursts(inputs: DecisionInput, replicas: int) -> Term | None:
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
    if need <= replicas:
        return None
    sentence = "{replicas} kept for bursts like the recent ones, {rate:.3g} messages/s"
    return say(Rule.COVER_RECENT_BURSTS, need, sentence, rate=pace)


def _steady(inputs: DecisionInput, rate_per_s: float, target: float) -> int:
    return queueing.steady_replicas(
        rate_per_s=rate_per_s,
        service_s=inputs.mix.mean_s,
        parallel=inputs.spec.service_time.messages_in_parallel,
        target=target,
    )


def _steady_term(inputs: DecisionInput, replicas: int, rate: float) -> Term:
    rule = Rule.KEEP_UP_WITH_ARRIVALS
    return say(rule, replicas, _STEADY, rate=rate, service_s=inputs.mix.mean_s)


def meet_tail_objective(inputs: DecisionInput, replicas: int) -> Term | None:
    """Keep the longest waits within the objective, where it is short against service times."""
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
    return say(
        Rule.MEET_TAIL_OBJECTIVE,
        need,
        "{replicas} needed so that {percent} % wait less than {wait_s} s",
        percent=slo.objective_percent,
        wait_s=slo.queue_wait_s,
    )


def clear_backlog_in_time(inputs: DecisionInput, replicas: int) -> Term | None:
    """Start the visible messages before they have waited longer than the objective allows."""
    line = inputs.estimators.arrivals
    if inputs.spec.scaling.policy is not Policy.OBJECTIVE or not inputs.waiting or line is None:
        return None
    wait_s = float(inputs.spec.slo.queue_wait_s)
    held = min(inputs.seen.in_flight, _lanes(inputs))
    due = queueing.due_work(
        _shape(inputs, line, wait_s),
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
    return say(
        Rule.CLEAR_BACKLOG_IN_TIME,
        max(replicas, queueing.ceil_replicas(need)),
        "{replicas} needed to clear {messages} messages ({work_s:.0f} s of work) "
        "before they are {wait_s} s old",
        messages=inputs.seen.visible,
        work_s=inputs.waiting * inputs.mix.mean_s,
        wait_s=inputs.spec.slo.queue_wait_s,
    )


def _shape(
    inputs: DecisionInput, line: Arrivals, wait_s: float
) -> tuple[tuple[float, float], ...]:
    """Return the past counts, none from before the queue was last seen empty."""
    since_s = inputs.estimators.depth_since_s
    if since_s is None:
        return ()
    first_s = max(since_s, inputs.now_s - wait_s)
    return tuple(point for point in line.shape if point[0] >= first_s)


def divide_backlog(inputs: DecisionInput, replicas: int) -> Term | None:
    """Divide the messages by ``scaling.backlogPerReplica``."""
    each = inputs.spec.scaling.backlog_per_replica
    if inputs.spec.scaling.policy is not Policy.BACKLOG or not each:
        return None
    messages = inputs.waiting + min(inputs.seen.in_flight, _lanes(inputs))
    need = max(replicas, queueing.ceil_replicas(messages / each))
    sentence = "{replicas} needed for {messages} messages at {each} per replica"
    return say(Rule.DIVIDE_BACKLOG, need, sentence, messages=round(messages), each=each)


def _lanes(inputs: DecisionInput) -> int:
    return inputs.present * inputs.spec.service_time.messages_in_parallel


def one_for_visible(inputs: DecisionInput, replicas: int) -> Term | None:
    """Keep one replica while anything is visible, poison included.

    A worker must receive poison messages until SQS moves them to the dead-letter queue.
    """
    messages = inputs.seen.visible
    if replicas or not messages:
        return None
    return say(Rule.ONE_FOR_VISIBLE, 1, "one replica for {messages} messages", messages=messages)


def leave_out_poison(inputs: DecisionInput, replicas: int) -> Term | None:
    """Say that failing messages were left out."""
    if not inputs.poison or not inputs.seen.visible:
        return None
    sentence = "most messages end in the dead-letter queue: {share:.0%} are not counted as demand"
    return say(Rule.LEAVE_OUT_POISON, replicas, sentence, share=inputs.poison)


def confirm_activation(inputs: DecisionInput, replicas: int) -> Term | None:
    """Start the first replica only on confirmed messages."""
    if inputs.seen.existing or not replicas:
        return None
    need, visible = inputs.spec.scaling.activation, inputs.seen.visible
    if visible < need.min_messages:
        sentence = "{messages} message(s), fewer than activation.minMessages ({least})"
        return say(Rule.CONFIRM_ACTIVATION, 0, sentence, messages=visible, least=need.min_messages)
    missing = need.confirm_samples - inputs.estimators.confirmed
    if missing <= 0:
        return None
    sentence = "waiting for {missing} more reading(s) to confirm {messages} message(s)"
    return say(Rule.CONFIRM_ACTIVATION, 0, sentence, missing=missing, messages=visible)


def add_headroom(inputs: DecisionInput, replicas: int) -> Term | None:
    """Add the spare replicas while there is work."""
    spare = inputs.spec.scaling.headroom_replicas
    if not spare or not replicas:
        return None
    sentence = "{spare} more as headroom while the queue is active"
    return say(Rule.ADD_HEADROOM, replicas + spare, sentence, spare=spare)


def one_while_in_flight(inputs: DecisionInput, replicas: int) -> Term | None:
    """Keep one replica until nothing is in flight, delayed or held by a worker."""
    seen = inputs.seen
    anything = seen.in_flight or seen.delayed or seen.working or seen.silent
    if replicas or not seen.existing or not anything or inputs.phantom:
        return None
    return say(
        Rule.ONE_WHILE_IN_FLIGHT,
        1,
        "one replica kept: {in_flight} in flight, {delayed} delayed, {busy} busy, "
        "{silent} unreachable worker(s)",
        in_flight=seen.in_flight,
        delayed=seen.delayed,
        busy=seen.working,
        silent=seen.silent,
    )


def keep_busy_on_backlog(inputs: DecisionInput, replicas: int) -> Term | None:
    """Keep every busy worker while the backlog would keep all of them busy: it costs no more."""
    seen, poll_s = inputs.seen, inputs.spec.queue.poll_interval_s
    held = seen.busy + seen.silent
    if replicas >= held or inputs.waiting * inputs.lane_s < poll_s * held:
        return None
    sentence = "{replicas} kept while messages wait ({messages})"
    return say(Rule.KEEP_BUSY_ON_BACKLOG, held, sentence, messages=seen.visible)


def keep_warm(inputs: DecisionInput, replicas: int) -> Term | None:
    """Keep one replica warm on an empty queue as long as the idle policy says."""
    since_s = inputs.estimators.idle_since_s
    # A replica that waits for a node is not warm, and no node should be started for it now.
    if replicas or not inputs.seen.paid or since_s is None or inputs.phantom:
        return None
    left_s = inputs.keep_s - (inputs.now_s - since_s)
    if left_s <= 0.0:
        return None
    policy = inputs.spec.scaling.idle.policy
    if policy is IdlePolicy.NEVER:
        return say(Rule.KEEP_WARM, 1, "one warm replica is always kept")
    if policy is IdlePolicy.FIXED:
        return say(Rule.KEEP_WARM, 1, "one warm replica kept for {left_s:.0f} s", left_s=left_s)
    return say(
        Rule.KEEP_WARM,
        1,
        "one warm replica kept for {left_s:.0f} s: cheaper than a cold start of {cold_s:.0f} s",
        left_s=left_s,
        cold_s=inputs.cold_start_s,
    )
