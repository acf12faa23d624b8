"""From what was gathered to the ``Observation`` that a decision is made from. Pure."""

from collections.abc import Collection, Sequence
from typing import Final

from detection_operator.kube.objects import condition
from detection_operator.kube.pods.complaints import shortened
from detection_operator.kube.pods.events import Sign
from detection_operator.readers.counters import Counters
from detection_operator.readers.values import QueueReading
from detection_operator.reconcile.observe.fleet import (
    Group,
    Worker,
    decision_pods,
    missing_resource,
)
from detection_operator.reconcile.observe.starts import StartTimes
from detection_operator.reconcile.observe.trouble import (
    late,
    said_of,
    stalled,
    with_sign,
    words_of,
)
from detection_operator.scaling.estimates.cluster_capacity import PROMISE_S
from detection_operator.scaling.observation import Observation, Refusal
from detection_operator.scaling.pods import PodPhase

REFUSED_MAX: Final = 512
"""Characters of a controller's message; a webhook's may be a page long."""
NODES_MAX: Final = 3
"""Names of nodes in one sentence."""


def observation(
    groups: Collection[Group],
    reading: QueueReading,
    counters: Counters,
    *,
    oldest_age_s: float | None,
    starts: StartTimes,
    now_s: float,
    neighbours: int = 1,
    refusal: Refusal | None = None,
) -> Observation:
    """Return the observation.

    Args:
        groups: The Deployments with their pods.
        reading: The newest reading of the queue.
        counters: Counters of workers since the operator started.
        oldest_age_s: Longest wait among the messages received recently.
        starts: How long pods take to start.
        now_s: The present, seconds since the epoch.
        neighbours: Queues that share the request rate of the AWS account, this one included.
        refusal: The API server refuses to write replicas.
    """
    everyone = [worker for item in groups for worker in item.workers]
    workers = [worker for worker in everyone if worker.node is None]
    departing = [worker for worker in everyone if worker.node is not None]
    stuck = [w for w in workers if w.phase is PodPhase.UNSCHEDULABLE]
    oldest = min(stuck, key=lambda w: w.pod.unschedulable_since_s or 0.0, default=None)
    promised = with_sign(stuck, Sign.COMING, since_s=now_s - PROMISE_S)
    others = [w.pod.unschedulable_since_s for w in stuck if w not in promised]
    starting = [w for w in workers if w.phase is PodPhase.STARTING]
    waiting = late(workers, starts.usual_s, now_s)
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
        replicas=sum(item.staying for item in groups),
        outdated=sum(item.staying for item in groups if not item.current),
        departing=len(departing),
        departing_why=_departing_why(departing),
        ready=ready,
        starting=len(starting) + _count(workers, PodPhase.READY) - ready,
        unschedulable=len(stuck),
        unschedulable_since_s=oldest.pod.unschedulable_since_s if oldest else None,
        unschedulable_why=missing_resource(oldest.pod.unschedulable_why) if oldest else "",
        unschedulable_said=shortened(said_of(oldest)) if oldest else "",
        launching=len(promised),
        unpromised_since_s=min(filter(None, others), default=None) if promised else None,
        hopeless=len(with_sign(stuck, Sign.HOPELESS)),
        unplaced=sum(not w.pod.scheduled for w in starting),
        launch_s=starts.launch_s,
        unadmitted=sum(not (w.pod.scheduled and w.pod.admitted) for w in starting),
        rejected=starts.rejected,
        unready=len(waiting),
        stalled=len(stalled(workers, starts.usual_s, now_s)),
        not_starting_why=_not_starting_why(groups, waiting),
        refused_why=_refused_why(groups),
        draining=_count(workers, PodPhase.DRAINING),
        busy=sum(w.busy is True and not w.draining for w in workers),
        finishing=sum(w.busy is True and (w.draining or w.node is not None) for w in everyone),
        silent=sum(w.busy is None and w.phase is PodPhase.READY for w in workers),
        served=counters.served(),
        received=counters.received,
        received_late=counters.received_late,
        failed=counters.failed,
        cold_start_s=starts.cold_start_s,
        cold_start=starts.parts,
        pods=decision_pods(groups),
        neighbours=neighbours,
        refusal=refusal,
    )


def _departing_why(workers: Collection[Worker]) -> str:
    """Return which nodes are going, and why."""
    nodes = sorted({worker.node for worker in workers if worker.node}, key=lambda n: n.name)
    named = [f"{node.name}: {node.leaving}" for node in nodes[:NODES_MAX]]
    more = [f"{len(nodes) - NODES_MAX} more"] if len(nodes) > NODES_MAX else []
    return "; ".join((*named, *more))


def _not_starting_why(groups: Collection[Group], waiting: Sequence[Worker]) -> str:
    """Return the cluster's message about the longest-waiting pod, else about the last failed."""
    if waiting:
        return words_of(waiting[0])
    failed = [pod for item in groups for pod in item.failed if not pod.was_ready]
    return max(failed, key=lambda pod: (pod.at_s, pod.name)).words if failed else ""


def _count(workers: Collection[Worker], phase: PodPhase, *, ready: bool = False) -> int:
    return sum(w.phase is phase and (w.pod.ready or not ready) for w in workers)


def _refused_why(groups: Collection[Group]) -> str:
    """Return why the controller cannot create pods; empty when all exist."""
    for item in groups:
        failure = condition(item.deployment, "ReplicaFailure")
        failed = failure is not None and failure["status"] == "True"
        if failure is not None and failed and item.replicas > len(item.workers):
            return str(failure.get("message") or failure.get("reason") or "")[:REFUSED_MAX]
    return ""
