"""How much there is to share: fixed, or read from a ResourceQuota or from nodes.

What several pools would count counts for the oldest of them.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from detection_contract.user_messages import counted
from detection_operator.errors import Forbidden
from detection_operator.kube.nodes import node_view
from detection_operator.kube.objects import condition
from detection_operator.kube.port import Cluster, Object
from detection_operator.kube.quantities import bare, of_quota, whole
from detection_operator.spec.worker_pool import NodeCapacity, PoolSpec, QuotaCapacity

READ_S: Final = 15.0
"""Interval of reads of a quota. Nodes are in the cache, and looked at each time."""
SETTLE_S: Final = 20.0
"""A quota counts a pod that is gone for some seconds more; that is no use by others."""
REPELLING: Final = frozenset({"NoSchedule", "NoExecute"})
TAINT_MAX: Final = 80
"""Longest taint that a message names."""
CAUSES_MAX: Final = 3
"""Causes that a message names why nodes do not count."""
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


@dataclass(frozen=True, slots=True)
class Elder:
    """An older pool that is in force.

    Attributes:
        namespace: Its namespace.
        name: Its name.
        spec: Its spec.
    """

    namespace: str
    name: str
    spec: PoolSpec


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
        self,
        cluster: Cluster,
        namespace: str,
        spec: PoolSpec,
        *,
        ours: int,
        now_s: float,
        elders: Sequence[Elder] = (),
    ) -> Capacity:
        """Return the capacity.

        Args:
            cluster: Where quotas and nodes are.
            namespace: Namespace of the pool.
            spec: Spec of the pool.
            ours: Units of the pods that the pool's queues have.
            now_s: Monotonic seconds.
            elders: Older pools, which come first where both count the same.

        Raises:
            ClusterError: The API server did not answer.
        """
        quota = spec.capacity.from_resource_quota
        if quota is None:
            self.of, self.known = spec, _fixed(cluster, spec, elders)
            return self.known
        taken = next((item for item in elders if _has_quota(item, namespace, quota)), None)
        if taken is not None:
            # What the queues of the older pool have counts at once when that pool goes.
            self.of, self.known, self.use = spec, None, QuotaUse()
            return _taken(quota, taken)
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
        # Under its other name the quota may limit it to less.
        limit = min(whole(hard[name]) for name in hard if _is_same(name, source.resource))
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
        return of_quota(capacity.from_resource_quota.resource)
    return None if capacity.from_nodes is None else capacity.from_nodes.resource


def is_read(spec: PoolSpec) -> bool:
    """Say whether the capacity stands elsewhere, and may change without the pool."""
    capacity = spec.capacity
    return capacity.from_resource_quota is not None or capacity.from_nodes is not None


def _has_quota(elder: Elder, namespace: str, quota: QuotaCapacity) -> bool:
    theirs = elder.spec.capacity.from_resource_quota
    return (
        theirs is not None
        and elder.namespace == namespace
        and theirs.name == quota.name
        and _is_same(theirs.resource, quota.resource)
    )


def _is_same(one: str, other: str) -> bool:
    return of_quota(one) == of_quota(other)


def _taken(quota: QuotaCapacity, elder: Elder) -> Capacity:
    text = f"{quota.resource} of ResourceQuota {quota.name} counts for WorkerPool {elder.name}"
    return Capacity(units=None, reason="CapacityTaken", message=f"{text}, which is older")


def _fixed(cluster: Cluster, spec: PoolSpec, elders: Iterable[Elder]) -> Capacity:
    """Return a capacity that others' use does not change."""
    capacity = spec.capacity
    if capacity.from_nodes is not None:
        return _of_nodes(cluster, capacity.from_nodes, elders)
    if capacity.resource is not None:
        units = capacity.resource.quantity
        return _known(units, f"{units} of {capacity.resource.name}")
    replicas = capacity.replicas or 0
    return _known(replicas, counted(replicas, "replica"))


def _of_nodes(cluster: Cluster, source: NodeCapacity, elders: Iterable[Elder]) -> Capacity:
    if not cluster.sees_nodes:
        return Capacity(units=None, reason="Forbidden", message=NO_NODES)
    rivals = [
        (elder, nodes)
        for elder in elders
        if (nodes := elder.spec.capacity.from_nodes) is not None
        and bare(nodes.resource) == bare(source.resource)
    ]
    resource, usable, units = bare(source.resource), 0, 0
    unusable, taken = Counter[str](), Counter[str]()
    for node in cluster.nodes():
        if not _matches(node, source.selector):
            continue
        cause = _unusable(node, source)
        owner = next((elder for elder, nodes in rivals if _counts(node, nodes)), None)
        if cause:
            unusable[cause] += 1
        elif owner is not None:
            taken[f"{owner.namespace}/{owner.name}"] += 1
        else:
            usable += 1
            units += whole(_part(node, "allocatable").get(resource, 0))
    text = f"{usable} nodes have {units} of {resource}"
    if unusable:
        text += f"; {unusable.total()} more are {_most_common(unusable)}"
    if not taken:
        return _known(units, text)
    text += f"; {taken.total()} more count for older WorkerPools: {_most_common(taken)}"
    return Capacity(units=units, reason="Overlapping", message=text)


def _most_common(causes: Counter[str]) -> str:
    """Return the most frequent ones with how many each: ``not ready (2), cordoned (1)``."""
    parts = [f"{cause} ({count})" for cause, count in causes.most_common(CAUSES_MAX)]
    if len(causes) > CAUSES_MAX:
        parts.append("…")
    return ", ".join(parts)


def _counts(node: Object, source: NodeCapacity) -> bool:
    return _matches(node, source.selector) and not _unusable(node, source)


def _matches(node: Object, selector: Mapping[str, str]) -> bool:
    labels = node["metadata"].get("labels") or {}
    return all(labels.get(name) == value for name, value in selector.items())


def _unusable(node: Object, source: NodeCapacity) -> str:
    """Return why a node does not count, after "it is"; empty if it does."""
    spec, ready = node.get("spec") or {}, condition(node, "Ready") or {}
    # The pods on a node that is going are not counted either.
    going = node_view(node).leaving
    if going:
        return f"going: {going}"
    if ready.get("status") != "True":
        return "not ready"
    tolerations = [*source.tolerations, {"key": bare(source.resource), "operator": "Exists"}]
    taints = (
        _named(taint)
        for taint in spec.get("taints") or ()
        if taint.get("effect") in REPELLING and not _is_tolerated(taint, tolerations)
    )
    return next((f"tainted {name}" for name in taints), "")


def _named(taint: Mapping[str, Any]) -> str:
    value = f"={taint['value']}" if taint.get("value") else ""
    return f"{taint.get('key')}{value}:{taint.get('effect')}"[:TAINT_MAX]


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
