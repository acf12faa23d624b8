"""Bounds and manners of scaling."""

# ruff: noqa: RUF009 - the calls in class bodies return dataclasses.field

from dataclasses import dataclass
from enum import StrEnum

from detection_operator.spec.fields import (
    CRON_PATTERN,
    MAX_REPLICAS,
    NAME_PATTERN,
    SQS_MAX_VISIBILITY_S,
    TIME_ZONE_PATTERN,
    integer,
    listing,
    plain,
    text,
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


class IdlePolicy(StrEnum):
    """How long the last replica outlives the work."""

    BREAK_EVEN = "BreakEven"
    FIXED = "Fixed"
    NEVER = "Never"


class FallbackBehavior(StrEnum):
    """What to run while the queue cannot be read."""

    HOLD = "Hold"
    STATIC = "Static"
    AT_LEAST = "AtLeast"


@dataclass(frozen=True, slots=True, kw_only=True)
class Activation:
    """What it takes to start the first replica."""

    min_messages: int = integer(
        1, 1_000_000, default=1, doc="Messages waiting before the first replica starts."
    )
    confirm_samples: int = integer(
        1, 10, default=2, doc="Reads in a row that must agree; a clear burst needs one."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaleUp:
    """How fast replicas are added."""

    max_replicas_per_minute: int | None = integer(
        1, MAX_REPLICAS, default=None, doc="Most replicas added in a minute; absent: one step."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaleDown:
    """How fast replicas are removed."""

    hold_s: int = integer(
        0, 3600, default=60, doc="Replicas stay until they were surplus for these seconds."
    )
    max_percent: int = integer(
        1,
        100,
        default=50,
        doc="Most of the replicas removed in a minute, busy ones too; always one.",
    )
    drain_timeout_s: int = integer(
        1,
        SQS_MAX_VISIBILITY_S,
        default=900,
        doc="Longest that a worker may take to drain: let it be more than the longest job.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Idle:
    """How long one replica stays warm on an empty queue."""

    policy: IdlePolicy = plain(
        default=IdlePolicy.BREAK_EVEN,
        doc="BreakEven: as long as idling costs less than a cold start. Fixed: fixedSeconds. "
        "Never: the last replica never goes.",
    )
    fixed_s: int = integer(0, 86_400, default=300, doc="Idle seconds under Fixed.")
    max_s: int = integer(0, 86_400, default=1800, doc="Most idle seconds under BreakEven.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """A minimum of replicas at recurring times."""

    name: str = text(63, pattern=NAME_PATTERN, doc="Name shown in the plan.")
    cron: str = text(
        128, pattern=CRON_PATTERN, doc="Start, as minute hour day-of-month month day-of-week."
    )
    duration_s: int = integer(60, 604_800, doc="Seconds that the minimum holds from each start.")
    time_zone: str = text(
        64, pattern=TIME_ZONE_PATTERN, default="UTC", doc="IANA time zone of the cron expression."
    )
    min_replicas: int = integer(1, MAX_REPLICAS, doc="Replicas to have during that time.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fallback:
    """What to run while the queue cannot be read."""

    after_s: int = integer(
        1, 86_400, default=120, doc="Seconds without a reading before the behavior applies."
    )
    behavior: FallbackBehavior = plain(
        default=FallbackBehavior.HOLD,
        doc="Hold: keep what runs. Static: replicas. AtLeast: what runs, but not below replicas.",
    )
    replicas: int | None = integer(
        0, MAX_REPLICAS, default=None, doc="Replicas of Static and AtLeast."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaling:
    """Bounds and manners of scaling."""

    mode: Mode = plain(
        default=Mode.AUTO, doc="Auto, Shadow (plan only, write nothing) or Manual (spec.replicas)."
    )
    policy: Policy = plain(
        default=Policy.OBJECTIVE,
        doc="Objective: replicas that meet spec.slo. Backlog: messages / backlogPerReplica.",
    )
    backlog_per_replica: int | None = integer(
        1, 1_000_000, default=None, doc="Messages for each replica under the policy Backlog."
    )
    min_replicas: int = integer(0, MAX_REPLICAS, default=0, doc="Fewest replicas.")
    max_replicas: int = integer(1, MAX_REPLICAS, default=40, doc="Most replicas.")
    headroom_replicas: int = integer(
        0, MAX_REPLICAS, default=0, doc="Spare replicas while the queue is active."
    )
    activation: Activation = plain(factory=Activation, doc="When the first replica starts.")
    scale_up: ScaleUp = plain(factory=ScaleUp, doc="How fast replicas are added.")
    scale_down: ScaleDown = plain(factory=ScaleDown, doc="How fast replicas are removed.")
    idle: Idle = plain(factory=Idle, doc="How long the last replica stays on an empty queue.")
    schedules: tuple[Schedule, ...] = listing(
        16, default=(), key="name", doc="Minimums at recurring times."
    )
    fallback: Fallback = plain(factory=Fallback, doc="What to run while the queue is unread.")
