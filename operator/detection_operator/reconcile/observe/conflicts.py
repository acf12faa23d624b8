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
    for other in _referrers(queue, reference.name, cluster):
        if _age(other) < mine:
            return f"DetectionQueue {other['metadata']['name']}"
    return None


def is_claimed(queue: Object, name: str, cluster: Cluster) -> bool:
    """Say whether another DetectionQueue of the same namespace refers to a Deployment."""
    return any(True for _ in _referrers(queue, name, cluster))


def referred(queue: Object) -> str | None:
    """Return the Deployment that a DetectionQueue refers to, also where its spec is invalid."""
    name = queue.get("spec", {}).get("worker", {}).get("deploymentRef", {}).get("name")
    return name if isinstance(name, str) else None


def _referrers(queue: Object, name: str, cluster: Cluster) -> Iterator[Object]:
    mine = queue["metadata"]
    for other in cluster.queues():
        metadata = other["metadata"]
        strange = metadata["namespace"] == mine["namespace"] and metadata["uid"] != mine["uid"]
        if strange and referred(other) == name:
            yield other


def sharers(queue: Object, cluster: Cluster) -> Iterator[str]:
    """Yield a sentence for each other DetectionQueue that scales for the same SQS queue."""
    mine = queue["spec"]["queue"]
    if not _is_active(queue):
        return
    # Of a thousand, at each look: the URL first, which tells nearly all of them apart.
    for other in [o for o in cluster.queues() if _url(o) == mine["url"]]:
        metadata, theirs = other["metadata"], other["spec"]["queue"]
        same = theirs.get("endpointURL") == mine.get("endpointURL")
        if same and metadata["uid"] != queue["metadata"]["uid"] and _is_active(other):
            name = f"{metadata['namespace']}/{metadata['name']}"
            yield f"DetectionQueue {name} also scales for all messages of this queue"


def _url(queue: Object) -> str | None:
    url: str | None = queue.get("spec", {}).get("queue", {}).get("url")
    return url


def _is_active(queue: Object) -> bool:
    """Say whether a DetectionQueue scales for its messages."""
    spec = queue["spec"]
    mode = (spec.get("scaling") or {}).get("mode", Mode.AUTO)
    going = queue["metadata"].get("deletionTimestamp")
    return not (spec.get("paused") or going) and mode == Mode.AUTO


def _age(queue: Object) -> tuple[str, str]:
    return (queue["metadata"].get("creationTimestamp", ""), queue["metadata"]["name"])
