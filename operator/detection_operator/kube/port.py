"""The port to a cluster: exactly the calls that reconciling makes. Objects are decoded JSON."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from detection_operator.crd.manifest import KIND

FIELD_MANAGER: Final = "detectionqueue-operator"
"""Field manager of the operator, in ``metadata.managedFields``."""

Object = Mapping[str, Any]


class Listed(list[Object]):
    """Objects of one kind, from a list request.

    Attributes:
        version: Resource version of the list, which includes every change up to it. None if it is
            unknown or not a number.
    """

    def __init__(self, objects: Iterable[Object] = (), version: int | None = None) -> None:
        super().__init__(objects)
        self.version = version


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """A DetectionQueue, or a WorkerPool if the kind says so."""

    namespace: str
    name: str
    kind: str = KIND

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class EventNote:
    """An event about an object.

    Attributes:
        about: The object, with its metadata.
        kind: Kind of the object, which items of a list do not say.
        type: ``Normal`` or ``Warning``.
        reason: One word.
        message: A sentence of at most 1024 characters.
        now_s: Time of the event, seconds since the epoch.
    """

    about: Object
    type: str
    reason: str
    message: str
    now_s: float
    kind: str = KIND


class Cluster(Protocol):
    """What reconciling needs of a cluster.

    Every method may raise a ``ClusterError``. Reads may come from a cache that lags behind. A
    write that names a resource version is refused with ``Conflict`` when the object changed.
    """

    @property
    def pools_served(self) -> bool | None:
        """WorkerPools can be read; None before that is known."""
        ...

    @property
    def sees_nodes(self) -> bool:
        """Nodes can be read."""
        ...

    def queues(self) -> list[Object]:
        """Return all DetectionQueues in scope."""
        ...

    def queues_of(self, url: str) -> list[Object]:
        """Return the DetectionQueues in scope that read the SQS queue with this URL."""
        ...

    def queue(self, key: Key) -> Object | None:
        """Return a DetectionQueue, or None."""
        ...

    def pools(self) -> list[Object]:
        """Return all WorkerPools in scope; empty where their kind is not served."""
        ...

    def pool(self, key: Key) -> Object | None:
        """Return a WorkerPool, or None."""
        ...

    def resource_quota(self, namespace: str, name: str) -> Object | None:
        """Return a ResourceQuota, or None.

        Raises:
            Forbidden: The operator may not read ResourceQuotas.
        """
        ...

    def deployments(self, key: Key) -> list[Object]:
        """Return the Deployments that carry the label of the DetectionQueue."""
        ...

    def deployment(self, namespace: str, name: str) -> Object | None:
        """Return a Deployment, or None."""
        ...

    def pods(self, namespace: str, selector: str) -> list[Object]:
        """Return the pods that a label selector finds."""
        ...

    def pod_events(self, namespace: str, *, pulls: bool = False) -> list[Object]:
        """Return the events about pods, without those of a normal start.

        Args:
            namespace: Namespace of the pods.
            pulls: Return the events about pulled images, and no others.

        Raises:
            Forbidden: The operator may not read events.
        """
        ...

    def claim_events(self) -> list[Object]:
        """Return Karpenter's warnings about NodeClaims; none where nodes are not read."""
        ...

    def nodes(self) -> list[Object]:
        """Return the nodes in view, slim (``kube/nodes.py``); none where they are not read."""
        ...

    def node(self, name: str) -> Object | None:
        """Return a node, slim, or None; one that was just deleted has a deletion time."""
        ...

    def apply(self, manifest: Object) -> Object:
        """Apply a Deployment or PodDisruptionBudget server-side, with force; return the result."""
        ...

    def scale(
        self, namespace: str, name: str, replicas: int, *, resource_version: str | None
    ) -> None:
        """Set the replicas of a Deployment through its scale subresource."""
        ...

    def delete_deployment(self, namespace: str, name: str, *, resource_version: str) -> None:
        """Delete a Deployment; its pods follow in the background."""
        ...

    def disruption_budget(self, namespace: str, name: str) -> Object | None:
        """Return a PodDisruptionBudget, or None; always asks the API server."""
        ...

    def delete_disruption_budget(
        self, namespace: str, name: str, *, resource_version: str
    ) -> None:
        """Delete a PodDisruptionBudget."""
        ...

    def annotate_pod(
        self, namespace: str, name: str, annotations: Mapping[str, str | None]
    ) -> Object:
        """Set annotations of a pod, None removes one; return the pod."""
        ...

    def apply_status(self, key: Key, status: Object) -> Object:
        """Apply the whole status of a DetectionQueue or WorkerPool; return the result."""
        ...

    def post_event(self, note: EventNote) -> None:
        """Post an event."""
        ...


class Leases(Protocol):
    """What leader election needs of a cluster."""

    def deployment(self, namespace: str, name: str) -> Object | None:
        """Return a Deployment, or None."""
        ...

    def lease(self, namespace: str, name: str) -> Object | None:
        """Return a Lease, or None."""
        ...

    def create_lease(self, manifest: Object) -> Object:
        """Create a Lease; ``Conflict`` when it exists."""
        ...

    def replace_lease(self, manifest: Object) -> Object:
        """Replace a Lease; ``Conflict`` when its resource version is not the newest."""
        ...
