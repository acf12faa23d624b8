"""Rules that say how many replicas the messages need; each may raise the number so far."""

import math
from typing import Final

from detection_contract.user_messages import counted
from detection_operator.scaling.decision_input import DecisionInput
from detection_operator.scaling.estimates import learning, recent_load
from detection_operator.scaling.estimates.arrivals import pace_of_late_per_s
from detection_operator.scaling.rules import queueing
from detection_operator.scaling.rules.terms import Rule, Term, duration, say
from detection_operator.spec.scaling import IdlePolicy, Policy

STAY_UTILISATION: Final = 0.95
"""Utilisation of the replicas that stay for a rate where others start too late for a backlog."""
LAZY_COLD: Final = 0.5
"""In allowed waits: replicas that start within this come in time for messages that wait already,
so that none need be there for a burst. Half of the wait is left to work in."""
SPREAD_S: Final = 120.0
"""Arrivals of about this time stand behind the rate."""
HOPELESS_COLD: Final = 2.0
"""In allowed waits: replicas that take longer to start come for the next burst, not for this."""
TAIL_SERVICE: Final = 1.0
"""In service times: with shorter waits than this, idle replicas are needed for the tail."""
SAFE_SHARE: Final = 0.6
"""The share where a cold start is a guess of the spec, or takes twice the wait and comes too late
for a backlog at any price, and in a pool; and the least for replicas that are ready."""
QUICK_SHARE: Final = 0.5
"""The share where a cold start takes about as long as the wait: there each second decides; and the
least for replicas that are added."""
SHARE_AT_ONCE: Final = 0.6
"""Share of the replicas for recent bursts from which the kept ones rise to all of them, with the
cold start, up to where it takes twice the allowed wait."""
SPARE: Final = 0.4
"""Part of a replica that is kept beyond those; small fleets need it most."""
EVIDENCE_GROWTH: Final = 1.5
"""How much the need must grow for a second step before the first has shown anything."""
SETTLED_WINDOWS: Final = 8.0
"""After so many windows of samples the line of arrivals has forgotten what it started from."""

_STEADY: Final = (
    "{replicas} needed to keep up with {rate:.3g} messages/s of {service_s:.3g} s each"
)


def _plans_ahead(inputs: DecisionInput) -> bool:
    """Say whether past arrivals count as demand."""
    return inputs.spec.scaling.policy is Policy.OBJECTIVE and not inputs.abandoned


def _too_slow(inputs: DecisionInput) -> bool:
    """Say whether replicas that start on a backlog come too late for it."""
    return inputs.cold_start_s > LAZY_COLD * inputs.spec.slo.queue_wait_s


def _can_wait(inputs: DecisionInput) -> bool:
    """Say whether replicas can be had in time once a backlog falls due.

    Of a pool, another queue may hold them by then.
    """
    return not _too_slow(inputs) and inputs.spec.scaling.pool is None


def keep_up_with_arrivals(inputs: DecisionInput, replicas: int) -> Term | None:
    """Keep what keeps up with the arrivals: no flapping. Nothing grows for a rate.

    Where others start in time for a backlog, fewer will do: as many as fill the allowed wait with
    one no sooner than in the time over which the mean is taken. Half idle replicas go, and where
    the wait is two minutes or more, others come some times an hour at most.
    """
    rate = inputs.rate_per_s
    if not rate or not _plans_ahead(inputs):
        return None
    # Of the newest arrivals, which scatter, two standard deviations more; the mean scatters less.
    newest = rate * (1.0 + 2.0 / math.sqrt(max(1.0, rate * SPREAD_S)))
    mean = recent_load.mean_per_s(inputs.estimators.recent_load) * (1.0 - inputs.poison)
    slack = inputs.spec.slo.queue_wait_s / recent_load.MEAN_S
    target = 1.0 + slack if _can_wait(inputs) else STAY_UTILISATION
    stay = _steady(inputs, min(newest, mean), target)
    return _steady_term(inputs, max(replicas, min(inputs.present, stay)), rate)


def keep_busy_while_rate_is_young(inputs: DecisionInput, replicas: int) -> Term | None:
    """Keep replicas that are all busy with what arrives, while the estimate of the rate is young.

    After a restart of the operator, or a jump of its clock, it starts from nothing and errs low
    for minutes.
    """
    line = inputs.estimators.arrivals
    if line is None or inputs.estimators.packed_since_s is None or not _plans_ahead(inputs):
        return None
    window_s = max(learning.ARRIVALS_WINDOW_S, inputs.cold_start_s)
    if line.samples * inputs.spec.queue.poll_interval_s >= SETTLED_WINDOWS * window_s:
        return None
    pace = pace_of_late_per_s(line, window_s) * (1.0 - inputs.poison)
    holding = inputs.seen.busy + inputs.seen.silent
    need = min(holding, _steady(inputs, pace, STAY_UTILISATION))
    return _steady_term(inputs, need, pace) if need > replicas else None


def cover_recent_bursts(inputs: DecisionInput, replicas: int) -> Term | None:
    """Have what the bursts of the last hour would have needed: where some came, more come.

    On an empty queue only as long as the idle policy keeps a replica warm.
    """
    if not _too_slow(inputs) or not _plans_ahead(inputs):
        return None
    pace = inputs.estimators.recent_load.pace_per_s * (1.0 - inputs.poison)
    # The sooner others start, the more of a burst they make good.
    late = inputs.cold_start_s / inputs.spec.slo.queue_wait_s
    share = min(1.0, late, SHARE_AT_ONCE + (1.0 - SHARE_AT_ONCE) / HOPELESS_COLD * late)
    need = queueing.ceil_replicas(pace * inputs.lane_s * share + SPARE) if pace else 0
    if need <= replicas:
        return None
    sentence = "{replicas} kept for bursts like those of the last hour, {rate:.3g} messages/s"
    return say(Rule.COVER_RECENT_BURSTS, need, sentence, rate=pace)


def have_one_in_hand(inputs: DecisionInput, replicas: int) -> Term | None:
    """Have one replica more once a burst begins of which nothing is known, and starts are slow."""
    since_s = inputs.estimators.recent_load.since_s
    if replicas < 2 or since_s is None or not _too_slow(inputs) or not _plans_ahead(inputs):
        return None
    known_s = inputs.now_s - since_s
    if known_s >= recent_load.REACH_S:
        return None
    sentence = "one more in hand: arrivals have been known for {known} only"
    return say(Rule.ONE_IN_HAND, replicas + 1, sentence, known=duration(known_s))


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
    slo = inputs.spec.slo
    brief = TAIL_SERVICE * inputs.mix.mean_s > slo.queue_wait_s
    if not rate or not brief or not _plans_ahead(inputs) or not _too_slow(inputs):
        return None
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
    if inputs.spec.scaling.policy is not Policy.OBJECTIVE or not inputs.waiting:
        return None
    need = queueing.drain_replicas(
        inputs.waiting,
        min(inputs.seen.in_flight, _lanes(inputs)),
        ready=inputs.seen.ready,
        mean_s=inputs.mix.mean_s,
        parallel=inputs.spec.service_time.messages_in_parallel,
        times=_drain_times(inputs),
    )
    return say(
        Rule.CLEAR_BACKLOG_IN_TIME,
        max(replicas, need),
        "{replicas} needed to clear {messages} ({work_s:.0f} s of work) "
        "before they are {wait_s} s old",
        messages=counted(inputs.seen.visible, "message"),
        work_s=inputs.waiting * inputs.mix.mean_s,
        wait_s=inputs.spec.slo.queue_wait_s,
    )


def _drain_times(inputs: DecisionInput) -> queueing.DrainTimes:
    """Return how long replicas may work on a backlog.

    Where they start within half of the wait, those that are ready have all of it but the interval
    of readings, those that are added what their start leaves, and nine in ten backlogs of that
    many messages are done by then. Messages that come later may wait for as long: none of the
    time is kept for them.
    """
    wait_s, cold_s = inputs.spec.slo.queue_wait_s, inputs.cold_start_s
    if not _can_wait(inputs):
        quick = _too_slow(inputs) and cold_s < HOPELESS_COLD * wait_s
        share = QUICK_SHARE if quick else SAFE_SHARE
        return queueing.DrainTimes(ready_s=share * wait_s, added_s=share * wait_s)
    most_s = wait_s - inputs.spec.queue.poll_interval_s
    measured = inputs.seen.cold_start_s is not None
    return queueing.DrainTimes(
        ready_s=max(SAFE_SHARE * wait_s, most_s),
        added_s=max(QUICK_SHARE * wait_s, most_s - cold_s) if measured else SAFE_SHARE * wait_s,
        spread_s=inputs.mix.p90_s - inputs.mix.mean_s,
    )


def wait_for_evidence(inputs: DecisionInput, replicas: int) -> Term | None:
    """Add no second step before the first has shown anything, unless the messages grow much.

    Before any replica was ready, service times and cold starts are guesses of the spec.
    """
    seen, present = inputs.seen, inputs.present
    measured = seen.cold_start_s is not None or inputs.mix.samples or seen.ready
    if measured or not present or not present < replicas < EVIDENCE_GROWTH * present:
        return None
    sentence = "{replicas} for now: the first of them must show how long they take"
    return say(Rule.WAIT_FOR_EVIDENCE, present, sentence)


def divide_backlog(inputs: DecisionInput, replicas: int) -> Term | None:
    """Divide the messages by ``scaling.backlogPerReplica``."""
    each = inputs.spec.scaling.backlog_per_replica
    if inputs.spec.scaling.policy is not Policy.BACKLOG or not each:
        return None
    messages = inputs.waiting + min(inputs.seen.in_flight, _lanes(inputs))
    need = max(replicas, queueing.ceil_replicas(messages / each))
    sentence = "{replicas} needed for {messages} at {each} per replica"
    told = counted(round(messages), "message")
    return say(Rule.DIVIDE_BACKLOG, need, sentence, messages=told, each=each)


def _lanes(inputs: DecisionInput) -> int:
    return inputs.present * inputs.spec.service_time.messages_in_parallel


def one_for_visible(inputs: DecisionInput, replicas: int) -> Term | None:
    """Keep one replica while anything is visible, poison included.

    A worker must receive poison messages until SQS moves them to the dead-letter queue.
    """
    messages = inputs.seen.visible
    if replicas or not messages:
        return None
    told = counted(messages, "message")
    return say(Rule.ONE_FOR_VISIBLE, 1, "one replica for {messages}", messages=told)


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
    """Keep every busy worker while the backlog would keep all of them busy: it costs no more.

    Where replicas start in time for a backlog, those that start too: most of their start is paid.
    """
    seen, poll_s = inputs.seen, inputs.spec.queue.poll_interval_s
    held = seen.busy + seen.silent + (0 if _too_slow(inputs) else seen.starting)
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
