"""A namespace of a real API server, with what ``World`` needs of a cluster and of its nodes."""

import copy
from collections import Counter, deque
from collections.abc import Callable, Mapping
from typing import Any, Final

from detection_operator.crd.manifest import KIND, PLURAL, POOL_PLURAL
from detection_operator.errors import ClusterError, Conflict
from detection_operator.kube.client import (
    APPS,
    POLICY,
    QUEUES,
    KubernetesCluster,
)
from detection_operator.kube.objects import API_VERSION
from detection_operator.kube.port import EventNote, Key, Object
from detection_operator.kube.rest import MERGE_PATCH, Rest, namespaced
from detection_operator.kube.store import POOL
from detection_testing.kubernetes.cluster import Slot

_KINDS: Final = {
    KIND: (QUEUES, PLURAL),
    POOL: (QUEUES, POOL_PLURAL),
    "ResourceQuota": ("v1", "resourcequotas"),
    "Deployment": (APPS, "deployments"),
    "Pod": ("v1", "pods"),
    "PodDisruptionBudget": (POLICY, "poddisruptionbudgets"),
}

_NODES: Final = namespaced("v1", None, "nodes")


class ApiScene(KubernetesCluster):
    """The operator's real client, and the hands of a test.

    Args:
        operator: Requests of the operator.
        admin: Requests of the test.
        namespace: Made here.

    Attributes:
        writes: Successful writes of the operator by kind.
        events: Posted ones, oldest first.
        admin: Requests of the test.
        namespace: Namespace of every object.
        activity: Number of writes so far, by any client in the test.
    """

    def __init__(self, operator: Rest, admin: Rest, namespace: str) -> None:
        self.writes: Counter[str] = Counter()
        self.events: list[EventNote] = []
        self.admin = admin
        self.namespace = namespace
        self.activity = 0
        self._faults: dict[str, deque[ClusterError]] = {}
        super().__init__(operator, (namespace,), self._count)
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
        admin.call("POST", "/api/v1/namespaces", body)

    # What tests do.

    def fail(self, call: str, *errors: ClusterError) -> None:
        """Let the next calls of a method of the port raise these errors, one each."""
        self._faults.setdefault(call, deque()).extend(errors)

    def create(self, obj: Mapping[str, Any]) -> dict[str, Any]:
        """Create an object in the scene's namespace."""
        self.activity += 1
        body = copy.deepcopy(dict(obj))
        body["metadata"]["namespace"] = self.namespace
        group, plural = _KINDS[body["kind"]]
        made: dict[str, Any] = self.admin.call(
            "POST", namespaced(group, self.namespace, plural), body
        )
        return made

    def create_queue(self, name: str, spec: Mapping[str, Any]) -> Key:
        """Create a DetectionQueue."""
        self.create(
            {"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": name}, "spec": spec}
        )
        return Key(self.namespace, name)

    def create_pool(self, name: str, spec: Mapping[str, Any]) -> Key:
        """Create a WorkerPool."""
        self.create(
            {"apiVersion": API_VERSION, "kind": POOL, "metadata": {"name": name}, "spec": spec}
        )
        return Key(self.namespace, name, POOL)

    def edit(
        self, slot: Slot, change: Callable[[dict[str, Any]], None], *, manager: str = "kubectl"
    ) -> None:
        """Change an object by hand, under the name of some field manager."""
        self.activity += 1
        path = _path(slot)
        while True:
            obj = self.admin.call("GET", path)
            change(obj)
            try:
                self.admin.call("PUT", path, obj, query={"fieldManager": manager})
            except Conflict:
                continue
            return

    def node_name(self, name: str) -> str:
        """Return the name of a node in the cluster, which scenes share."""
        return f"{self.namespace}-{name}"

    def create_node(self, node: Mapping[str, Any]) -> None:
        """Create a node, with its status."""
        self.activity += 1
        metadata = {**node["metadata"], "name": self.node_name(node["metadata"]["name"])}
        metadata["labels"] = {**metadata["labels"], "scene": self.namespace}
        self.admin.call("POST", _NODES, {**node, "metadata": metadata})

    def edit_node(self, name: str, change: Callable[[dict[str, Any]], None]) -> None:
        """Change a node by hand."""
        self.activity += 1
        path = f"{_NODES}/{self.node_name(name)}"
        node = self.admin.call("GET", path)
        change(node)
        self.admin.call("PUT", path, node)

    def delete_node(self, name: str) -> None:
        """Delete a node."""
        self.activity += 1
        self.admin.call("DELETE", f"{_NODES}/{self.node_name(name)}")

    def nodes_made(self) -> list[dict[str, Any]]:
        """Return the nodes of the scene."""
        query = {"labelSelector": f"scene={self.namespace}"}
        items: list[dict[str, Any]] = self.admin.call("GET", _NODES, query=query)["items"]
        return items

    def scale_by(self, manager: str, namespace: str, name: str, replicas: int) -> None:
        """Scale a Deployment as another client."""
        self.activity += 1
        path = namespaced(APPS, namespace, "deployments", name, "scale")
        body = {"spec": {"replicas": replicas}}
        query = {"fieldManager": manager}
        self.admin.call("PATCH", path, body, query=query, content_type=MERGE_PATCH)

    def delete(self, slot: Slot) -> None:
        """Delete an object."""
        self.activity += 1
        self.admin.call("DELETE", _path(slot), {"propagationPolicy": "Background"})

    def of_kind(self, kind: str) -> list[dict[str, Any]]:
        """Return the objects of a kind."""
        group, plural = _KINDS[kind]
        path = namespaced(group, self.namespace, plural)
        items: list[dict[str, Any]] = self.admin.call("GET", path)["items"]
        # Items of a list do not say their kind.
        return [{**item, "kind": kind} for item in items]

    # The port, with faults.

    def queue(self, key: Key) -> Object | None:
        """Return a DetectionQueue, or None."""
        self._trip("queue")
        return super().queue(key)

    def pool(self, key: Key) -> Object | None:
        """Return a WorkerPool, or None."""
        self._trip("pool")
        return super().pool(key)

    def resource_quota(self, namespace: str, name: str) -> Object | None:
        """Return a ResourceQuota, or None."""
        self._trip("resource_quota")
        return super().resource_quota(namespace, name)

    def deployments(self, key: Key) -> list[Object]:
        """Return the Deployments of the DetectionQueue."""
        self._trip("deployments")
        return super().deployments(key)

    def pods(self, namespace: str, selector: str) -> list[Object]:
        """Return pods."""
        self._trip("pods")
        return super().pods(namespace, selector)

    def apply(self, manifest: Object) -> Object:
        """Apply an object."""
        self._trip("apply")
        return super().apply(manifest)

    def scale(
        self, namespace: str, name: str, replicas: int, *, resource_version: str | None
    ) -> None:
        """Scale a Deployment."""
        self._trip("scale")
        super().scale(namespace, name, replicas, resource_version=resource_version)

    def disruption_budget(self, namespace: str, name: str) -> Object | None:
        """Return a PodDisruptionBudget, or None."""
        self._trip("disruption_budget")
        return super().disruption_budget(namespace, name)

    def annotate_pod(
        self, namespace: str, name: str, annotations: Mapping[str, str | None]
    ) -> Object:
        """Annotate a pod."""
        self._trip("annotate_pod")
        return super().annotate_pod(namespace, name, annotations)

    def apply_status(self, key: Key, status: Object) -> Object:
        """Apply a status."""
        self._trip("apply_status")
        return super().apply_status(key, status)

    def post_event(self, note: EventNote) -> None:
        """Post an event and keep it."""
        super().post_event(note)
        self.events.append(note)

    def _count(self, kind: str) -> None:
        self.writes[kind] += 1
        self.activity += kind not in {"Status", "Event"}

    def _trip(self, call: str) -> None:
        faults = self._faults.get(call)
        if faults:
            raise faults.popleft()


def _path(slot: Slot) -> str:
    kind, namespace, name = slot
    group, plural = _KINDS[kind]
    return namespaced(group, namespace, plural, name)
