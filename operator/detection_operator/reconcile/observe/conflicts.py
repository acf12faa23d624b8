"""Who else sets the replicas, refers to the same Deployment or scales for the same SQS queue."""

from collections.abc import Iterator, MutableMapping
from typing import Final

from detection_operator.kube.managers import other_writer
from detection_operator.kube.objects import key_of, replicas_of, seniority
from detection_operator.kube.port import Cluster, Object
from detection_operator.reconcile.observe.observed import Sighting
from detection_operator.spec.queue_spec import QueueSpec
from detection_operator.spec.scaling import Mode

QUIET_S: Final = 600.0
"""A writer that has changed nothing for this time counts as gone. The operator's next write is
the test: an autoscaler that still runs answers within its own period."""


def competing_writer(
    sightings: MutableMapping[str, Sighting],
    deployment: Object,
    *,
    written: int | None,
    now_s: float,
) -> str | None:
    """Return the manager that also sets the replicas, unless it has been quiet for long.

    Args:
        sightings: Where writers are noted, by Deployment.
        deployment: The Deployment.
        written: Replicas that the operator wrote last; None when it wrote none yet.
        now_s: Monotonic seconds.
    """
    name = deployment["metadata"]["name"]
    other = other_writer(deployment, written=written)
    if other is None:
        sightings.pop(name, None)
        return None
    replicas = replicas_of(deployment)
    before = sightings.get(name)
    if before is None or before[:2] != (other, replicas):
        before = sightings[name] = (other, replicas, now_s)
    return other if now_s - before[2] < QUIET_S else None


def older_owner(queue: Object, spec: QueueSpec, cluster: Cluster) -> str | None:
    """Return the older DetectionQueue that refers to the same Deployment, or None."""
    reference = spec.worker.deployment_ref
    if reference is None:
        return None
    mine = seniority(queue)
    for other in _others_with_reference(queue, reference.name, cluster):
        if seniority(other) < mine:
            return f"DetectionQueue {other['metadata']['name']}"
    return None


def has_other_owner(queue: Object, name: str, cluster: Cluster) -> bool:
    """Say whether another DetectionQueue of the namespace refers to a Deployment."""
    return any(True for _ in _others_with_reference(queue, name, cluster))


def deployment_ref(queue: Object) -> str | None:
    """Return the name in ``deploymentRef``, also of a spec that is otherwise invalid."""
    name = queue.get("spec", {}).get("worker", {}).get("deploymentRef", {}).get("name")
    return name if isinstance(name, str) else None


def _others_with_reference(queue: Object, name: str, cluster: Cluster) -> Iterator[Object]:
    mine = queue["metadata"]
    for other in cluster.queues():
        metadata = other["metadata"]
        is_other = metadata["namespace"] == mine["namespace"] and metadata["uid"] != mine["uid"]
        if is_other and deployment_ref(other) == name:
            yield other


def shared_queue_findings(queue: Object, cluster: Cluster) -> Iterator[str]:
    """Yield a sentence for each other DetectionQueue that scales for the same SQS queue."""
    mine = queue["spec"]["queue"]
    if not _is_active(queue):
        return
    for other in sorted(cluster.queues_of(mine["url"]), key=key_of):
        metadata, theirs = other["metadata"], other["spec"]["queue"]
        same = theirs.get("endpointURL") == mine.get("endpointURL")
        if same and metadata["uid"] != queue["metadata"]["uid"] and _is_active(other):
            name = f"{metadata['namespace']}/{metadata['name']}"
            yield f"DetectionQueue {name} also scales for all messages of this queue"


def _is_active(queue: Object) -> bool:
    """Say whether a DetectionQueue scales for its messages."""
    spec = queue["spec"]
    mode = (spec.get("scaling") or {}).get("mode", Mode.AUTO)
    deleting = queue["metadata"].get("deletionTimestamp")
    return not (spec.get("paused") or deleting) and mode == Mode.AUTO
