"""The rule that bounds the replicas by what the queue's pool lets it run."""

from collections.abc import Mapping
from typing import Final

from detection_operator.scaling.decision_input import DecisionInput
from detection_operator.scaling.pools.share import PoolProblem, PoolShare
from detection_operator.scaling.rules.terms import Fact, Rule, Term, say
from detection_operator.spec.scaling import Mode, PoolMembership

_HAS: Final = "pool {pool} has {capacity}"
_PROBLEMS: Final[Mapping[PoolProblem, str]] = {
    PoolProblem.NOT_FOUND: "there is no pool {pool}",
    PoolProblem.INVALID: "pool {pool} is invalid",
    PoolProblem.CAPACITY_UNKNOWN: "the capacity of pool {pool} is unknown",
    PoolProblem.CAPACITY_TAKEN: "the capacity of pool {pool} counts for an older one",
    PoolProblem.REPLICA_TOO_LARGE: f"{_HAS}, one replica takes {{each}}",
}


def share_of_pool(inputs: DecisionInput, replicas: int) -> Term | None:
    """Have no more than the pool grants, also if that is fewer than minReplicas or than work.

    What is above it drains: idle workers first, busy ones finish what they hold. Only what a drain
    could not save stays until it is done: jobs that outlast the drain timeout, and workers that do
    not report.
    """
    member, most = inputs.spec.scaling.pool, ceiling(inputs)
    if member is None or most is None or replicas <= most:
        return None
    seen = inputs.seen
    outlasts = inputs.mix.p90_s > inputs.spec.scaling.scale_down.drain_timeout_s
    holding = seen.silent + (seen.busy if outlasts else 0)
    kept = min(replicas, holding, max(0, seen.replicas - seen.draining))
    if kept > most:
        sentence = "{replicas} kept while they work: pool {pool} grants {most}"
        return say(Rule.SHARE_OF_POOL, kept, sentence, pool=member.name, most=most)
    return _capped(member, seen.pool, most, stuck=inputs.startable is not None)


def ceiling(inputs: DecisionInput) -> int | None:
    """Return the most replicas that the pool allows; None without a pool.

    None in mode Shadow, too: the plan is not applied, and what runs counts as it is.
    """
    member, share = inputs.spec.scaling.pool, inputs.seen.pool
    if member is None or inputs.spec.scaling.mode is Mode.SHADOW:
        return None
    if share is not None:
        return share.replicas
    least = max(member.guaranteed, inputs.spec.scaling.min_replicas, 1)
    return max(inputs.settled_replicas, least if member.borrow else member.guaranteed)


def _capped(member: PoolMembership, share: PoolShare | None, most: int, *, stuck: bool) -> Term:
    rule, facts = Rule.SHARE_OF_POOL, _facts(member, share)
    if share is None:
        return say(rule, most, "kept at {replicas}: pool {pool} has not been read yet", **facts)
    if share.problem is not None:
        why = f" ({share.why})" if share.why else ""
        sentence = f"kept at {{replicas}}: {_PROBLEMS[share.problem]}{{why}}"
        return say(rule, most, sentence, why=why, **facts)
    if share.share > most:
        sentence = f"capped to {{replicas}} for now: {_HAS}; {{more}} more as other pods drain"
        return say(rule, most, sentence, more=share.share - most, **facts)
    if not member.borrow and most == member.guaranteed:
        sentence = "capped to {replicas}: guaranteed by pool {pool}, and borrow is false"
        return say(rule, most, sentence, **facts)
    if share.takers:
        why = " while pods here do not start" if stuck else ""
        sentence = f"capped to {{replicas}}: {_HAS}; {{others}}{why}"
        return say(rule, most, sentence, others=_others(share), **facts)
    return say(rule, most, f"capped to {{replicas}}: {_HAS}", **facts)


def _facts(member: PoolMembership, share: PoolShare | None) -> dict[str, Fact]:
    if share is None:
        return {"pool": member.name}
    return {
        "pool": share.name,
        "capacity": "?" if share.capacity is None else share.capacity,
        "each": share.units_each,
    }


def _others(share: PoolShare) -> str:
    """Return who has the rest, most first: ``12 go to 'urgent' (priority 100), 2 to others``."""
    parts = [
        f"{taker.units} to {taker.name!r} (priority {taker.priority})" for taker in share.takers
    ]
    rest = share.others - sum(taker.units for taker in share.takers)
    text = ", ".join([*parts, f"{rest} to others"] if rest else parts)
    return text.replace(" to", " go to", 1)
