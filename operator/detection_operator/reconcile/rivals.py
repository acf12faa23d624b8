"""Two DetectionQueues on one Deployment: the older one scales it, the younger one says why not."""

from detection_operator.kube.port import Cluster, Object
from detection_operator.spec.queue_spec import QueueSpec


def rival(queue: Object, spec: QueueSpec, cluster: Cluster) -> str | None:
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
