"""From what was gathered to the ``Observation`` that a decision is made from. Pure."""

from collections.abc import Collection
from typing import Final

from detection_operator.kube.objects import condition
from detection_operator.observe.counters import Counters
from detection_operator.observe.values import QueueReading
from detection_operator.reconcile.fleet import Group, Worker, decision_pods, missing_resource
from detection_operator.scaling.values import Observation, PodPhase

REFUSED_MAX: Final = 512
"""Characters of a controller's words; a webhook's answer may be a page."""


def observation(
    groups: Collection[Group],
    reading: QueueReading,
    counters: Counters,
    *,
    oldest_age_s: float | None,
    cold_start_s: float | None,
    neighbours: int = 1,
) -> Observation:
    """Return the observation.

    Args:
        groups: The Deployments with their pods.
        reading: The newest reading of the queue.
        counters: What workers did since the operator started.
        oldest_age_s: Longest wait among the messages received of late.
        cold_start_s: Measured; None before the first.
        neighbours: Queues that share the rate of this one's account, itself counted.
    """
    workers = [worker for item in groups for worker in item.workers]
    stuck = [w for w in workers if w.phase is PodPhase.UNSCHEDULABLE]
    oldest = min(stuck, key=lambda w: w.pod.unschedulable_since_s or 0.0, default=None)
    ready = _count(workers, PodPhase.READY, ready=True)
    return Observation(
        sampled_at_s=reading.sampled_at_s,
        error=reading.error,
        error_why=reading.error_why,
        visible=reading.visible,
        in_flight=reading.in_flight,
        delayed=reading.delayed,
        dead_letter=reading.dead_letter,
        oldest_age_s=oldest_age_s,
        replicas=sum(item.replicas for item in groups),
        ready=ready,
        starting=_count(workers, PodPhase.STARTING) + _count(workers, PodPhase.READY) - ready,
        unschedulable=len(stuck),
        unschedulable_since_s=oldest.pod.unschedulable_since_s if oldest else None,
        unschedulable_why=missing_resource(oldest.pod.unschedulable_why) if oldest else "",
        refused_why=_refused_why(groups),
        draining=_count(workers, PodPhase.DRAINING),
        busy=sum(w.busy is True and not w.draining for w in workers),
        finishing=sum(w.busy is True and w.draining for w in workers),
        silent=sum(w.busy is None and w.phase is PodPhase.READY for w in workers),
        served=counters.served(),
        received=counters.received,
        received_late=counters.received_late,
        failed=counters.failed,
        cold_start_s=cold_start_s,
        pods=decision_pods(groups),
        neighbours=neighbours,
    )


def _count(workers: Collection[Worker], phase: PodPhase, *, ready: bool = False) -> int:
    return sum(w.phase is phase and (w.pod.ready or not ready) for w in workers)


def _refused_why(groups: Collection[Group]) -> str:
    """Return what the controller says of pods that it may not create, empty when all exist."""
    for item in groups:
        failure = condition(item.deployment, "ReplicaFailure")
        failed = failure is not None and failure["status"] == "True"
        if failure is not None and failed and item.replicas > len(item.workers):
            return str(failure.get("message") or failure.get("reason") or "")[:REFUSED_MAX]
    return ""
