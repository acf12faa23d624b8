"""The queues of a pool: which they are and what they hold."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from detection_contract.environment import LABEL_QUEUE
from detection_operator.kube.objects import is_owned_by, key_of, replicas_of
from detection_operator.kube.pods.views import PodView, pod_views
from detection_operator.kube.port import Cluster, Key, Object
from detection_operator.kube.quantities import units_of_pod
from detection_operator.kube.selectors import selector_text
from detection_operator.kube.store import POOL
from detection_operator.reconcile.observe.conflicts import deployment_ref
from detection_operator.reconcile.observe.fleet import Group
from detection_operator.reconcile.pools.capacity import resource_of
from detection_operator.reconcile.pools.ledger import Standing
from detection_operator.scaling.pools.demand import Demand
from detection_operator.spec.worker_pool import PoolSpec


def pool_key(queue: Object) -> Key | None:
    """Return the key of the pool that a queue names, also in a spec that is otherwise invalid."""
    found = membership(queue).get("name")
    namespace = queue["metadata"]["namespace"]
    return Key(namespace, found, POOL) if isinstance(found, str) and found else None


def membership(queue: Object) -> Mapping[str, Any]:
    """Return ``scaling.pool`` of a queue as it stands there; empty without one."""
    found: Any = queue.get("spec")
    for name in ("scaling", "pool"):
        found = found.get(name) if isinstance(found, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def queues_of(cluster: Cluster, pool: Key) -> list[Object]:
    """Return the DetectionQueues that name a pool."""
    return [
        queue
        for queue in cluster.queues()
        if queue["metadata"]["namespace"] == pool.namespace and pool_key(queue) == pool
    ]


def standing(groups: Sequence[Group], pool: PoolSpec | None) -> tuple[Standing, int]:
    """Return the replicas of a queue as its pool counts them, and the units that each takes.

    Args:
        groups: Its Deployments.
        pool: Spec of the pool; None while unknown.
    """
    resource = None if pool is None else resource_of(pool)
    # Nodes that are going are no capacity, so what is on them takes none.
    departing_count = pool is None or pool.capacity.from_nodes is None
    current = [item.deployment for item in groups if item.current]
    each = units_each(current or [item.deployment for item in groups], resource)
    running = held = 0
    for item in groups:
        units = units_each([item.deployment], resource)
        running += item.staying * units
        exist = max(item.replicas, len(item.workers) + item.unseen) + len(item.leaving)
        held += (exist if departing_count else exist - len(item.departing)) * units
    beside = not departing_count and any(item.departing for item in groups)
    running, held = math.ceil(running / each), math.ceil(held / each)
    return Standing(running=running, held=held, beside=beside), each


def units_each(deployments: Sequence[Object], resource: str | None) -> int:
    """Return the units that a replica of some Deployments takes; at least 1."""
    if resource is None:
        return 1
    specs = [_pod_spec(item) for item in deployments]
    return max((units_of_pod(spec, resource) for spec in specs), default=1) or 1


def undecided(cluster: Cluster, queue: Object, resource: str | None) -> Demand:
    """Return what a queue without a decision in this process holds."""
    key = key_of(queue)
    deployments = [item for item in cluster.deployments(key) if is_owned_by(item, queue)]
    adopted = deployment_ref(queue)
    theirs = None if adopted is None else cluster.deployment(key.namespace, adopted)
    found = [*deployments, *([] if theirs is None else [theirs])]
    pods = _pods(cluster, key)
    ending = sum(pod.terminating for pod in pods)
    # Controllers that are slow have not deleted yet what is more than the replicas.
    held = max(sum(map(replicas_of, found)), len(pods) - ending) + ending
    return Demand(
        key=key.name,
        wanted=held,
        held=held,
        granted=held,
        pinned=True,
        priority=_whole(membership(queue).get("priority")),
        units_each=units_each(found, resource),
    )


def left_over(cluster: Cluster, queue: Key) -> int:
    """Return the pods of a queue's own Deployments that have not ended."""
    return len(_pods(cluster, queue))


def pods_of(cluster: Cluster, namespace: str, name: str) -> int:
    """Return the pods of a queue that have not ended, those of an adopted Deployment included."""
    key = Key(namespace, name)
    queue = cluster.queue(key)
    adopted = None if queue is None else deployment_ref(queue)
    theirs = None if adopted is None else cluster.deployment(namespace, adopted)
    if theirs is None:
        return left_over(cluster, key)
    selector = selector_text(theirs["spec"]["selector"])
    both = {pod.uid for pod in pod_views(cluster.pods(namespace, selector))}
    return len(both | {pod.uid for pod in _pods(cluster, key)})


def _pods(cluster: Cluster, queue: Key) -> list[PodView]:
    return pod_views(cluster.pods(queue.namespace, f"{LABEL_QUEUE}={queue.name}"))


def _pod_spec(deployment: Object) -> Mapping[str, Any]:
    found: Any = deployment.get("spec")
    for name in ("template", "spec"):
        found = found.get(name) if isinstance(found, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _whole(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else 0
