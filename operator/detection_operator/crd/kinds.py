"""The kinds of resources and what their CustomResourceDefinitions say beyond the fields."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from detection_operator.crd.rules import POOL_ROOT_RULES, POOL_RULES, ROOT_RULES, RULES, Rules
from detection_operator.spec.conditions import CONDITIONS, POOL_CONDITIONS, Reason
from detection_operator.spec.pool_status import PoolStatus
from detection_operator.spec.queue_spec import QueueSpec
from detection_operator.spec.status import Status
from detection_operator.spec.worker_pool import PoolSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of resource.

    Attributes:
        name: Kind in manifests.
        plural: In paths.
        short_name: For kubectl.
        description: One sentence.
        spec: Type of the spec.
        status: Type of the status.
        columns: What ``kubectl get`` prints: name, type, path, and 1 for what only ``-o wide``
            shows.
        root_rules: CEL rules of the whole object.
        rules: CEL rules by path.
        conditions: Conditions by type.
        scale: Paths of the scale subresource; empty without one.
        subresources: What the reference says of them.
        guide: Page of ``docs`` that explains the kind.
    """

    name: str
    plural: str
    short_name: str
    description: str
    spec: Any
    status: Any
    columns: tuple[tuple[str, str, str, int], ...]
    root_rules: Rules
    rules: Mapping[str, Rules]
    conditions: Mapping[str, tuple[Reason, ...]]
    scale: Mapping[str, str]
    subresources: str
    guide: str


QUEUE: Final = Kind(
    name="DetectionQueue",
    plural="detectionqueues",
    short_name="dq",
    description="Detection workers that are scaled to the load of an SQS queue.",
    spec=QueueSpec,
    status=Status,
    columns=(
        ("Mode", "string", ".spec.scaling.mode", 0),
        ("Desired", "integer", ".status.desiredReplicas", 0),
        ("Ready", "integer", ".status.readyReplicas", 0),
        ("Busy", "integer", ".status.busyReplicas", 0),
        ("Visible", "integer", ".status.queue.visible", 0),
        ("Age(s)", "integer", ".status.queue.oldestAgeSeconds", 0),
        ("SLO", "string", ".status.slo.attainmentPercent", 0),
        ("Why", "string", ".status.plan.binding", 0),
        ("Max", "integer", ".spec.scaling.maxReplicas", 1),
        ("Pool", "string", ".spec.scaling.pool.name", 1),
        ("Message", "string", ".status.plan.message", 1),
    ),
    root_rules=ROOT_RULES,
    rules=RULES,
    conditions=CONDITIONS,
    scale={
        "specReplicasPath": ".spec.replicas",
        "statusReplicasPath": ".status.replicas",
        "labelSelectorPath": ".status.selector",
    },
    subresources="Subresources: `status`, and `scale` (`kubectl scale` sets `spec.replicas` for "
    "mode Manual).",
    guide="detectionqueue.md",
)
POOL: Final = Kind(
    name="WorkerPool",
    plural="workerpools",
    short_name="wp",
    description="Capacity, such as GPUs, that several DetectionQueues share.",
    spec=PoolSpec,
    status=PoolStatus,
    columns=(
        ("Sharing", "string", ".spec.sharing", 0),
        ("Capacity", "integer", ".status.capacity", 0),
        ("Wanted", "integer", ".status.wanted", 0),
        ("Granted", "integer", ".status.granted", 0),
        ("Held", "integer", ".status.held", 0),
        ("Queues", "integer", ".status.members", 0),
        ("Ready", "string", '.status.conditions[?(@.type=="Ready")].status', 0),
        ("Message", "string", ".status.message", 1),
    ),
    root_rules=POOL_ROOT_RULES,
    rules=POOL_RULES,
    conditions=POOL_CONDITIONS,
    scale={},
    subresources="Subresource: `status`.",
    guide="pools.md",
)
KINDS: Final = (QUEUE, POOL)
