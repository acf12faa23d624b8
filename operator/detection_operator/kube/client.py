"""The port to a cluster over HTTP: every read asks the API server."""

import itertools
from collections.abc import Callable, Mapping
from typing import Any, Final

import urllib3

from detection_contract.environment import LABEL_QUEUE
from detection_operator.crd.manifest import GROUP, PLURAL, POOL_KIND, POOL_PLURAL, VERSION
from detection_operator.errors import NotFound, NotLeading
from detection_operator.kube.nodes import slim_node
from detection_operator.kube.objects import API_VERSION, micro_timestamp, queue_url, version_of
from detection_operator.kube.pods.events import CLAIMS, CLAIMS_NAMESPACE, PULLED, SELECTOR
from detection_operator.kube.port import FIELD_MANAGER, EventNote, Key, Listed, Object
from detection_operator.kube.rest import APPLY_PATCH, MERGE_PATCH, Rest, namespaced

PAGE: Final = 500
NODE_PAGE: Final = 100
"""A node is 15 kB of JSON."""
QUEUES: Final = f"{GROUP}/{VERSION}"
APPS: Final = "apps/v1"
POLICY: Final = "policy/v1"
LEASES: Final = "coordination.k8s.io/v1"
LEASE: Final = "Lease"
LEASE_TIMEOUT: Final = urllib3.Timeout(connect=2.0, read=3.0)
"""A renewal that hangs must leave time for another before the deadline."""
COMPONENT: Final = FIELD_MANAGER
_PLURALS: Final = {
    "Deployment": (APPS, "deployments"),
    "PodDisruptionBudget": (POLICY, "poddisruptionbudgets"),
}
_APPLY: Final = {"fieldManager": FIELD_MANAGER, "force": "true"}
_WRITE: Final = {"fieldManager": FIELD_MANAGER}


class KubernetesCluster:
    """Implements ``Cluster`` and ``Leases``.

    Args:
        rest: Sends requests to the API server.
        namespaces: Namespaces in scope; empty means all.
        wrote: Called with the kind of each write.
        may_write: Called before each write except those of leases; False prevents it.
    """

    def __init__(
        self,
        rest: Rest,
        namespaces: tuple[str, ...] = (),
        wrote: Callable[[str], None] = lambda _: None,
        may_write: Callable[[], bool] = lambda: True,
    ) -> None:
        self._rest = rest
        self._may_write = may_write
        self._namespaces: tuple[str | None, ...] = namespaces or (None,)
        self._wrote = wrote

    @property
    def pools_served(self) -> bool:
        """Its reads say whether; nothing is known before."""
        return True

    @property
    def sees_nodes(self) -> bool:
        """Its reads say whether; nothing is known before."""
        return True

    def queues(self) -> list[Object]:
        """Return all DetectionQueues in scope."""
        return self._everywhere(QUEUES, PLURAL)

    def queues_of(self, url: str) -> list[Object]:
        """Return the DetectionQueues in scope that read the SQS queue with this URL."""
        return [queue for queue in self.queues() if queue_url(queue) == url]

    def pools(self) -> list[Object]:
        """Return all WorkerPools in scope.

        Raises:
            NotFound: Their kind is not installed.
            Forbidden: The operator's role has no rule for them.
        """
        return self._everywhere(QUEUES, POOL_PLURAL)

    def all_deployments(self) -> list[Object]:
        """Return the Deployments in scope that the operator made."""
        return self._everywhere(APPS, "deployments", LABEL_QUEUE)

    def all_pods(self) -> list[Object]:
        """Return the worker pods in scope of Deployments that the operator made."""
        return self._everywhere("v1", "pods", LABEL_QUEUE)

    def queue(self, key: Key) -> Object | None:
        """Return a DetectionQueue, or None."""
        return self._find(namespaced(QUEUES, key.namespace, PLURAL, key.name))

    def pool(self, key: Key) -> Object | None:
        """Return a WorkerPool, or None."""
        return self._find(namespaced(QUEUES, key.namespace, POOL_PLURAL, key.name))

    def resource_quota(self, namespace: str, name: str) -> Object | None:
        """Return a ResourceQuota, or None."""
        return self._find(namespaced("v1", namespace, "resourcequotas", name))

    def deployments(self, key: Key) -> list[Object]:
        """Return the Deployments that carry the label of the DetectionQueue."""
        return self._list(APPS, key.namespace, "deployments", f"{LABEL_QUEUE}={key.name}")

    def deployment(self, namespace: str, name: str) -> Object | None:
        """Return a Deployment, or None."""
        return self._find(namespaced(APPS, namespace, "deployments", name))

    def pods(self, namespace: str, selector: str) -> list[Object]:
        """Return the pods that a label selector finds."""
        return self._list("v1", namespace, "pods", selector)

    def pod_events(self, namespace: str, *, pulls: bool = False) -> list[Object]:
        """Return the events about pods, without those of a normal start, or those of pulls."""
        return self._list("v1", namespace, "events", fields=PULLED if pulls else SELECTOR)

    def claim_events(self) -> list[Object]:
        """Return Karpenter's warnings about NodeClaims."""
        return self._list("v1", CLAIMS_NAMESPACE, "events", fields=CLAIMS)

    def nodes(self) -> list[Object]:
        """Return all nodes, slim."""
        return self.all_nodes("")

    def all_nodes(self, selector: str) -> list[Object]:
        """Return the nodes that a label selector finds, slim."""
        return self._list("v1", None, "nodes", selector, keep=slim_node, page=NODE_PAGE)

    def node(self, name: str) -> Object | None:
        """Return a node, slim, or None."""
        found = self._find(namespaced("v1", None, "nodes", name))
        return None if found is None else slim_node(found)

    def apply(self, manifest: Object) -> Object:
        """Apply a Deployment or PodDisruptionBudget server-side, with force."""
        group, plural = _PLURALS[manifest["kind"]]
        metadata = manifest["metadata"]
        path = namespaced(group, metadata["namespace"], plural, metadata["name"])
        return self._write(
            manifest["kind"], "PATCH", path, manifest, query=_APPLY, content_type=APPLY_PATCH
        )

    def scale(
        self, namespace: str, name: str, replicas: int, *, resource_version: str | None
    ) -> None:
        """Set the replicas of a Deployment through its scale subresource."""
        body: dict[str, Any] = {"spec": {"replicas": replicas}}
        if resource_version is not None:
            body["metadata"] = {"resourceVersion": resource_version}
        path = namespaced(APPS, namespace, "deployments", name, "scale")
        self._write("Scale", "PATCH", path, body, query=_WRITE, content_type=MERGE_PATCH)

    def delete_deployment(self, namespace: str, name: str, *, resource_version: str) -> None:
        """Delete a Deployment; its pods follow in the background."""
        self._delete("Deployment", namespace, name, resource_version)

    def disruption_budget(self, namespace: str, name: str) -> Object | None:
        """Return a PodDisruptionBudget, or None."""
        return self._find(namespaced(POLICY, namespace, "poddisruptionbudgets", name))

    def delete_disruption_budget(
        self, namespace: str, name: str, *, resource_version: str
    ) -> None:
        """Delete a PodDisruptionBudget."""
        self._delete("PodDisruptionBudget", namespace, name, resource_version)

    def annotate_pod(
        self, namespace: str, name: str, annotations: Mapping[str, str | None]
    ) -> Object:
        """Set annotations of a pod, None removes one; return the pod."""
        body = {"metadata": {"annotations": dict(annotations)}}
        path = namespaced("v1", namespace, "pods", name)
        return self._write("Pod", "PATCH", path, body, query=_WRITE, content_type=MERGE_PATCH)

    def apply_status(self, key: Key, status: Object) -> Object:
        """Apply the whole status of a DetectionQueue or WorkerPool server-side."""
        body = {
            "apiVersion": API_VERSION,
            "kind": key.kind,
            "metadata": {"name": key.name, "namespace": key.namespace},
            "status": status,
        }
        plural = POOL_PLURAL if key.kind == POOL_KIND else PLURAL
        path = namespaced(QUEUES, key.namespace, plural, key.name, "status")
        return self._write("Status", "PATCH", path, body, query=_APPLY, content_type=APPLY_PATCH)

    def post_event(self, note: EventNote) -> None:
        """Post an event."""
        metadata = note.about["metadata"]
        at = micro_timestamp(note.now_s)
        body = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {
                "generateName": f"{metadata['name']}.",
                "namespace": metadata["namespace"],
            },
            "involvedObject": {
                "apiVersion": API_VERSION,
                "kind": note.kind,
                "name": metadata["name"],
                "namespace": metadata["namespace"],
                "uid": metadata["uid"],
            },
            "type": note.type,
            "reason": note.reason,
            "message": note.message,
            "eventTime": at,
            "action": note.reason,
            "reportingComponent": COMPONENT,
            "reportingInstance": COMPONENT,
        }
        self._write("Event", "POST", namespaced("v1", metadata["namespace"], "events"), body)

    def lease(self, namespace: str, name: str) -> Object | None:
        """Return a Lease, or None."""
        path = namespaced(LEASES, namespace, "leases", name)
        return self._find(path, timeout=LEASE_TIMEOUT)

    def create_lease(self, manifest: Object) -> Object:
        """Create a Lease."""
        namespace = manifest["metadata"]["namespace"]
        path = namespaced(LEASES, namespace, "leases")
        return self._write(LEASE, "POST", path, manifest, timeout=LEASE_TIMEOUT)

    def replace_lease(self, manifest: Object) -> Object:
        """Replace a Lease."""
        metadata = manifest["metadata"]
        path = namespaced(LEASES, metadata["namespace"], "leases", metadata["name"])
        return self._write(LEASE, "PUT", path, manifest, timeout=LEASE_TIMEOUT)

    def _write(self, kind: str, verb: str, path: str, body: Any, **options: Any) -> Object:
        if kind != LEASE and not self._may_write():
            raise NotLeading(f"{verb} {path}: not sent, the lease was not renewed in time")
        answer: Object = self._rest.call(verb, path, body, **options)
        self._wrote(kind)
        return answer

    def _delete(self, kind: str, namespace: str, name: str, resource_version: str) -> None:
        group, plural = _PLURALS[kind]
        body = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Background",
            "preconditions": {"resourceVersion": resource_version},
        }
        self._write(kind, "DELETE", namespaced(group, namespace, plural, name), body)

    def _find(self, path: str, **options: Any) -> Object | None:
        try:
            found: Object = self._rest.call("GET", path, **options)
        except NotFound:
            return None
        return found

    def _everywhere(self, group: str, plural: str, selector: str = "") -> Listed:
        lists = [self._list(group, item, plural, selector) for item in self._namespaces]
        versions = [found.version for found in lists if found.version is not None]
        # Together they include changes up to the oldest version.
        version = min(versions) if len(versions) == len(lists) else None
        return Listed(itertools.chain.from_iterable(lists), version)

    def _list(
        self,
        group: str,
        namespace: str | None,
        plural: str,
        selector: str = "",
        *,
        fields: str = "",
        keep: Callable[[Object], Object] = lambda obj: obj,
        page: int = PAGE,
    ) -> Listed:
        found = Listed()
        selectors = {"labelSelector": selector, "fieldSelector": fields}
        query = {"limit": str(page)} | {name: text for name, text in selectors.items() if text}
        while True:
            part = self._rest.call("GET", namespaced(group, namespace, plural), query=query)
            found += map(keep, part["items"])
            following = part["metadata"].get("continue")
            if not following:
                # All pages are of one version.
                found.version = version_of(part)
                return found
            query = {**query, "continue": following}
