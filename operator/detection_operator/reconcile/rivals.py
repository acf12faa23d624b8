"""Who else wants to set the replicas: an autoscaler, or an older DetectionQueue."""

from typing import Final

from detection_operator.kube.managers import other_writer
from detection_operator.kube.objects import replicas_of
from detection_operator.kube.port import Cluster, Object
from detection_operator.reconcile.state import QueueState
from detection_operator.spec.queue_spec import QueueSpec

QUIET_S: Final = 600.0
"""A rival that has changed nothing for so long is taken for gone. The next write of the operator
finds out: an autoscaler that is still there answers within its own period."""


def contender(state: QueueState, deployment: Object, now_s: float) -> str | None:
    """Return the manager that sets the replicas too, until it has been quiet for long.

    Args:
        state: Where sightings are noted.
        deployment: Whose replicas.
        now_s: Monotonic seconds.
    """
    name = deployment["metadata"]["name"]
    other = other_writer(deployment, written=state.written.get(name))
    if other is None:
        state.rivals.pop(name, None)
        return None
    replicas = replicas_of(deployment)
    before = state.rivals.get(name)
    if before is None or before[:2] != (other, replicas):
        before = state.rivals[name] = (other, replicas, now_s)
    return other if now_s - before[2] < QUIET_S else None


def elder(queue: Object, spec: QueueSpec, cluster: Cluster) -> str | None:
    """Return the older DetectionQueue of the same namespace with the same Deployment, or None."""
    reference = spec.worker.deployment_ref
    if reference is None:
        return None
    mine = _age(queue)
    namespace = queue["metadata"]["namespace"]
    for other in cluster.queues():
        metadata = other["metadata"]
        if metadata["namespace"] != namespace or metadata["uid"] == queue["metadata"]["uid"]:
            continue
        theirs = other.get("spec", {}).get("worker", {}).get("deploymentRef", {}).get("name")
        if theirs == reference.name and _age(other) < mine:
            return f"DetectionQueue {metadata['name']}"
    return None


def _age(queue: Object) -> tuple[str, str]:
    return (queue["metadata"].get("creationTimestamp", ""), queue["metadata"]["name"])
