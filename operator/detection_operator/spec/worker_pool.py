"""The spec of a WorkerPool: capacity that several DetectionQueues share."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any, Final

from pydantic import Field, Strict

from detection_operator.spec.fields import (
    OBJECT_NAME_PATTERN,
    Integer,
    Object,
    SpecPart,
    Text,
)
from detection_operator.spec.validation import InvalidSpec, validated

RESOURCE_PATTERN: Final = (
    "^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$"
)
"""A qualified name of Kubernetes, such as ``nvidia.com/gpu``."""
RESOURCE_MAX: Final = 316
GPU: Final = "nvidia.com/gpu"
MAX_UNITS: Final = 1_000_000


class Sharing(StrEnum):
    """How the queues of a pool share what nobody is guaranteed."""

    PRIORITY = "Priority"
    FAIR = "Fair"


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceCapacity(SpecPart):
    """A fixed number of units of a resource."""

    name: Annotated[
        Text,
        Field(
            max_length=RESOURCE_MAX,
            pattern=RESOURCE_PATTERN,
            description="Resource. A replica takes its pod's limit of it, rounded up to whole "
            "units.",
        ),
    ] = GPU
    quantity: Annotated[Integer, Field(ge=0, le=MAX_UNITS, description="Whole units that exist.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaCapacity(SpecPart):
    """What a ResourceQuota leaves to the queues of the pool."""

    name: Annotated[
        Text,
        Field(
            max_length=253,
            pattern=OBJECT_NAME_PATTERN,
            description="Name of a ResourceQuota in the same namespace.",
        ),
    ]
    resource: Annotated[
        Text,
        Field(
            max_length=RESOURCE_MAX,
            pattern=RESOURCE_PATTERN,
            description="Resource that the quota limits, as it stands in its spec.hard.",
        ),
    ] = f"requests.{GPU}"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeCapacity(SpecPart):
    """What the nodes that exist have of a resource."""

    selector: Annotated[
        Mapping[str, Annotated[str, Strict()]],
        Field(
            description="Labels that the nodes have, each with its value. Without any, all nodes"
            " count."
        ),
    ] = field(default_factory=dict)
    resource: Annotated[
        Text,
        Field(
            max_length=RESOURCE_MAX,
            pattern=RESOURCE_PATTERN,
            description="Resource to sum up over the nodes, from status.allocatable.",
        ),
    ] = GPU
    tolerations: Annotated[
        tuple[Object, ...],
        Field(
            max_length=32,
            description="Taints (Toleration) with which nodes count too; nodes with others that "
            "keep pods away do not. The resource's own taint is always tolerated.",
        ),
    ] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolCapacity(SpecPart):
    """How much there is to share: exactly one of the fields."""

    replicas: Annotated[
        Integer | None,
        Field(ge=0, le=MAX_UNITS, description="Replicas of all queues together."),
    ] = None
    resource: Annotated[
        ResourceCapacity | None, Field(description="A fixed number of units of a resource.")
    ] = None
    from_resource_quota: Annotated[
        QuotaCapacity | None,
        Field(description="What a ResourceQuota leaves to the queues of the pool."),
    ] = None
    from_nodes: Annotated[
        NodeCapacity | None,
        Field(
            description="What the nodes that exist have of a resource. Where an autoscaler adds "
            "nodes on demand, use resource with what it may add at most."
        ),
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSpec(SpecPart):
    """Desired state: what there is to share, and how.

    Build it with ``parse_pool``.
    """

    capacity: Annotated[
        PoolCapacity, Field(description="How much there is to share: exactly one of the fields.")
    ]
    sharing: Annotated[
        Sharing,
        Field(
            description="Priority: beyond the guarantees, queues of higher priority come first, "
            "among equals the more urgent one. Fair: by weight alone."
        ),
    ] = Sharing.PRIORITY


def parse_pool(spec: Mapping[str, Any]) -> PoolSpec:
    """Return ``spec`` as a value, with defaults applied and every rule checked.

    Raises:
        InvalidSpec: A field is missing, unknown, of a wrong type, out of bounds or contradictory.
    """
    parsed = validated(PoolSpec, spec)
    capacity = parsed.capacity
    sources = (
        capacity.replicas,
        capacity.resource,
        capacity.from_resource_quota,
        capacity.from_nodes,
    )
    if sum(source is not None for source in sources) != 1:
        why = "needs exactly one of replicas, resource, fromResourceQuota and fromNodes"
        raise InvalidSpec("capacity", why)
    return parsed
