"""A cluster in memory behind the operator's port: an API server's rules, no HTTP."""

import itertools
from collections import Counter, deque
from collections.abc import Callable, Mapping
from typing import Any

from detection_contract.environment import LABEL_QUEUE
from detection_operator.crd.manifest import KIND
from detection_operator.errors import ClusterError, Conflict, NotFound, Rejected
from detection_operator.kube.nodes import NODE, slim_node
from detection_operator.kube.objects import API_VERSION, queue_url, timestamp
from detection_operator.kube.port import FIELD_MANAGER, EventNote, Key, Object
from detection_operator.kube.selectors import matches
from detection_operator.kube.store import POOL
from detection_testing.kubernetes.admission import admit, merged_over
from detection_testing.kubernetes.copies import copied

Slot = tuple[str, str, str]
"""Kind, namespace, name."""


class InMemoryCluster:
    """Objects with resource versions, generations, owners of the replicas, garbage collection.

    Controllers act only in ``controllers.Kubelet.tick``: a test decides when.

    Args:
        clock: Seconds since the epoch.

    Attributes:
        objects: All of them.
        writes: Successful writes of the operator by kind.
        events: Posted ones, oldest first.
        pools_served: WorkerPools can be read.
        sees_nodes: Nodes can be read.
    """

    pools_served: bool = True
    sees_nodes: bool = True

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.objects: dict[Slot, dict[str, Any]] = {}
        self.writes: Counter[str] = Counter()
        self.events: list[EventNote] = []
        self._faults: dict[str, deque[ClusterError]] = {}
        self._versions = itertools.count(1)
        self._uids = itertools.count(1)

    # What tests do.

    def fail(self, call: str, *errors: ClusterError) -> None:
        """Let the next calls of a method of the port raise these errors, one each."""
        self._faults.setdefault(call, deque()).extend(errors)

    def create(self, obj: Mapping[str, Any]) -> dict[str, Any]:
        """Create an object, as ``kubectl create`` would.

        Raises:
            Conflict: It exists.
        """
        slot = slot_of(obj)
        if slot in self.objects:
            raise Conflict(f"{slot} exists", status=409)
        return self._store(slot, copied(dict(obj)), manager="kubectl", fresh=True)

    def create_queue(self, name: str, spec: Mapping[str, Any], namespace: str = "default") -> Key:
        """Create a DetectionQueue."""
        return self._create_custom(Key(namespace, name), spec)

    def create_pool(self, name: str, spec: Mapping[str, Any], namespace: str = "default") -> Key:
        """Create a WorkerPool."""
        return self._create_custom(Key(namespace, name, POOL), spec)

    def _create_custom(self, key: Key, spec: Mapping[str, Any]) -> Key:
        metadata = {"name": key.name, "namespace": key.namespace}
        kind = {"apiVersion": API_VERSION, "kind": key.kind}
        self.create({**kind, "metadata": metadata, "spec": spec})
        return key

    def edit(
        self, slot: Slot, change: Callable[[dict[str, Any]], None], *, manager: str = "kubectl"
    ) -> None:
        """Change an object by hand, under the name of some field manager."""
        obj = copied(self._get(slot))
        change(obj)
        self._store(slot, obj, manager=manager)

    def scale_by(self, manager: str, namespace: str, name: str, replicas: int) -> None:
        """Scale a Deployment as another client."""
        self._scale(("Deployment", namespace, name), replicas, manager)

    def delete(self, slot: Slot) -> None:
        """Delete an object and, as the garbage collector does, what it owns.

        Raises:
            NotFound: It does not exist.
        """
        uid = self._get(slot)["metadata"]["uid"]
        del self.objects[slot]
        for other, obj in list(self.objects.items()):
            owners = obj["metadata"].get("ownerReferences", ())
            if any(item["uid"] == uid for item in owners) and other in self.objects:
                self.delete(other)

    def of_kind(self, kind: str) -> list[dict[str, Any]]:
        """Return the objects of a kind, themselves and not copies, in the order of creation."""
        return [obj for slot, obj in self.objects.items() if slot[0] == kind]

    # The port.

    def queues(self) -> list[Object]:
        """Return all DetectionQueues."""
        self._trip("queues")
        return copied(list[Object](self.of_kind(KIND)))

    def queues_of(self, url: str) -> list[Object]:
        """Return the DetectionQueues of one SQS queue."""
        self._trip("queues")
        found: list[Object] = [obj for obj in self.of_kind(KIND) if queue_url(obj) == url]
        return copied(found)

    def queue(self, key: Key) -> Object | None:
        """Return a DetectionQueue, or None."""
        self._trip("queue")
        return copied(self.objects.get((KIND, key.namespace, key.name)))

    def pools(self) -> list[Object]:
        """Return all WorkerPools."""
        self._trip("pools")
        return copied(list[Object](self.of_kind(POOL)))

    def pool(self, key: Key) -> Object | None:
        """Return a WorkerPool, or None."""
        self._trip("pool")
        return copied(self.objects.get((POOL, key.namespace, key.name)))

    def resource_quota(self, namespace: str, name: str) -> Object | None:
        """Return a ResourceQuota, or None."""
        self._trip("resource_quota")
        return copied(self.objects.get(("ResourceQuota", namespace, name)))

    def deployments(self, key: Key) -> list[Object]:
        """Return the Deployments with the label of the DetectionQueue."""
        self._trip("deployments")
        return self._select("Deployment", key.namespace, f"{LABEL_QUEUE}={key.name}")

    def deployment(self, namespace: str, name: str) -> Object | None:
        """Return a Deployment, or None."""
        self._trip("deployment")
        return copied(self.objects.get(("Deployment", namespace, name)))

    def pods(self, namespace: str, selector: str) -> list[Object]:
        """Return the pods that a selector finds."""
        self._trip("pods")
        return self._select("Pod", namespace, selector)

    def pod_events(self, namespace: str, *, pulls: bool = False) -> list[Object]:
        """Return the events about pods; tests create them as objects of kind Event."""
        self._trip("pull_events" if pulls else "pod_events")
        found = [e for e in self.of_kind("Event") if e["metadata"]["namespace"] == namespace]
        return copied([e for e in found if (e.get("reason") == "Pulled") is pulls])

    def claim_events(self) -> list[Object]:
        """Return the events about NodeClaims; tests create them as objects of kind ClaimEvent."""
        return copied(list[Object](self.of_kind("ClaimEvent")))

    def nodes(self) -> list[Object]:
        """Return all nodes."""
        self._trip("nodes")
        return list(map(slim_node, self.of_kind(NODE)))

    def all_nodes(self, selector: str) -> list[Object]:
        """Return the nodes that a selector finds."""
        return [n for n in self.nodes() if matches(selector, n["metadata"]["labels"])]

    def node(self, name: str) -> Object | None:
        """Return a node, or None."""
        self._trip("node")
        found = self.objects.get((NODE, "", name))
        return None if found is None else slim_node(found)

    def apply(self, manifest: Object) -> Object:
        """Apply an object: fields it has are set, others stay."""
        self._trip("apply")
        admit(manifest)
        slot = slot_of(manifest)
        before = self.objects.get(slot)
        if before is None:
            obj = copied(dict(manifest))
            return self._written(slot, self._store(slot, obj, manager=FIELD_MANAGER, fresh=True))
        merged = merged_over(copied(before), manifest)
        if merged["spec"].get("selector") != before["spec"].get("selector"):
            raise Rejected("spec.selector: field is immutable", status=422)
        if merged == before:
            return copied(before)
        return self._written(slot, self._store(slot, merged, manager=FIELD_MANAGER))

    def scale(
        self, namespace: str, name: str, replicas: int, *, resource_version: str | None
    ) -> None:
        """Set the replicas of a Deployment."""
        self._trip("scale")
        slot = ("Deployment", namespace, name)
        version = self._get(slot)["metadata"]["resourceVersion"]
        if resource_version not in {None, version}:
            raise Conflict(f"{resource_version} is not {version}", status=409)
        self._scale(slot, replicas, FIELD_MANAGER)
        self.writes["Scale"] += 1

    def delete_deployment(self, namespace: str, name: str, *, resource_version: str) -> None:
        """Delete a Deployment of a known version."""
        self._trip("delete_deployment")
        self._delete(("Deployment", namespace, name), resource_version)

    def disruption_budget(self, namespace: str, name: str) -> Object | None:
        """Return a PodDisruptionBudget, or None."""
        self._trip("disruption_budget")
        return copied(self.objects.get(("PodDisruptionBudget", namespace, name)))

    def delete_disruption_budget(
        self, namespace: str, name: str, *, resource_version: str
    ) -> None:
        """Delete a PodDisruptionBudget of a known version."""
        self._trip("delete_disruption_budget")
        self._delete(("PodDisruptionBudget", namespace, name), resource_version)

    def annotate_pod(
        self, namespace: str, name: str, annotations: Mapping[str, str | None]
    ) -> Object:
        """Set or remove annotations of a pod."""
        self._trip("annotate_pod")
        slot = ("Pod", namespace, name)
        obj = copied(self._get(slot))
        merged = {**obj["metadata"].get("annotations", {}), **annotations}
        obj["metadata"]["annotations"] = {k: v for k, v in merged.items() if v is not None}
        return self._written(slot, self._store(slot, obj, manager=FIELD_MANAGER))

    def apply_status(self, key: Key, status: Object) -> Object:
        """Replace the status of a DetectionQueue or WorkerPool."""
        self._trip("apply_status")
        slot = (key.kind, key.namespace, key.name)
        obj = copied(self._get(slot))
        obj["status"] = copied(dict(status))
        self.writes["Status"] += 1
        return self._store(slot, obj, manager=FIELD_MANAGER)

    def post_event(self, note: EventNote) -> None:
        """Keep an event."""
        self._trip("post_event")
        self.events.append(note)
        self.writes["Event"] += 1

    def lease(self, namespace: str, name: str) -> Object | None:
        """Return a Lease, or None."""
        self._trip("lease")
        return copied(self.objects.get(("Lease", namespace, name)))

    def create_lease(self, manifest: Object) -> Object:
        """Create a Lease."""
        self._trip("create_lease")
        return self.create(manifest)

    def replace_lease(self, manifest: Object) -> Object:
        """Replace a Lease of a known version."""
        self._trip("replace_lease")
        slot = slot_of(manifest)
        version = self._get(slot)["metadata"]["resourceVersion"]
        if manifest["metadata"].get("resourceVersion") != version:
            raise Conflict("changed", status=409)
        return self._store(slot, copied(dict(manifest)), manager=FIELD_MANAGER)

    # Inside.

    def _trip(self, call: str) -> None:
        faults = self._faults.get(call)
        if faults:
            raise faults.popleft()

    def _get(self, slot: Slot) -> dict[str, Any]:
        try:
            return self.objects[slot]
        except KeyError:
            raise NotFound(f"{slot} not found", status=404) from None

    def _select(self, kind: str, namespace: str, selector: str) -> list[Object]:
        return [
            copied(obj)
            for (k, ns, _), obj in self.objects.items()
            if k == kind
            and ns == namespace
            and matches(selector, obj["metadata"].get("labels", {}))
        ]

    def _delete(self, slot: Slot, resource_version: str) -> None:
        if self._get(slot)["metadata"]["resourceVersion"] != resource_version:
            raise Conflict("changed", status=409)
        self.delete(slot)
        self.writes[slot[0]] += 1

    def _written(self, slot: Slot, obj: dict[str, Any]) -> dict[str, Any]:
        self.writes[slot[0]] += 1
        return copied(obj)

    def _scale(self, slot: Slot, replicas: int, manager: str) -> None:
        obj = copied(self._get(slot))
        obj["spec"]["replicas"] = replicas
        self._store(slot, obj, manager=manager, subresource="scale")

    def _store(
        self,
        slot: Slot,
        obj: dict[str, Any],
        *,
        manager: str,
        subresource: str = "",
        fresh: bool = False,
    ) -> dict[str, Any]:
        before = self.objects.get(slot, {})
        metadata = obj["metadata"]
        if fresh:
            metadata["uid"] = f"uid-{next(self._uids)}"
            metadata["creationTimestamp"] = timestamp(self.clock())
        metadata["resourceVersion"] = str(next(self._versions))
        if obj.get("spec") != before.get("spec"):
            metadata["generation"] = metadata.get("generation", 0) + 1
        if slot[0] == "Deployment":
            self._own_replicas(obj, before, manager, subresource)
        self.objects[slot] = obj
        return obj

    def _own_replicas(
        self, obj: dict[str, Any], before: Mapping[str, Any], manager: str, subresource: str
    ) -> None:
        """Make the last field manager that changed the replicas their only owner."""
        if obj["spec"].get("replicas") == before.get("spec", {}).get("replicas"):
            return
        entry = {
            "manager": manager,
            "operation": "Update",
            "subresource": subresource,
            "fieldsV1": {"f:spec": {"f:replicas": {}}},
        }
        obj["metadata"]["managedFields"] = [entry]


def slot_of(obj: Mapping[str, Any]) -> Slot:
    """Return where an object is kept."""
    return (obj["kind"], obj["metadata"].get("namespace", ""), obj["metadata"]["name"])
