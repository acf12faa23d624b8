"""The port to a cluster with reads from memory, filled by watches and lists."""

import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Final, Protocol

from detection_contract.environment import LABEL_QUEUE
from detection_operator.caches import TtlCache
from detection_operator.crd.manifest import KIND
from detection_operator.errors import Conflict, Forbidden, NotFound, Vanished
from detection_operator.kube.nodes import NODE
from detection_operator.kube.objects import made_replicas, replicas_of
from detection_operator.kube.port import Cluster, EventNote, Key, Object
from detection_operator.kube.selectors import selector_text
from detection_operator.kube.store import DEPLOYMENT, POD, POOL, Store

ADOPTED_S: Final = 60.0
"""How late a change of an adopted Deployment by other clients may be noticed."""
EVENTS_S: Final = 15.0
"""DetectionQueues of one namespace share its events for this time."""
GONE: Final = "1970-01-01T00:00:00Z"
"""Deletion time of a node whose object is gone."""
log = logging.getLogger(__name__)


class Listing(Cluster, Protocol):
    """A cluster that can also list everything in scope.

    A list that is a ``Listed`` also says as of which version it holds.
    """

    def all_deployments(self) -> list[Object]:
        """Return the Deployments that the operator made."""
        ...

    def all_pods(self) -> list[Object]:
        """Return their pods."""
        ...

    def all_nodes(self, selector: str) -> list[Object]:
        """Return the nodes that a label selector finds, slim; an empty one finds all."""
        ...


class CachedCluster:
    """Implements ``Cluster``: reads from a store, writes through to the API server.

    Adopted Deployments and their pods carry no label to watch, so they are read directly: the
    Deployment once a minute, or each time after a write and while it creates pods; its pods each
    time, unless it has none and asks for none.

    Args:
        direct: Writes, and reads what the store does not hold.
        store: Filled by watches.
        monotonic_s: A clock.
        nodes: Label selector of the nodes to read, empty means all; None reads none.

    Attributes:
        pools_served: WorkerPools can be read, as of the last list. Without their CRD, or without
            the right to read them, everything else works as if there were none.
    """

    def __init__(
        self,
        direct: Listing,
        store: Store,
        monotonic_s: Callable[[], float] = time.monotonic,
        *,
        nodes: str | None = None,
    ) -> None:
        self._direct = direct
        self._store = store
        self._adopted: TtlCache[Object | None] = TtlCache(ADOPTED_S, monotonic_s)
        self._their_pods: TtlCache[list[Object]] = TtlCache(ADOPTED_S, monotonic_s)
        self._at_rest: set[tuple[str, str]] = set()
        self._events: TtlCache[list[Object]] = TtlCache(EVENTS_S, monotonic_s)
        self.pools_served: bool | None = None
        self._nodes = nodes
        self._sees_nodes = nodes is not None

    @property
    def sees_nodes(self) -> bool:
        """Nodes are read, and the last list of them was not refused."""
        return self._sees_nodes

    def relist(self) -> dict[str, int]:
        """List everything into the store; return how many objects were new or changed, by kind.

        Raises:
            ClusterError: The API server did not answer; the store stays as it was.
        """
        self._forget()
        calls = {
            KIND: self._direct.queues,
            POOL: self._listed_pools,
            DEPLOYMENT: self._direct.all_deployments,
            POD: self._direct.all_pods,
        }
        # A watch event during a list may be newer than the list.
        lists = [(kind, self._store.turn(), call()) for kind, call in calls.items()]
        if self._nodes is not None:
            turn = self._store.turn()
            lists += [(NODE, turn, found) for found in self._list_nodes(self._nodes)]
        return {kind: self._store.replace(kind, found, since=turn) for kind, turn, found in lists}

    def _listed_pools(self) -> list[Object]:
        try:
            found = self._direct.pools()
        except (NotFound, Forbidden) as exc:
            if self.pools_served is not False:
                # Once: an administrator may want none.
                log.log(
                    logging.WARNING if isinstance(exc, Forbidden) else logging.INFO,
                    "WorkerPools cannot be read: DetectionQueues are scaled without pools",
                    extra={"error": str(exc)},
                )
            self.pools_served = False
            return []
        self.pools_served = True
        return found

    def _list_nodes(self, selector: str) -> Iterator[list[Object]]:
        """Yield the list of nodes, or nothing without the right to read it."""
        try:
            found = self._direct.all_nodes(selector)
        except Forbidden as exc:
            if self._sees_nodes:
                log.warning(
                    "nodes cannot be read: workers on nodes that are going are not drained",
                    extra={"error": str(exc)},
                )
            self._sees_nodes = False
            return
        self._sees_nodes = True
        yield found

    def queues(self) -> list[Object]:
        """Return all DetectionQueues in scope."""
        return self._store.all(KIND)

    def queues_of(self, url: str) -> list[Object]:
        """Return the DetectionQueues in scope that read the SQS queue with this URL."""
        return self._store.queues_of(url)

    def queue(self, key: Key) -> Object | None:
        """Return a DetectionQueue, or None."""
        return self._store.get(KIND, key.namespace, key.name)

    def pools(self) -> list[Object]:
        """Return all WorkerPools in scope."""
        return self._store.all(POOL)

    def pool(self, key: Key) -> Object | None:
        """Return a WorkerPool, or None."""
        return self._store.get(POOL, key.namespace, key.name)

    def resource_quota(self, namespace: str, name: str) -> Object | None:
        """Return a ResourceQuota, or None; always asks the API server."""
        return self._direct.resource_quota(namespace, name)

    def deployments(self, key: Key) -> list[Object]:
        """Return the Deployments that carry the label of the DetectionQueue."""
        return self._store.children(DEPLOYMENT, key)

    def deployment(self, namespace: str, name: str) -> Object | None:
        """Return a Deployment, or None."""
        found = self._adopted.get(
            (namespace, name),
            lambda: self._direct.deployment(namespace, name),
            keep_if=lambda found: found is not None and made_replicas(found) == replicas_of(found),
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
            # An empty answer while pods should exist must not be kept for a minute.
            return self._direct.pods(namespace, selector)
        return self._their_pods.get(
            (namespace, selector),
            lambda: self._direct.pods(namespace, selector),
            keep_if=lambda found: not found,
        )

    def pod_events(self, namespace: str, *, pulls: bool = False) -> list[Object]:
        """Return the events about pods, or those of pulls, at most ``EVENTS_S`` old."""
        return self._events.get(
            (namespace, pulls),
            lambda: self._direct.pod_events(namespace, pulls=pulls),
            keep_if=lambda _: True,
        )

    def claim_events(self) -> list[Object]:
        """Return Karpenter's warnings about NodeClaims, at most ``EVENTS_S`` old."""
        if not self._sees_nodes:
            return []
        return self._events.get(None, self._claim_events, keep_if=lambda _: True)

    def _claim_events(self) -> list[Object]:
        # A cluster without Karpenter may grant nothing in that namespace.
        with contextlib.suppress(Forbidden):
            return self._direct.claim_events()
        return []

    def nodes(self) -> list[Object]:
        """Return the nodes in view."""
        return self._store.all(NODE)

    def node(self, name: str) -> Object | None:
        """Return a node, or None; one that was just deleted has a deletion time."""
        found = self._store.get(NODE, "", name)
        if found is None and self._store.is_deleted(NODE, "", name):
            return {"metadata": {"name": name, "deletionTimestamp": GONE}}
        return found

    def apply(self, manifest: Object) -> Object:
        """Apply an object; the store holds a Deployment at once.

        Raises:
            Vanished: The DetectionQueue of a new Deployment was deleted.
            ClusterError: The API server refused or did not answer.
        """
        metadata = manifest["metadata"]
        if manifest["kind"] == DEPLOYMENT:
            self._check_owner(metadata["namespace"], metadata["name"], manifest)
        result = self._direct.apply(manifest)
        if manifest["kind"] == DEPLOYMENT:
            self._store.put(DEPLOYMENT, result)
        return result

    def scale(
        self, namespace: str, name: str, replicas: int, *, resource_version: str | None
    ) -> None:
        """Set the replicas of a Deployment; the store holds the result at once."""
        if self._store.get(DEPLOYMENT, namespace, name) is None:
            self._scale_adopted(namespace, name, replicas, resource_version)
            return
        with self._there(DEPLOYMENT, namespace, name):
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
            # Scaling out from a number read a minute ago could scale in by now.
            found = self.deployment(namespace, name)
            if found is None or kept is None or replicas_of(found) != replicas_of(kept):
                raise Conflict(f"Deployment {namespace}/{name} was scaled since it was read")
        self._direct.scale(namespace, name, replicas, resource_version=resource_version)
        self._forget()

    def delete_deployment(self, namespace: str, name: str, *, resource_version: str) -> None:
        """Delete a Deployment."""
        with self._there(DEPLOYMENT, namespace, name):
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
        """Set annotations of a pod; the store holds them at once."""
        with self._there(POD, namespace, name):
            result = self._direct.annotate_pod(namespace, name, annotations)
        if self._store.get(POD, namespace, name) is None:
            # A drain begins or ends: the next step needs the newest Deployment.
            self._forget()
        else:
            self._store.put(POD, result)
        return result

    def apply_status(self, key: Key, status: Object) -> Object:
        """Apply the status of a DetectionQueue or WorkerPool; the store holds it at once."""
        with self._there(key.kind, key.namespace, key.name):
            result = self._direct.apply_status(key, status)
        self._store.put(key.kind, result)
        return result

    def post_event(self, note: EventNote) -> None:
        """Post an event."""
        self._direct.post_event(note)

    def _check_owner(self, namespace: str, name: str, manifest: Object) -> None:
        """Read the owner of a Deployment that is about to be created.

        Without this, until a watch reports the deletion, the garbage collector would delete the
        Deployment and the operator create it again, several times a second.
        """
        owners = manifest["metadata"].get("ownerReferences", ())
        if self._store.get(DEPLOYMENT, namespace, name) is not None or not owners:
            return
        key = Key(namespace, owners[0]["name"])
        found, known = self._direct.queue(key), self._store.get(KIND, namespace, key.name)
        if found is not None:
            self._store.put(KIND, found)
        elif known is not None:
            self._store.remove(KIND, known)
        metadata = found["metadata"] if found is not None else {}
        if metadata.get("uid") != owners[0]["uid"] or metadata.get("deletionTimestamp"):
            raise Vanished(f"DetectionQueue {key} is gone", status=404)

    @contextlib.contextmanager
    def _there(self, kind: str, namespace: str, name: str) -> Iterator[None]:
        """Remove an object from the store if the API server answers 404."""
        known = self._store.get(kind, namespace, name)
        try:
            yield
        except NotFound:
            # A watch may never report it: kopf misses deletions between two watches.
            if known is not None:
                self._store.remove(kind, known)
            raise

    def _forget(self) -> None:
        self._adopted.clear()
        self._their_pods.clear()
