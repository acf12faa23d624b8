"""Bounds and pace of scaling."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from detection_operator.spec.fields import (
    CRON_PATTERN,
    MAX_REPLICAS,
    OBJECT_NAME_PATTERN,
    POOL_NAME_MAX,
    SQS_MAX_VISIBILITY_S,
    TIME_ZONE_PATTERN,
    Flag,
    Integer,
    Name,
    Replicas,
    SpecPart,
    Text,
    UniqueBy,
)


class Mode(StrEnum):
    """Who decides the number of replicas."""

    AUTO = "Auto"
    SHADOW = "Shadow"
    MANUAL = "Manual"


class Policy(StrEnum):
    """How demand becomes replicas."""

    OBJECTIVE = "Objective"
    BACKLOG = "Backlog"


class Forecast(StrEnum):
    """Which past messages are expected again."""

    OFF = "Off"
    DAILY = "Daily"


class IdlePolicy(StrEnum):
    """How long the last replica is kept on an empty queue."""

    BREAK_EVEN = "BreakEven"
    FIXED = "Fixed"
    NEVER = "Never"


class FallbackBehavior(StrEnum):
    """What to run while the queue cannot be read."""

    HOLD = "Hold"
    STATIC = "Static"
    AT_LEAST = "AtLeast"


@dataclass(frozen=True, slots=True, kw_only=True)
class Activation(SpecPart):
    """When the first replica starts."""

    min_messages: Annotated[
        Integer,
        Field(ge=1, le=1_000_000, description="Visible messages before the first replica starts."),
    ] = 1
    confirm_samples: Annotated[
        Integer,
        Field(
            ge=1,
            le=10,
            description="Consecutive reads of the queue that must show minMessages. A burst of "
            "ten times minMessages needs one.",
        ),
    ] = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaleUp(SpecPart):
    """How fast replicas are added."""

    max_replicas_per_minute: Annotated[
        Integer | None,
        Field(
            ge=1,
            le=MAX_REPLICAS,
            description="Most replicas added per minute. Without it all are added in one step.",
        ),
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaleDown(SpecPart):
    """How fast replicas are removed."""

    hold_s: Annotated[
        Integer | None,
        Field(
            ge=0,
            le=3600,
            description="Stabilization window: replicas are removed only after they have been "
            "surplus for this many seconds. Without it as long as a cold start, from 20 to 60.",
        ),
    ] = None
    max_percent: Annotated[
        Integer,
        Field(
            ge=1,
            le=100,
            description="Most replicas removed per minute, in percent, busy ones included. Fewer "
            "than ten count as ten, so that the last few go together.",
        ),
    ] = 50
    drain_timeout_s: Annotated[
        Integer,
        Field(
            ge=1,
            le=SQS_MAX_VISIBILITY_S,
            description="Seconds that a worker may take to finish its messages before its pod is "
            "terminated. Set it above the longest job.",
        ),
    ] = 900


@dataclass(frozen=True, slots=True, kw_only=True)
class Idle(SpecPart):
    """How long the last replica is kept on an empty queue."""

    policy: Annotated[
        IdlePolicy,
        Field(
            description="BreakEven: as long as an idle replica costs less than the cold start it "
            "saves. Fixed: fixedSeconds. Never: the last replica is never removed."
        ),
    ] = IdlePolicy.BREAK_EVEN
    fixed_s: Annotated[
        Integer, Field(ge=0, le=86_400, description="Idle seconds under policy Fixed.")
    ] = 300
    max_s: Annotated[
        Integer, Field(ge=0, le=86_400, description="Most idle seconds under policy BreakEven.")
    ] = 1800


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule(SpecPart):
    """A minimum number of replicas at recurring times."""

    name: Annotated[
        Name, Field(max_length=63, description="Unique name, shown in the plan's message.")
    ]
    cron: Annotated[
        Text,
        Field(
            max_length=128,
            pattern=CRON_PATTERN,
            description="Start times: minute hour day-of-month month day-of-week.",
        ),
    ]
    duration_s: Annotated[
        Integer,
        Field(ge=60, le=604_800, description="Seconds that the minimum holds from each start."),
    ]
    time_zone: Annotated[
        Text,
        Field(
            max_length=64,
            pattern=TIME_ZONE_PATTERN,
            description="IANA time zone of the cron expression.",
        ),
    ] = "UTC"
    min_replicas: Annotated[
        Integer,
        Field(ge=1, le=MAX_REPLICAS, description="Fewest replicas while the schedule holds."),
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fallback(SpecPart):
    """What to run while the queue cannot be read."""

    after_s: Annotated[
        Integer,
        Field(
            ge=1,
            le=86_400,
            description="Seconds without a successful read before the behavior applies.",
        ),
    ] = 120
    behavior: Annotated[
        FallbackBehavior,
        Field(
            description="Hold: keep the present replicas. Static: run fallback.replicas. AtLeast: "
            "keep the present replicas, but at least fallback.replicas."
        ),
    ] = FallbackBehavior.HOLD
    replicas: Annotated[
        Replicas | None, Field(description="Replicas for the behaviors Static and AtLeast.")
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolMembership(SpecPart):
    """The queue's part in a WorkerPool, which shares scarce capacity between queues."""

    name: Annotated[
        Text,
        Field(
            max_length=POOL_NAME_MAX,
            pattern=OBJECT_NAME_PATTERN,
            description="Name of a WorkerPool in the same namespace.",
        ),
    ]
    priority: Annotated[
        Integer,
        Field(
            ge=0,
            le=1000,
            description="Under sharing Priority a queue of higher priority takes what those of "
            "lower priority have above their guarantees.",
        ),
    ] = 0
    weight: Annotated[
        Integer,
        Field(ge=1, le=100, description="Share relative to other queues of the same priority."),
    ] = 1
    guaranteed: Annotated[
        Replicas,
        Field(
            description="Replicas that the queue gets before others get more than theirs. What it "
            "does not need, others may use. minReplicas comes right after all guarantees."
        ),
    ] = 0
    borrow: Annotated[
        Flag,
        Field(
            description="The queue may have more than guaranteed while the pool has it to give."
        ),
    ] = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaling(SpecPart):
    """Bounds and pace of scaling."""

    mode: Annotated[
        Mode,
        Field(
            description="Auto: apply the plan. Shadow: make and report the plan, change nothing. "
            "Manual: run spec.replicas."
        ),
    ] = Mode.AUTO
    policy: Annotated[
        Policy,
        Field(
            description="Objective: the replicas that meet spec.slo. Backlog: messages divided by "
            "backlogPerReplica."
        ),
    ] = Policy.OBJECTIVE
    backlog_per_replica: Annotated[
        Integer | None,
        Field(ge=1, le=1_000_000, description="Messages per replica under policy Backlog."),
    ] = None
    min_replicas: Annotated[
        Replicas, Field(description="Fewest replicas; 0 allows scaling to zero.")
    ] = 0
    max_replicas: Annotated[
        Integer, Field(ge=1, le=MAX_REPLICAS, description="Most replicas.")
    ] = 40
    forecast: Annotated[
        Forecast,
        Field(
            description="Daily: under policy Objective, and where a cold start takes more than "
            "half of queueWaitSeconds, replicas are ready when messages came yesterday or on the "
            "same day last week. Off: only what has come today counts."
        ),
    ] = Forecast.DAILY
    headroom_replicas: Annotated[
        Replicas, Field(description="Spare replicas to run while the queue is active.")
    ] = 0
    activation: Annotated[Activation, Field(description="When the first replica starts.")] = field(
        default_factory=Activation
    )
    scale_up: Annotated[ScaleUp, Field(description="How fast replicas are added.")] = field(
        default_factory=ScaleUp
    )
    scale_down: Annotated[ScaleDown, Field(description="How fast replicas are removed.")] = field(
        default_factory=ScaleDown
    )
    idle: Annotated[
        Idle, Field(description="How long the last replica is kept on an empty queue.")
    ] = field(default_factory=Idle)
    schedules: Annotated[
        tuple[Schedule, ...],
        Field(max_length=16, description="Minimum replicas at recurring times."),
        UniqueBy("name"),
    ] = ()
    fallback: Annotated[
        Fallback, Field(description="What to run while the queue cannot be read.")
    ] = field(default_factory=Fallback)
    pool: Annotated[
        PoolMembership | None,
        Field(
            description="The queue's part in a WorkerPool, which shares scarce capacity between "
            "queues."
        ),
    ] = None
