"""The port to a cluster with reads from memory: what watches and lists have told so far."""

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Protocol

from detection_contract.environment import LABEL_QUEUE
from detection_operator.crd.manifest import KIND
from detection_operator.errors import Conflict
from detection_operator.kube.objects import made_replicas, replicas_of, served_key
from detection_operator.kube.pods import pod_views
from detection_operator.kube.port import Cluster, EventNote, Key, Object
from detection_operator.kube.recent import Recent
from detection_operator.kube.selectors import selector_text

DEPLOYMENT: Final = "Deployment"
POD: Final = "Pod"
ADOPTED_S: Final = 60.0
"""How late a change of an adopted Deployment by somebody else may be noticed."""
_Name = tuple[str, str]


class Listing(Cluster, Protocol):
    """A cluster that can also list everything in scope."""

    def all_deployments(self) -> list[Object]:
        """Return the Deployments that the operator made."""
        ...

    def all_pods(self) -> list[Object]:
        """Return their pods."""
        ...


class Store:
    """The newest known version of each object. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._objects: dict[str, dict[_Name, Object]] = {KIND: {}, DEPLOYMENT: {}, POD: {}}
        self._children: dict[tuple[str, Key], dict[str, Object]] = {}

    def put(self, kind: str, obj: Object) -> bool:
        """Keep an object unless a newer one is known; say whether that is news to decide on."""
        slim = _slim(kind, obj)
        with self._lock:
            before = self._objects[kind].get(_name(obj))
            if before is not None and _version(before) > _version(slim):
                return False
            self._set(kind, slim)
        return before is None or _gist(kind, before) != _gist(kind, slim)

    def remove(self, kind: str, obj: Object) -> bool:
        """Forget an object; say whether it was known."""
        with self._lock:
            return self._drop(kind, _name(obj))

    def replace(self, kind: str, objects: Iterable[Object]) -> int:
        """Keep exactly these; return how many were news, that is which no watch had told of."""
        listed = {_name(obj): obj for obj in objects}
        with self._lock:
            gone = self._objects[kind].keys() - listed.keys()
            for name in gone:
                self._drop(kind, name)
        return len(gone) + sum(self.put(kind, obj) for obj in listed.values())

    def get(self, kind: str, namespace: str, name: str) -> Object | None:
        """Return an object, or None."""
        with self._lock:
            return self._objects[kind].get((namespace, name))

    def all(self, kind: str) -> list[Object]:
        """Return all objects of a kind."""
        with self._lock:
            return list(self._objects[kind].values())

    def children(self, kind: str, key: Key) -> list[Object]:
        """Return the Deployments or pods of a DetectionQueue."""
        with self._lock:
            return list(self._children.get((kind, key), {}).values())

    def _set(self, kind: str, obj: Object) -> None:
        self._objects[kind][_name(obj)] = obj
        key = served_key(obj)
        if key is not None:
            self._children.setdefault((kind, key), {})[obj["metadata"]["name"]] = obj

    def _drop(self, kind: str, name: _Name) -> bool:
        obj = self._objects[kind].pop(name, None)
        key = served_key(obj) if obj is not None else None
        if key is not None:
            siblings = self._children.get((kind, key), {})
            siblings.pop(name[1], None)
            if not siblings:
                self._children.pop((kind, key), None)
        return obj is not None


class CachedCluster:
    """Implements ``Cluster``: reads from a store, writes through to the API server.

    What belongs to adopted Deployments carries no label to watch for, so it is read directly: the
    Deployment once a minute unless it was just written or makes pods, its pods at each look unless
    it has none and asks for none.

    Args:
        direct: For writes, and for what the store does not hold.
        store: Filled by watches.
        monotonic_s: A clock.
    """

    def __init__(
        self,
        direct: Listing,
        store: Store,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._direct = direct
        self._store = store
        self._adopted: Recent[Object | None] = Recent(ADOPTED_S, monotonic_s)
        self._their_pods: Recent[list[Object]] = Recent(ADOPTED_S, monotonic_s)
        self._at_rest: set[tuple[str, str]] = set()

    def relist(self) -> dict[str, int]:
        """Bring the store up to date; return how many objects were news, by kind.

        Raises:
            ClusterError: The API server did not answer; the store stays as it was.
        """
        self._forget()
        queues = self._direct.queues()
        deployments, pods = self._direct.all_deployments(), self._direct.all_pods()
        lists = ((KIND, queues), (DEPLOYMENT, deployments), (POD, pods))
        return {kind: self._store.replace(kind, objects) for kind, objects in lists}

    def queues(self) -> list[Object]:
        """Return all DetectionQueues in scope."""
        return self._store.all(KIND)

    def queue(self, key: Key) -> Object | None:
        """Return a DetectionQueue, or None."""
        return self._store.get(KIND, key.namespace, key.name)

    def deployments(self, key: Key) -> list[Object]:
        """Return the Deployments that carry the label of the DetectionQueue."""
        return self._store.children(DEPLOYMENT, key)

    def deployment(self, namespace: str, name: str) -> Object | None:
        """Return a Deployment, or None."""
        found = self._adopted.get(
            (namespace, name),
            lambda: self._direct.deployment(namespace, name),
            lasting=lambda found: found is not None and made_replicas(found) == replicas_of(found),
        )
        if found is not None:
            place = (namespace, selector_text(found["spec"]["selector"]))
            (self._at_rest.discard if replicas_of(found) else self._at_rest.add)(place)
        return found

    def pods(self, namespace: str, selector: str) -> list[Object]:
        """Return the pods that a label selector finds."""
        label, _, name = selector.partition("=")
        if label == LABEL_QUEUE and "," not in name:
            return self._store.children(POD, Key(namespace, name))
        if (namespace, selector) not in self._at_rest:
            # None seen of those that are asked for is no answer to go by for a minute.
            return self._direct.pods(namespace, selector)
        return self._their_pods.get(
            (namespace, selector),
            lambda: self._direct.pods(namespace, selector),
            lasting=lambda found: not found,
        )

    def apply(self, manifest: Object) -> Object:
        """Apply an object; a Deployment is known at once."""
        result = self._direct.apply(manifest)
        if manifest["kind"] == DEPLOYMENT:
            self._store.put(DEPLOYMENT, result)
        return result

    def scale(
        self, namespace: str, name: str, replicas: int, *, resource_version: str | None
    ) -> None:
        """Set the replicas of a Deployment; the result is known at once."""
        if self._store.get(DEPLOYMENT, namespace, name) is None:
            self._scale_adopted(namespace, name, replicas, resource_version)
            return
        self._direct.scale(namespace, name, replicas, resource_version=resource_version)
        fresh = self._direct.deployment(namespace, name)
        if fresh is not None:
            self._store.put(DEPLOYMENT, fresh)

    def _scale_adopted(
        self, namespace: str, name: str, replicas: int, resource_version: str | None
    ) -> None:
        kept = self.deployment(namespace, name)
        self._forget()
        if resource_version is None:
            # More than was known a minute ago may be fewer than there are now, and busy ones go.
            found = self.deployment(namespace, name)
            if found is None or kept is None or replicas_of(found) != replicas_of(kept):
                raise Conflict(f"Deployment {namespace}/{name} was scaled meanwhile")
        self._direct.scale(namespace, name, replicas, resource_version=resource_version)
        self._forget()

    def delete_deployment(self, namespace: str, name: str, *, resource_version: str) -> None:
        """Delete a Deployment."""
        self._direct.delete_deployment(namespace, name, resource_version=resource_version)

    def disruption_budget(self, namespace: str, name: str) -> Object | None:
        """Return a PodDisruptionBudget, or None."""
        return self._direct.disruption_budget(namespace, name)

    def delete_disruption_budget(
        self, namespace: str, name: str, *, resource_version: str
    ) -> None:
        """Delete a PodDisruptionBudget."""
        self._direct.delete_disruption_budget(namespace, name, resource_version=resource_version)

    def annotate_pod(
        self, namespace: str, name: str, annotations: Mapping[str, str | None]
    ) -> Object:
        """Set annotations of a pod; they are known at once."""
        result = self._direct.annotate_pod(namespace, name, annotations)
        if self._store.get(POD, namespace, name) is None:
            # A drain begins or ends: the next step needs the newest Deployment.
            self._forget()
        else:
            self._store.put(POD, result)
        return result

    def apply_status(self, key: Key, status: Object) -> Object:
        """Apply the status of a DetectionQueue; it is known at once."""
        result = self._direct.apply_status(key, status)
        self._store.put(KIND, result)
        return result

    def post_event(self, note: EventNote) -> None:
        """Post an event."""
        self._direct.post_event(note)

    def _forget(self) -> None:
        self._adopted.forget()
        self._their_pods.forget()


def _name(obj: Object) -> _Name:
    return obj["metadata"]["namespace"], obj["metadata"]["name"]


def _version(obj: Object) -> int:
    # Documented since Kubernetes 1.35: versions of one object are numbers that can be compared.
    text = str(obj["metadata"].get("resourceVersion", "0"))
    return int(text) if text.isdecimal() else 0


def _gist(kind: str, obj: Object) -> Any:
    """Return what a reconcile would look at: changes of anything else are no reason for one."""
    metadata = obj["metadata"]
    if kind == POD:
        return pod_views([obj])
    spec = obj.get("spec", {})
    return (metadata.get("uid"), metadata.get("deletionTimestamp"), spec)


def _slim(kind: str, obj: Object) -> Object:
    """Return an object without what nobody reads: field owners are half of its size."""
    metadata = {k: v for k, v in obj["metadata"].items() if k != "managedFields"}
    entries = obj["metadata"].get("managedFields") or ()
    if kind == DEPLOYMENT:
        owners = [e for e in entries if "f:replicas" in e.get("fieldsV1", {}).get("f:spec", {})]
        metadata["managedFields"] = owners
    slim = {**obj, "metadata": metadata}
    if kind == POD:
        containers = obj.get("spec", {}).get("containers", ())
        ports = [{"name": c["name"], "ports": c.get("ports", ())} for c in containers]
        slim["spec"] = {"nodeName": obj.get("spec", {}).get("nodeName"), "containers": ports}
    return slim
