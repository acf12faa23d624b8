"""The status of a WorkerPool. Only the operator writes it; its bounds guard the API server."""

from typing import Annotated, Final, Required

from pydantic import Field
from typing_extensions import TypedDict

from detection_operator.spec.status import ConditionStatus, Count, Message, Time, Word

QUEUES_MAX: Final = 500
"""Most queues that the status of a pool lists; all count in its sums."""


class PoolQueueStatus(TypedDict, total=False):
    """What one queue wants and has, in replicas."""

    name: Required[Annotated[Word, Field(description="Name of the DetectionQueue.")]]
    priority: Annotated[Count, Field(description="Its priority.")]
    unitsPerReplica: Annotated[Count, Field(description="Units that one of its replicas takes.")]
    wanted: Annotated[Count, Field(description="Replicas of its plan without the pool.")]
    granted: Annotated[Count, Field(description="Replicas that it may have.")]
    held: Annotated[Count, Field(description="Replicas that exist, draining ones included.")]


class PoolStatus(TypedDict, total=False):
    """What the pool has and who has it, in units: replicas, or units of the resource."""

    observedGeneration: Annotated[
        Count, Field(description="Generation of the spec that this status follows.")
    ]
    computedAt: Annotated[Time, Field(description="When the capacity was last shared.")]
    capacity: Annotated[Count, Field(description="Units to share; absent while unknown.")]
    wanted: Annotated[
        Count,
        Field(
            description="Units that the queues want together, without replicas larger than the"
            " pool."
        ),
    ]
    granted: Annotated[Count, Field(description="Units that they may have together.")]
    held: Annotated[Count, Field(description="Units that exist, those of draining pods included.")]
    members: Annotated[Count, Field(description="Queues that name the pool.")]
    message: Annotated[Message, Field(description="Who has what, in a sentence.")]
    queues: Annotated[
        list[PoolQueueStatus],
        Field(
            max_length=QUEUES_MAX,
            description="What each queue wants and has, in replicas.",
            json_schema_extra={
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["name"],
            },
        ),
    ]
    conditions: Annotated[
        list[ConditionStatus],
        Field(
            max_length=16,
            description="Aspects of health, all positive: False always needs attention.",
            json_schema_extra={
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["type"],
            },
        ),
    ]
