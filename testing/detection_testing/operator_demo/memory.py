"""A cluster in memory with the operator on it, for machines without an API server."""

import contextlib
import random
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any, Final

from detection_operator.clock import SystemClock
from detection_operator.kube.objects import key_of, replicas_of, served_key, timestamp
from detection_operator.kube.pods.ranking import going
from detection_operator.kube.pods.views import pod_views
from detection_operator.kube.port import EventNote, Key, Object
from detection_operator.kube.selectors import matches, selector_text
from detection_operator.kube.store import POOL
from detection_operator.metrics import Metrics
from detection_operator.readers.queue import SqsReader
from detection_operator.readers.workers import HttpWorkers
from detection_operator.reconcile.controller import Controller
from detection_operator.reconcile.observe.gather import Sources
from detection_operator.reconcile.reconciler import Reconciler
from detection_testing.kubernetes.cluster import InMemoryCluster, Slot, slot_of
from detection_testing.operator_demo.ports import NAMESPACE, NODE, QUEUE_NAME

RESYNC_S: Final = 60.0
KUBELET: Final = "kubelet"
NAME_CHARS: Final = "bcdfghjklmnpqrstvwxz2456789"
"""Letters of Kubernetes' generated names: no vowels, so no words."""


class SharedCluster(InMemoryCluster):
    """The operator's port to the cluster, for several threads."""

    def __init__(self) -> None:
        super().__init__(time.time)
        self.lock = threading.RLock()

    def queues(self) -> list[Object]:
        """Return all DetectionQueues."""
        with self.lock:
            return super().queues()

    def queues_of(self, url: str) -> list[Object]:
        """Return the DetectionQueues of one SQS queue."""
        with self.lock:
            return super().queues_of(url)

    def queue(self, key: Key) -> Object | None:
        """Return a DetectionQueue, or None."""
        with self.lock:
            return super().queue(key)

    def pools(self) -> list[Object]:
        """Return all WorkerPools."""
        with self.lock:
            return super().pools()

    def pool(self, key: Key) -> Object | None:
        """Return a WorkerPool, or None."""
        with self.lock:
            return super().pool(key)

    def deployments(self, key: Key) -> list[Object]:
        """Return the Deployments of the DetectionQueue."""
        with self.lock:
            return super().deployments(key)

    def deployment(self, namespace: str, name: str) -> Object | None:
        """Return a Deployment, or None."""
        with self.lock:
            return super().deployment(namespace, name)

    def pods(self, namespace: str, selector: str) -> list[Object]:
        """Return the pods that a selector finds."""
        with self.lock:
            return super().pods(namespace, selector)

    def pod_events(self, namespace: str, *, pulls: bool = False) -> list[Object]:
        """Return the events about pods."""
        with self.lock:
            return super().pod_events(namespace, pulls=pulls)

    def nodes(self) -> list[Object]:
        """Return all nodes."""
        with self.lock:
            return super().nodes()

    def node(self, name: str) -> Object | None:
        """Return a node, or None."""
        with self.lock:
            return super().node(name)

    def apply(self, manifest: Object) -> Object:
        """Apply an object."""
        with self.lock:
            return super().apply(manifest)

    def scale(
        self, namespace: str, name: str, replicas: int, *, resource_version: str | None
    ) -> None:
        """Set the replicas of a Deployment."""
        with self.lock:
            super().scale(namespace, name, replicas, resource_version=resource_version)

    def delete_deployment(self, namespace: str, name: str, *, resource_version: str) -> None:
        """Delete a Deployment."""
        with self.lock:
            super().delete_deployment(namespace, name, resource_version=resource_version)

    def disruption_budget(self, namespace: str, name: str) -> Object | None:
        """Return a PodDisruptionBudget, or None."""
        with self.lock:
            return super().disruption_budget(namespace, name)

    def delete_disruption_budget(
        self, namespace: str, name: str, *, resource_version: str
    ) -> None:
        """Delete a PodDisruptionBudget."""
        with self.lock:
            super().delete_disruption_budget(namespace, name, resource_version=resource_version)

    def annotate_pod(
        self, namespace: str, name: str, annotations: Mapping[str, str | None]
    ) -> Object:
        """Annotate a pod."""
        with self.lock:
            return super().annotate_pod(namespace, name, annotations)

    def apply_status(self, key: Key, status: Object) -> Object:
        """Replace the status of a DetectionQueue or WorkerPool."""
        with self.lock:
            return super().apply_status(key, status)

    def post_event(self, note: EventNote) -> None:
        """Keep an event."""
        with self.lock:
            super().post_event(note)


class ReplicaController:
    """Lets pods follow the replicas, as Kubernetes' own controllers do.

    Args:
        cluster: Whose lock the caller holds.
    """

    def __init__(self, cluster: InMemoryCluster) -> None:
        self._cluster = cluster
        self._random = random.Random()  # noqa: S311 - names, guards nothing

    def tick(self) -> list[Key]:
        """Create and delete pods; return the DetectionQueues concerned."""
        changed: list[Key] = []
        for deployment in list(self._cluster.of_kind("Deployment")):
            if self._replicate(deployment):
                key = served_key(deployment)
                changed += [key] if key is not None else []
        return changed

    def _replicate(self, deployment: Object) -> bool:
        selector = selector_text(deployment["spec"]["selector"])
        alive = [
            pod
            for pod in self._cluster.of_kind("Pod")
            if matches(selector, pod["metadata"]["labels"])
            and not pod["metadata"].get("deletionTimestamp")
        ]
        wanted = replicas_of(deployment)
        for _ in range(wanted - len(alive)):
            self._create(deployment)
        surplus = going(pod_views(alive), wanted)
        for pod in alive:
            if pod["metadata"]["name"] in surplus:
                self._cluster.edit(slot_of(pod), _mark_deleted, manager="controller")
        return len(alive) != wanted

    def _create(self, deployment: Object) -> None:
        metadata, template = deployment["metadata"], deployment["spec"]["template"]
        suffix = "".join(self._random.choices(NAME_CHARS, k=5))
        self._cluster.create(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {
                    "name": f"{metadata['name']}-{suffix}",
                    "namespace": metadata["namespace"],
                    "labels": dict(template["metadata"].get("labels", {})),
                    "annotations": dict(template["metadata"].get("annotations", {})),
                    "ownerReferences": [{"uid": metadata["uid"], "controller": True}],
                },
                "spec": template["spec"],
                "status": {"phase": "Pending"},
            }
        )


class MemoryKubernetes:
    """Implements ``Kubernetes`` on a cluster in memory.

    Args:
        why: Why there is no API server, human-readable.
    """

    def __init__(self, why: str) -> None:
        self._why = why
        self._cluster = SharedCluster()
        self._replicas = ReplicaController(self._cluster)
        self._reader, self._workers = SqsReader(), HttpWorkers()
        clock, metrics = SystemClock(), Metrics()
        sources = Sources(
            cluster=self._cluster, reader=self._reader, workers=self._workers, clock=clock
        )
        self._controller = Controller(
            Reconciler(sources=sources, metrics=metrics),
            clock,
            metrics,
            resync=lambda: [key_of(queue) for queue in self._cluster.queues()],
            threads=1,
            resync_s=RESYNC_S,
        )

    @property
    def description(self) -> str:
        """Human-readable description."""
        return f"a cluster in memory behind the operator's port ({self._why})"

    def start(self) -> None:
        """Start the operator."""
        self._controller.start()

    def close(self) -> None:
        """End the operator."""
        self._controller.stop()
        self._reader.close()
        self._workers.close()

    def create_queue(self, spec: Mapping[str, Any], name: str = QUEUE_NAME) -> None:
        """Create a DetectionQueue."""
        with self._cluster.lock:
            key = self._cluster.create_queue(name, spec, NAMESPACE)
        self._controller.add(key)

    def create_pool(self, spec: Mapping[str, Any], name: str) -> None:
        """Create a WorkerPool."""
        with self._cluster.lock:
            key = self._cluster.create_pool(name, spec, NAMESPACE)
        self._controller.add(key)

    def status(self, name: str = QUEUE_NAME) -> Object:
        """Return the status of a DetectionQueue."""
        return _status(self._cluster.queue(Key(NAMESPACE, name)))

    def pool_status(self, name: str) -> Object:
        """Return the status of a WorkerPool."""
        return _status(self._cluster.pool(Key(NAMESPACE, name, POOL)))

    def replicas(self, name: str = QUEUE_NAME) -> int:
        """Return what the Deployments of a DetectionQueue ask for."""
        return sum(map(replicas_of, self._cluster.deployments(Key(NAMESPACE, name))))

    def control(self) -> None:
        """Let pods follow the replicas."""
        with self._cluster.lock:
            changed = self._replicas.tick()
        for key in changed:
            self._controller.add(key)

    def pods(self) -> list[Object]:
        """Return all pods."""
        return self._cluster.pods(NAMESPACE, "")

    def bind(self, pod: Object) -> None:
        """Give a pod to this machine."""
        self._edit(pod, lambda obj: obj["spec"].update(nodeName=NODE))

    def annotate(self, pod: Object, annotations: Mapping[str, str]) -> None:
        """Set annotations of a pod."""
        self._edit(
            pod, lambda obj: obj["metadata"].setdefault("annotations", {}).update(annotations)
        )

    def set_status(self, pod: Object, status: Mapping[str, Any]) -> None:
        """Set members of the status of a pod."""
        self._edit(pod, lambda obj: obj.setdefault("status", {}).update(status))

    def remove(self, pod: Object) -> None:
        """Remove a pod that has ended."""
        with self._cluster.lock:
            if _slot(pod) in self._cluster.objects:
                self._cluster.delete(_slot(pod))
        self._tell(pod)

    def _edit(self, pod: Object, change: Any) -> None:
        with self._cluster.lock:
            if _slot(pod) in self._cluster.objects:
                self._cluster.edit(_slot(pod), change, manager=KUBELET)
        self._tell(pod)

    def _tell(self, pod: Object) -> None:
        # What a watch would deliver to the operator.
        key = served_key(pod)
        if key is not None:
            self._controller.add(key)


@contextlib.contextmanager
def running(why: str) -> Iterator[MemoryKubernetes]:
    """Start a cluster in memory with the operator, stop it at the end."""
    cluster = MemoryKubernetes(why)
    cluster.start()
    try:
        yield cluster
    finally:
        cluster.close()


def _status(obj: Object | None) -> Object:
    status: Object = (obj or {}).get("status", {})
    return status


def _slot(pod: Object) -> Slot:
    return ("Pod", pod["metadata"]["namespace"], pod["metadata"]["name"])


def _mark_deleted(obj: dict[str, Any]) -> None:
    obj["metadata"]["deletionTimestamp"] = timestamp(time.time())
