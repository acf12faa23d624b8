"""What a DetectionQueue asks for, as frozen values with their defaults and bounds.

``resource`` reads them from a manifest and ``crd`` writes the schema, both from the same metadata.
"""

# ruff: noqa: RUF009 - the calls in class bodies return dataclasses.field

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Final

from detection_contract.media_types import MediaKind
from detection_operator.spec.fields import (
    DEAD_LETTER_PATTERN,
    ENDPOINT_PATTERN,
    FROM_REDRIVE_POLICY,
    MAX_REPLICAS,
    MONEY_PATTERN,
    QUEUE_URL_PATTERN,
    REGION_PATTERN,
    SQS_MAX_VISIBILITY_S,
    integer,
    listing,
    plain,
    text,
)
from detection_operator.spec.scaling import Scaling
from detection_operator.spec.worker import Worker


class OnExceeded(StrEnum):
    """What a spent budget does."""

    CLAMP = "Clamp"
    WARN = "Warn"


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueRef:
    """The SQS queue that is watched."""

    url: str = text(
        1024,
        pattern=QUEUE_URL_PATTERN,
        doc="URL of the SQS queue. It is the identity of the object and cannot change.",
    )
    endpoint_url: str | None = text(
        512,
        pattern=ENDPOINT_PATTERN,
        default=None,
        name="endpointURL",
        doc="Another SQS endpoint, for VPC endpoints and local stand-ins.",
    )
    region: str | None = text(
        32,
        pattern=REGION_PATTERN,
        default=None,
        doc="AWS region; needed only when the URL does not name one.",
    )
    poll_interval_s: int = integer(
        1, 300, default=5, doc="Seconds between two reads of the queue while it is active."
    )
    dead_letter_queue: str = text(
        1024,
        pattern=DEAD_LETTER_PATTERN,
        default=FROM_REDRIVE_POLICY,
        doc="URL of the dead-letter queue, or FromRedrivePolicy to read it from the queue.",
    )

    @property
    def account(self) -> tuple[str, str]:
        """Region and account, whose rate of calls its queues share."""
        return self.region or "", self.url.rsplit("/", 2)[-2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """How long a message may wait."""

    queue_wait_s: int = integer(
        1, SQS_MAX_VISIBILITY_S, default=120, doc="A message should start within these seconds."
    )
    objective_percent: int = integer(1, 99, default=99, doc="Percent of the messages that should.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Prior:
    """Service time of one kind of media before it was measured."""

    media_type: MediaKind = plain(doc="Kind of media.")
    seconds: int = integer(1, SQS_MAX_VISIBILITY_S, doc="Seconds for one message.")


DEFAULT_PRIORS: Final = (
    Prior(media_type=MediaKind.IMAGE, seconds=1),
    Prior(media_type=MediaKind.VIDEO, seconds=20),
    Prior(media_type=MediaKind.AUDIO, seconds=5),
)
"""Deliberately slow: too many workers for a minute cost less than a missed objective."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceTime:
    """What is known of a worker before it reports."""

    messages_in_parallel: int = integer(
        1, 1024, default=1, doc="Messages that one worker serves at a time."
    )
    priors: tuple[Prior, ...] = listing(
        3, default=DEFAULT_PRIORS, key="mediaType", doc="Service times until measured."
    )
    cold_start_s: int = integer(
        0, 7200, default=120, doc="Seconds from a new pod to its first message, until measured."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """What to do when pods find no room, or do not start."""

    unschedulable_s: int = integer(
        1,
        86_400,
        default=180,
        doc="A pod that waits this long for a node, or longer than launches were seen to take, "
        "means: no room. Pods that wait stay; no more are asked for.",
    )
    probe_replicas: int = integer(
        1,
        100,
        default=1,
        doc="Pods that are asked for beyond these after a pause; doubled on success.",
    )
    max_backoff_s: int = integer(1, 86_400, default=1800, doc="Longest pause between two probes.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What replicas may cost, in one currency of the user's choice."""

    replica_hour_cost: Decimal = text(
        16, pattern=MONEY_PATTERN, doc="Price of one replica for one hour."
    )
    max_per_hour: Decimal | None = text(
        16, pattern=MONEY_PATTERN, default=None, doc="Most to spend in an hour."
    )
    max_per_day: Decimal | None = text(
        16, pattern=MONEY_PATTERN, default=None, doc="Most to spend in a day (UTC)."
    )
    on_exceeded: OnExceeded = plain(
        default=OnExceeded.CLAMP, doc="Clamp: fewer replicas. Warn: a condition only."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueSpec:
    """The spec of a DetectionQueue, defaults applied, bounds checked.

    Build it with ``resource.parse_spec``; ``queue.region`` is then never None.
    """

    queue: QueueRef = plain(doc="The queue that is watched.")
    slo: Objective = plain(factory=Objective, doc="How long a message may wait.")
    scaling: Scaling = plain(factory=Scaling, doc="Bounds and manners of scaling.")
    replicas: int | None = integer(
        0, MAX_REPLICAS, default=None, doc="Replicas under mode Manual; ignored otherwise."
    )
    service_time: ServiceTime = plain(
        factory=ServiceTime, doc="What is known of a worker before it reports."
    )
    capacity: Capacity = plain(
        factory=Capacity, doc="What to do when pods find no room, or do not start."
    )
    budget: Budget | None = plain(default=None, doc="What replicas may cost.")
    worker: Worker = plain(doc="The workers: exactly one of template and deploymentRef.")
    paused: bool = plain(default=False, doc="Stop everything, drains too.")
