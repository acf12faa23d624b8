"""The conditions of both resources and the reasons for each status. Names are API."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a condition has its status.

    Attributes:
        status: ``True``, ``False`` or ``Unknown``.
        name: The reason, one word.
        meaning: What it says, as a phrase.
    """

    status: str
    name: str
    meaning: str


CONDITIONS: Final[Mapping[str, tuple[Reason, ...]]] = {
    "Ready": (
        Reason("True", "Reconciled", "The queue is read and the workers follow the plan."),
        Reason("False", "InvalidSpec", "The spec breaks a rule; the message names the field."),
        Reason("False", "TemplateRejected", "The API server rejected the worker Deployment."),
        Reason("False", "Forbidden", "The operator may not write the worker Deployment."),
    ),
    "QueueReachable": (
        Reason("True", "Read", "The queue is readable."),
        Reason("False", "AccessDenied", "The operator's IAM role may not read the queue."),
        Reason("False", "NonExistentQueue", "SQS knows no queue of that URL."),
        Reason("False", "Throttled", "SQS throttles the requests of the account."),
        Reason("False", "Unreachable", "The SQS endpoint does not answer."),
        Reason("False", "Stale", "The last successful read is too old."),
        Reason("Unknown", "NotReadYet", "The queue has not been read yet."),
    ),
    "ScalingActive": (
        Reason("True", "Auto", "The plan is applied."),
        Reason("False", "Paused", "spec.paused is true."),
        Reason("False", "Shadow", "Mode Shadow: the plan is computed but not applied."),
        Reason("False", "Manual", "Mode Manual: spec.replicas sets the replicas."),
        Reason("False", "Conflict", "Something else sets the replicas; the message names it."),
        Reason("False", "Fallback", "The queue cannot be read: spec.scaling.fallback applies."),
    ),
    "CapacityAvailable": (
        Reason("True", "Scheduled", "No pod is unschedulable."),
        Reason("True", "Waiting", "Pods are unschedulable, but not for long yet."),
        Reason("True", "NodesLeaving", "Workers are replaced because their nodes are going."),
        Reason("False", "Unschedulable", "The cluster has had no node for pods for too long."),
        Reason("False", "NotStarting", "Pods have a node but fail or do not become ready."),
        Reason(
            "False",
            "FailedCreate",
            "Pods cannot be created: quota, service account or admission webhook.",
        ),
        Reason(
            "False",
            "ScaleRefused",
            "The API server refuses to set the replicas: role, admission policy or webhook.",
        ),
    ),
    "ObjectiveMet": (
        Reason("True", "Met", "The objective was met over the last 24 h."),
        Reason("False", "Late", "The oldest message has waited longer than the objective allows."),
        Reason("False", "Missed", "The objective was missed over the last 24 h."),
        Reason("Unknown", "NoMessages", "No messages were received in the last 24 h."),
    ),
    "WithinBudget": (
        Reason("True", "Within", "The plan stays within the budget."),
        Reason("True", "NoBudget", "No budget is set."),
        Reason("False", "Clamped", "The budget reduced the number of replicas."),
        Reason("False", "Exceeded", "The plan exceeds the budget; onExceeded is Warn."),
    ),
    "PoolAvailable": (
        Reason("True", "Shared", "The pool shares its capacity with this queue."),
        Reason("False", "PoolNotFound", "There is no WorkerPool of that name."),
        Reason("False", "PoolInvalid", "The spec of the WorkerPool breaks a rule."),
        Reason("False", "CapacityUnknown", "The capacity of the pool cannot be read."),
        Reason("False", "CapacityTaken", "Its capacity counts for an older pool."),
        Reason("False", "ReplicaTooLarge", "One replica needs more than the pool has."),
        Reason("Unknown", "PoolNotReadYet", "The pool has not been read yet."),
    ),
    "DeadLetterHealthy": (
        Reason("True", "Empty", "The dead-letter queue is empty."),
        Reason("False", "Messages", "The dead-letter queue holds messages."),
        Reason("False", "Poison", "Most messages end in the dead-letter queue."),
        Reason("Unknown", "NotRead", "No dead-letter queue could be read."),
    ),
    "ConfigurationHealthy": (
        Reason("True", "Sound", "The configuration checks passed."),
        Reason("False", "Findings", "Checks failed; the message has a sentence for each."),
    ),
}
"""Conditions of a DetectionQueue by type, in the order of ``status.conditions``.
``PoolAvailable`` is there only with ``scaling.pool``. ``Ready`` also repeats a reason of
``QueueReachable`` or ``CapacityAvailable`` when that is what keeps it from being True."""

POOL_CONDITIONS: Final[Mapping[str, tuple[Reason, ...]]] = {
    "Ready": (
        Reason("True", "Allocated", "The capacity is known and shared between the queues."),
        Reason("False", "InvalidSpec", "The spec breaks a rule; the message names the field."),
    ),
    "CapacityKnown": (
        Reason("True", "Known", "The capacity is known."),
        Reason("True", "Overlapping", "It is known; some nodes count for an older pool."),
        Reason("False", "NotFound", "The ResourceQuota is not there or limits no such resource."),
        Reason("False", "Forbidden", "The operator may not read nodes or ResourceQuotas."),
        Reason("False", "CapacityTaken", "Its ResourceQuota counts for an older pool."),
        Reason("False", "Deleting", "The pool is being deleted."),
        Reason("Unknown", "NotReadYet", "The capacity has not been read yet."),
    ),
    "GuaranteesCovered": (
        Reason("True", "Covered", "The capacity covers all guarantees and minimums."),
        Reason("False", "Exceeded", "Guarantees and minimums together exceed the capacity."),
        Reason("Unknown", "CapacityUnknown", "The capacity is unknown."),
    ),
    "WithinCapacity": (
        Reason("True", "Within", "What exists fits into the capacity."),
        Reason("False", "Reclaiming", "More exists than the capacity: the surplus drains."),
        Reason("Unknown", "CapacityUnknown", "The capacity is unknown."),
    ),
}
"""Conditions of a WorkerPool by type, in the order of ``status.conditions``.
``Ready`` also repeats the reason of ``CapacityKnown`` that keeps it from being True."""
