"""The conditions of a DetectionQueue, from a plan and an observation.

All conditions are positive: False always means a problem, or a mode other than the normal one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from detection_contract.user_messages import counted
from detection_operator.scaling.capacity_messages import (
    cluster_full,
    leaving,
    not_starting,
    waiting,
)
from detection_operator.scaling.observation import Observation
from detection_operator.scaling.plan import Plan
from detection_operator.scaling.pools.share import PoolProblem
from detection_operator.scaling.rules.terms import Rule, duration
from detection_operator.spec.queue_spec import OnExceeded, QueueSpec
from detection_operator.spec.scaling import Mode
from detection_operator.spec.status import MESSAGE_MAX

PAUSED: Final = "scaling is paused: replicas stay as they are, pending drains are cancelled"
NOT_APPLIED: Final = frozenset({"Paused", "Shadow", "Conflict"})
"""Reasons of ``ScalingActive`` with which the plan changes no replicas."""

_POOL_PROBLEMS: Final[Mapping[PoolProblem, str]] = {
    PoolProblem.NOT_FOUND: "there is no {pool}",
    PoolProblem.INVALID: "{pool} is invalid",
    PoolProblem.CAPACITY_UNKNOWN: "the capacity of {pool} is unknown",
    PoolProblem.CAPACITY_TAKEN: "the capacity of {pool} counts for an older one",
    PoolProblem.REPLICA_TOO_LARGE: "one replica takes {share.units_each}, "
    "{pool} has {share.capacity}",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """A condition of a DetectionQueue.

    Attributes:
        type: Name of the condition.
        status: ``True``, ``False`` or ``Unknown``.
        reason: One word.
        message: The sentence.
    """

    type: str
    status: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything that a status is made from.

    Attributes:
        spec: The spec.
        seen: The observation behind the plan.
        plan: The plan.
        generation: Generation of the spec.
        now_s: The present, seconds since the epoch.
        selector: Label selector of the pods.
        conflict: Who else writes the replicas; None: nobody.
        findings: Problems with the configuration or pods, a sentence each.
        without_image: Workers whose image cannot be pulled.
        crash_looping: Workers of which a container ends again and again.
        outbox: Callbacks in the workers' outbox; None when there is none or it is unread.
        outbox_due: Those that are due and that nothing has received; None as above.
        rejected: What ``Ready`` says while the API server refuses the Deployment.
    """

    spec: QueueSpec
    seen: Observation
    plan: Plan
    generation: int
    now_s: float
    selector: str = ""
    conflict: str | None = None
    findings: Sequence[str] = ()
    without_image: int = 0
    crash_looping: int = 0
    outbox: int | None = None
    outbox_due: int | None = None
    rejected: Condition | None = None


def conditions(report: Report) -> list[Condition]:
    """Return the conditions, the most important first."""
    reachable = _reachable(report)
    capacity = _capacity(report)
    return [
        _ready(report, reachable, capacity),
        reachable,
        _scaling(report),
        capacity,
        _objective(report),
        _budget(report),
        *_pool(report),
        _dead_letters(report),
        _configuration(report),
    ]


def _condition(name: str, status: str, reason: str, message: str) -> Condition:
    return Condition(type=name, status=status, reason=reason, message=message[:MESSAGE_MAX])


def _ready(report: Report, reachable: Condition, capacity: Condition) -> Condition:
    if report.rejected is not None:
        return report.rejected
    if reachable.status != "True":
        return replace(reachable, type="Ready")
    if capacity.status == "False" and not report.seen.ready:
        return replace(capacity, type="Ready")
    return _condition("Ready", "True", "Reconciled", report.plan.message)


def _reachable(report: Report) -> Condition:
    seen = report.seen
    if seen.error is not None:
        why = f" ({seen.error_why})" if seen.error_why else ""
        message = f"{report.spec.queue.url} cannot be read: {seen.error}{why}"
        return _condition("QueueReachable", "False", str(seen.error), message)
    if seen.sampled_at_s is None:
        return _condition(
            "QueueReachable", "Unknown", "NotReadYet", "the queue has not been read yet"
        )
    if not report.plan.estimates.fresh:
        age = duration(report.now_s - seen.sampled_at_s)
        return _condition("QueueReachable", "False", "Stale", f"last read {age} ago")
    return _condition("QueueReachable", "True", "Read", "the queue is readable")


def _scaling(report: Report) -> Condition:
    name = "ScalingActive"
    mode = report.spec.scaling.mode
    if report.spec.paused:
        return _condition(name, "False", "Paused", PAUSED)
    if report.conflict is not None:
        message = f"{report.conflict} also sets the replicas; stop one of the two"
        return _condition(name, "False", "Conflict", message)
    if mode is Mode.SHADOW:
        return _condition(
            name, "False", "Shadow", "mode Shadow: the plan is computed but not applied"
        )
    if mode is Mode.MANUAL:
        return _condition(name, "False", "Manual", "mode Manual: spec.replicas sets the replicas")
    if report.plan.binding is Rule.FALL_BACK or not report.plan.estimates.fresh:
        return _condition(name, "False", "Fallback", report.plan.message)
    return _condition(name, "True", "Auto", "the plan is applied")


def _capacity(report: Report) -> Condition:
    name = "CapacityAvailable"
    seen, estimates = report.seen, report.plan.estimates
    if seen.refusal is not None or seen.refused_why:
        return _refused(name, seen)
    if estimates.blocked_since_s is not None:
        return _condition(
            name, "False", "Unschedulable", cluster_full(seen, estimates, report.now_s)
        )
    if seen.unready or estimates.failing_since_s is not None:
        return _condition(
            name, "False", "NotStarting", not_starting(seen, estimates, report.now_s)
        )
    if seen.unschedulable:
        return _condition(name, "True", "Waiting", waiting(seen, report.now_s))
    if seen.departing:
        applied = report.plan.apply and report.conflict is None
        message = leaving(seen, report.plan, applied=applied)
        return _condition(name, "True", "NodesLeaving", message)
    return _condition(name, "True", "Scheduled", "no pod is unschedulable")


def _refused(name: str, seen: Observation) -> Condition:
    """Return the condition while the API server refuses pods or replicas."""
    if seen.refusal is None:
        message = f"no more pods can be created: {seen.refused_why}"
        return _condition(name, "False", "FailedCreate", message)
    what = "fewer" if seen.refusal.most is None else "more"
    message = f"the API server refuses to set {what} replicas: {seen.refusal.why}"
    return _condition(name, "False", "ScaleRefused", message)


def _objective(report: Report) -> Condition:
    name = "ObjectiveMet"
    slo, estimates = report.spec.slo, report.plan.estimates
    if estimates.age_s is not None and estimates.age_s > slo.queue_wait_s:
        message = (
            f"the oldest message has waited {estimates.age_s:.0f} s;"
            f" the objective is {slo.queue_wait_s} s"
        )
        return _condition(name, "False", "Late", message)
    if not estimates.received:
        return _condition(
            name, "Unknown", "NoMessages", "no messages were received in the last 24 h"
        )
    percent = attainment_percent(report)
    message = (
        f"{percent} % of messages started within {slo.queue_wait_s} s;"
        f" the objective is {slo.objective_percent} %"
    )
    met = float(percent) >= slo.objective_percent
    return _condition(name, "True" if met else "False", "Met" if met else "Missed", message)


def _budget(report: Report) -> Condition:
    name = "WithinBudget"
    if report.spec.budget is None:
        return _condition(name, "True", "NoBudget", "no budget is set")
    if not report.plan.estimates.over_budget:
        return _condition(name, "True", "Within", "the plan stays within the budget")
    clamped = report.spec.budget.on_exceeded is OnExceeded.CLAMP
    return _condition(name, "False", "Clamped" if clamped else "Exceeded", report.plan.message)


def _pool(report: Report) -> list[Condition]:
    """Return the condition of a queue in a pool."""
    name, member, share = "PoolAvailable", report.spec.scaling.pool, report.seen.pool
    if member is None:
        return []
    pool = f"WorkerPool {member.name}"
    if share is None:
        return [_condition(name, "Unknown", "PoolNotReadYet", f"{pool} has not been read yet")]
    if share.problem is not None:
        text = _POOL_PROBLEMS[share.problem].format(pool=pool, share=share)
        why = f": {share.why}" if share.why else ""
        message = f"{text}{why}; at most {counted(share.replicas, 'replica')} meanwhile"
        return [_condition(name, "False", str(share.problem), message)]
    message = f"{counted(share.share, 'replica')} of {pool}, which has {share.capacity}"
    return [_condition(name, "True", "Shared", message)]


def _dead_letters(report: Report) -> Condition:
    name = "DeadLetterHealthy"
    depth = report.seen.dead_letter
    share = report.plan.estimates.poison_share
    if share:
        message = f"most messages end in the dead-letter queue, which holds {depth}"
        return _condition(name, "False", "Poison", message)
    if depth is None:
        return _condition(name, "Unknown", "NotRead", "no dead-letter queue could be read")
    if depth:
        return _condition(
            name, "False", "Messages", f"{counted(depth, 'message')} in the dead-letter queue"
        )
    return _condition(name, "True", "Empty", "the dead-letter queue is empty")


def _configuration(report: Report) -> Condition:
    name = "ConfigurationHealthy"
    if report.findings:
        return _condition(name, "False", "Findings", "; ".join(report.findings))
    return _condition(name, "True", "Sound", "configuration checks passed")


def attainment_percent(report: Report) -> str:
    """Return the attainment, rounded down: 98.99 % is not yet 99."""
    estimates = report.plan.estimates
    tenths = 1000 * (estimates.received - estimates.received_late) // estimates.received
    return f"{tenths // 10}.{tenths % 10}"
