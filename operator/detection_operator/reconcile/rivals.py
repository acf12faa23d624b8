"""Who else wants to set the replicas or scales for the same messages."""

from collections.abc import Iterator
from typing import Final

from detection_operator.kube.managers import other_writer
from detection_operator.kube.objects import replicas_of
from detection_operator.kube.port import Cluster, Object
from detection_operator.reconcile.state import QueueState
from detection_operator.spec.queue_spec import QueueSpec
from detection_operator.spec.scaling import Mode

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


def sharers(queue: Object, cluster: Cluster) -> Iterator[str]:
    """Yield a sentence for each other DetectionQueue that scales for the same SQS queue."""
    place = _place(queue)
    if place is None:
        return
    uid = queue["metadata"]["uid"]
    others = (other for other in cluster.queues() if other["metadata"]["uid"] != uid)
    for metadata in (other["metadata"] for other in others if _place(other) == place):
        name = f"{metadata['namespace']}/{metadata['name']}"
        yield f"DetectionQueue {name} also scales for all messages of this queue"


def _place(queue: Object) -> tuple[str, str] | None:
    """Return the queue that a DetectionQueue scales for, None when it scales for none now."""
    spec = queue.get("spec", {})
    mode = (spec.get("scaling") or {}).get("mode", Mode.AUTO)
    if spec.get("paused") or mode != Mode.AUTO or queue["metadata"].get("deletionTimestamp"):
        return None
    place = spec.get("queue") or {}
    return place.get("url", ""), place.get("endpointURL", "")


def _age(queue: Object) -> tuple[str, str]:
    return (queue["metadata"].get("creationTimestamp", ""), queue["metadata"]["name"])
