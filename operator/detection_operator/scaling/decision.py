"""The decision: the rules in their order, and what they leave for the next time."""

from collections.abc import Callable
from typing import Final

from detection_operator.scaling import polling
from detection_operator.scaling.decision_input import DecisionInput, decision_input
from detection_operator.scaling.estimates import learning
from detection_operator.scaling.memory import Memory, PlanHistory, rebased
from detection_operator.scaling.observation import Observation
from detection_operator.scaling.plan import Estimates, Plan
from detection_operator.scaling.pods import scale_in_candidates
from detection_operator.scaling.rules import demand, forecast, limits, pooled
from detection_operator.scaling.rules.terms import Rule, Term
from detection_operator.spec.queue_spec import QueueSpec
from detection_operator.spec.scaling import Mode

Apply = Callable[[DecisionInput, int], Term | None]

NEEDS: Final[tuple[Apply, ...]] = (
    demand.keep_up_with_arrivals,
    demand.keep_busy_while_rate_is_young,
    demand.meet_tail_objective,
    demand.clear_backlog_in_time,
    demand.cover_recent_bursts,
    demand.have_one_in_hand,
    demand.wait_for_evidence,
    demand.divide_backlog,
    demand.one_for_visible,
    demand.leave_out_poison,
    demand.confirm_activation,
    demand.add_headroom,
    demand.one_while_in_flight,
)
"""What the messages need. The result is remembered for the hold."""
FLOORS: Final[tuple[Apply, ...]] = (
    demand.keep_busy_on_backlog,
    demand.keep_warm,
    forecast.expect_daily,
    limits.scheduled_minimum,
    limits.at_least_min,
)
"""What is kept for other reasons, which end when they end: no hold."""
LIMITS: Final[tuple[Apply, ...]] = (
    limits.hold_surplus,
    limits.limit_scale_in_rate,
    limits.limit_scale_out_rate,
    limits.within_budget,
    limits.cluster_capacity,
    limits.not_below_busy,
    limits.drain_busy_only_if_never_idle,
    limits.within_bounds,
    limits.starting_pods,
    limits.taken_by_server,
    pooled.share_of_pool,
)
"""What is allowed."""
UNREAD: Final[tuple[Apply, ...]] = (
    limits.fall_back,
    limits.scheduled_minimum,
    limits.limit_scale_in_rate,
    limits.drain_busy_only_if_never_idle,
    limits.within_bounds,
    limits.starting_pods,
    limits.taken_by_server,
    pooled.share_of_pool,
)
"""For a queue that cannot be read."""
_SOLE: Final = frozenset({Rule.CONFIRM_ACTIVATION, Rule.PAUSED, Rule.MANUAL, Rule.FALL_BACK})
"""They bind even when their number is what it was before."""


def decide(spec: QueueSpec, observation: Observation, memory: Memory, now_s: float) -> Plan:
    """Return the replicas to have now, with the reasons and the memory for the next time.

    The same arguments give the same plan, on every machine.

    Args:
        spec: What is asked for.
        observation: What was seen last; it may be old or broken.
        memory: ``Plan.memory`` of the last decision; ``Memory()`` after a restart.
        now_s: Seconds since the epoch, on the clock of the observation. It may jump.

    Returns:
        A plan with ``minReplicas <= desired <= maxReplicas``, except when paused (what runs
        stays), Manual (``spec.replicas``, but not above maxReplicas), or bound by ``Starts``,
        ``Refused`` or ``Pool``: then it may be fewer. Only ``Pool`` asks for fewer than work: the
        surplus finishes what it holds.
    """
    fresh = learning.is_fresh(spec, observation, now_s)
    before = rebased(memory, now_s)
    estimators = learning.learn(
        spec,
        observation,
        before.estimators,
        wanted=before.history.wanted,
        now_s=now_s,
        fresh=fresh,
    )
    history = before.history
    if history.desired is None:
        # After a restart what runs counts as needed until seen otherwise for a whole hold. What
        # drains was seen otherwise before.
        history = PlanHistory(needed=((now_s, observation.replicas - observation.draining),))
    inputs = decision_input(spec, observation, estimators, history, now_s=now_s, fresh=fresh)
    terms: list[Term] = []
    if spec.paused or spec.scaling.mode is Mode.MANUAL:
        terms.append(limits.paused_or_manual(inputs))
        if not spec.paused:
            _apply((limits.taken_by_server, pooled.share_of_pool), inputs, terms)
        return _plan(inputs, terms, needed=observation.replicas, wanted=observation.replicas)
    if not fresh:
        _apply(UNREAD, inputs, terms)
        kept = inputs.settled_replicas
        return _plan(inputs, terms, needed=kept, wanted=kept)
    _apply(NEEDS, inputs, terms)
    needed = terms[-1].replicas if terms else 0
    _apply(FLOORS, inputs, terms)
    wanted = _payable(inputs, terms[-1].replicas if terms else 0)
    _apply(LIMITS, inputs, terms)
    return _plan(inputs, terms, needed=needed, wanted=wanted)


def _apply(rules: tuple[Apply, ...], inputs: DecisionInput, terms: list[Term]) -> None:
    """Add to ``terms`` what each rule makes of the number that the rules before it left."""
    replicas = terms[-1].replicas if terms else 0
    for rule in rules:
        term = rule(inputs, replicas)
        if term is not None:
            terms.append(term)
            replicas = term.replicas


def _payable(inputs: DecisionInput, replicas: int) -> int:
    """Return how many of the replicas a cluster that takes all of them would be asked for."""
    most = min(replicas, inputs.spec.scaling.max_replicas)
    ceiling = pooled.ceiling(inputs)
    if ceiling is not None:
        most = min(most, ceiling)
    capped = limits.within_budget(inputs, most)
    return most if capped is None else capped.replicas


def _plan(inputs: DecisionInput, terms: list[Term], *, needed: int, wanted: int) -> Plan:
    desired = terms[-1].replicas if terms else 0
    current = inputs.seen.replicas
    return Plan(
        desired=desired,
        binding=_binding(terms),
        terms=tuple(terms),
        apply=not inputs.spec.paused and inputs.spec.scaling.mode is not Mode.SHADOW,
        scale_in_candidates=scale_in_candidates(inputs.seen.pods, current - desired),
        next_poll_s=polling.next_read_s(inputs, desired),
        estimates=_estimates(inputs, terms),
        memory=Memory(
            estimators=inputs.estimators,
            history=_history(inputs, desired=desired, needed=needed, wanted=wanted),
        ),
    )


def _binding(terms: list[Term]) -> Rule:
    """Return the last rule that moved the number."""
    replicas = 0
    rule = Rule.NOTHING_TO_DO
    for term in terms:
        if term.replicas != replicas or term.rule in _SOLE:
            rule = term.rule
        replicas = term.replicas
    return rule


def _history(inputs: DecisionInput, *, desired: int, needed: int, wanted: int) -> PlanHistory:
    old = inputs.history
    oldest_s = inputs.now_s - inputs.hold_s
    kept = tuple(item for item in old.needed if item[0] >= oldest_s and item[1] > needed)
    rose = desired > inputs.seen.replicas and desired > (old.desired or 0)
    return PlanHistory(
        needed=(*kept, (inputs.now_s, needed)),
        wanted=wanted,
        desired=desired,
        added_at_s=inputs.now_s if rose else old.added_at_s,
    )


def _estimates(inputs: DecisionInput, terms: list[Term]) -> Estimates:
    hours = inputs.estimators.attainment.hours
    mix, room, starts = inputs.mix, inputs.estimators.capacity, inputs.estimators.pod_starts
    return Estimates(
        fresh=inputs.fresh,
        age_s=inputs.age_s,
        arrivals_per_s=inputs.rate_per_s,
        service_s=mix.mean_s,
        service_p90_s=mix.p90_s,
        service_samples=mix.samples,
        cold_start_s=inputs.cold_start_s,
        work_s=inputs.waiting * mix.mean_s,
        poison_share=inputs.poison,
        blocked_since_s=room.blocked_since_s,
        blocked_why=room.why,
        blocked_said=room.said,
        failing_since_s=starts.since_s,
        failing_why="" if starts.since_s is None else starts.why,
        over_budget=any(term.rule is Rule.WITHIN_BUDGET for term in terms),
        spent_today=limits.spent_today(inputs),
        received=sum(hour[1] for hour in hours),
        received_late=sum(hour[2] for hour in hours),
        startable=inputs.startable,
        unpooled=_unpooled(inputs, terms),
        asleep=inputs.fresh and not inputs.seen.existing and learning.is_empty(inputs.seen),
    )


def _unpooled(inputs: DecisionInput, terms: list[Term]) -> int | None:
    """Return what the plan would be without its pool, which is the demand on the pool."""
    if inputs.spec.scaling.pool is None:
        return None
    return next(
        (term.replicas for term in reversed(terms) if term.rule is not Rule.SHARE_OF_POOL), 0
    )
