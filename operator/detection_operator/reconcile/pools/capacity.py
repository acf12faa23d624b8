"""How much there is to share: fixed, or read from a ResourceQuota or from nodes."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from detection_contract.user_messages import counted
from detection_operator.errors import Forbidden
from detection_operator.kube.nodes import node_view
from detection_operator.kube.objects import condition
from detection_operator.kube.port import Cluster, Object
from detection_operator.kube.quantities import bare, whole
from detection_operator.spec.worker_pool import NodeCapacity, PoolSpec, QuotaCapacity

READ_S: Final = 15.0
"""Interval of reads of a quota. Nodes are in the cache, and looked at each time."""
SETTLE_S: Final = 20.0
"""A quota counts a pod that is gone for some seconds more; that is no use by others."""
REPELLING: Final = frozenset({"NoSchedule", "NoExecute"})
NO_NODES: Final = (
    "the operator does not read nodes: set nodes.enabled in the chart's values, or use"
    " spec.capacity.resource"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """What there is to share.

    Attributes:
        units: How much; None while unknown.
        reason: Reason of the condition CapacityKnown.
        message: Its sentence.
    """

    units: int | None
    reason: str
    message: str


@dataclass(slots=True)
class QuotaUse:
    """What others use of a quota.

    Attributes:
        others: Units.
        more: A higher number, with the time at which it was first seen; None without one.
    """

    others: int | None = None
    more: tuple[int, float] | None = None

    def take(self, others: int, now_s: float) -> int:
        """Take in a reading: less counts at once, more once it has lasted."""
        if self.others is None or others <= self.others:
            self.others, self.more = others, None
            return others
        first, since_s = self.more or (others, now_s)
        self.more = (min(first, others), since_s)
        if now_s - since_s >= SETTLE_S:
            self.others, self.more = self.more[0], None
        return self.others


@dataclass(slots=True)
class CapacitySource:
    """The capacity of one pool; a quota is read when it is due.

    Attributes:
        use: What others use of its quota.
        known: What was read last.
        of: The spec that this is about.
        at_s: When it was read, monotonic.
    """

    use: QuotaUse = field(default_factory=QuotaUse)
    known: Capacity | None = None
    of: PoolSpec | None = None
    at_s: float = float("-inf")

    def read(
        self, cluster: Cluster, namespace: str, spec: PoolSpec, *, ours: int, now_s: float
    ) -> Capacity:
        """Return the capacity.

        Args:
            cluster: Where quotas and nodes are.
            namespace: Namespace of the pool.
            spec: Spec of the pool.
            ours: Units of the pods that the pool's queues have.
            now_s: Monotonic seconds.

        Raises:
            ClusterError: The API server did not answer.
        """
        quota = spec.capacity.from_resource_quota
        if quota is None:
            self.of, self.known = spec, _fixed(cluster, spec)
            return self.known
        if spec == self.of and self.known is not None and now_s - self.at_s < READ_S:
            return self.known
        if spec != self.of:
            self.use = QuotaUse()
        try:
            found = cluster.resource_quota(namespace, quota.name)
        except Forbidden as exc:
            self.known = Capacity(units=None, reason="Forbidden", message=str(exc))
        else:
            self.known = self._of_quota(found, quota, ours=ours, now_s=now_s)
        self.of, self.at_s = spec, now_s
        return self.known

    def _of_quota(
        self, found: Object | None, source: QuotaCapacity, *, ours: int, now_s: float
    ) -> Capacity:
        hard = _part(found, "hard")
        if source.resource not in hard:
            what = "is not there" if found is None else f"limits no {source.resource}"
            return Capacity(
                units=None, reason="NotFound", message=f"ResourceQuota {source.name} {what}"
            )
        limit = whole(hard[source.resource])
        used = whole(_part(found, "used").get(source.resource, 0))
        others = self.use.take(max(0, used - ours), now_s)
        units = max(0, limit - others)
        return _known(
            units,
            f"ResourceQuota {source.name} allows {limit} of {source.resource}, {others} of them"
            " are used by others",
        )


def resource_of(spec: PoolSpec) -> str | None:
    """Return the resource that replicas take units of; None: each takes one unit."""
    capacity = spec.capacity
    if capacity.resource is not None:
        return capacity.resource.name
    if capacity.from_resource_quota is not None:
        return capacity.from_resource_quota.resource
    return None if capacity.from_nodes is None else capacity.from_nodes.resource


def is_read(spec: PoolSpec) -> bool:
    """Say whether the capacity stands elsewhere, and may change without the pool."""
    capacity = spec.capacity
    return capacity.from_resource_quota is not None or capacity.from_nodes is not None


def _fixed(cluster: Cluster, spec: PoolSpec) -> Capacity:
    """Return a capacity that others' use does not change."""
    capacity = spec.capacity
    if capacity.from_nodes is not None:
        return _of_nodes(cluster, capacity.from_nodes)
    if capacity.resource is not None:
        units = capacity.resource.quantity
        return _known(units, f"{units} of {capacity.resource.name}")
    replicas = capacity.replicas or 0
    return _known(replicas, counted(replicas, "replica"))


def _of_nodes(cluster: Cluster, source: NodeCapacity) -> Capacity:
    if not cluster.sees_nodes:
        return Capacity(units=None, reason="Forbidden", message=NO_NODES)
    matching = [node for node in cluster.nodes() if _matches(node, source.selector)]
    usable = [node for node in matching if _is_usable(node, source)]
    resource = bare(source.resource)
    units = sum(whole(_part(node, "allocatable").get(resource, 0)) for node in usable)
    left_out = len(matching) - len(usable)
    text = f"{len(usable)} nodes have {units} of {resource}"
    if left_out:
        text += f"; {left_out} more are not ready, going or tainted"
    return _known(units, text)


def _matches(node: Object, selector: Mapping[str, Any]) -> bool:
    labels = node["metadata"].get("labels") or {}
    return all(labels.get(name) == str(value) for name, value in selector.items())


def _is_usable(node: Object, source: NodeCapacity) -> bool:
    spec, ready = node.get("spec") or {}, condition(node, "Ready") or {}
    # The pods on a node that is going are not counted either.
    if node_view(node).leaving or ready.get("status") != "True":
        return False
    tolerations = [*source.tolerations, {"key": bare(source.resource), "operator": "Exists"}]
    return all(
        _is_tolerated(taint, tolerations)
        for taint in spec.get("taints") or ()
        if taint.get("effect") in REPELLING
    )


def _is_tolerated(taint: Mapping[str, Any], tolerations: Collection[Mapping[str, Any]]) -> bool:
    return any(_tolerates(item, taint) for item in tolerations)


def _tolerates(toleration: Mapping[str, Any], taint: Mapping[str, Any]) -> bool:
    """Say whether a toleration matches, by the scheduler's rules."""
    if toleration.get("effect") not in {None, "", taint.get("effect")}:
        return False
    key = toleration.get("key")
    if not key:
        return toleration.get("operator") == "Exists"
    if key != taint.get("key"):
        return False
    if toleration.get("operator") == "Exists":
        return True
    return str(toleration.get("value") or "") == str(taint.get("value") or "")


def _part(obj: Object | None, name: str) -> Mapping[str, Any]:
    found = ((obj or {}).get("status") or {}).get(name)
    return found if isinstance(found, Mapping) else {}


def _known(units: int, message: str) -> Capacity:
    return Capacity(units=units, reason="Known", message=message)
