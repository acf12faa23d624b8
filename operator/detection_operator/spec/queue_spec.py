"""The spec of a DetectionQueue as frozen values with their defaults and bounds."""

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Annotated, Final

from pydantic import Field

from detection_contract.aws.sqs_urls import region_of_queue
from detection_contract.media_types import MediaKind
from detection_operator.spec.fields import (
    DEAD_LETTER_PATTERN,
    ENDPOINT_PATTERN,
    FROM_REDRIVE_POLICY,
    QUEUE_URL_PATTERN,
    REGION_PATTERN,
    SQS_MAX_VISIBILITY_S,
    Flag,
    Integer,
    Money,
    Replicas,
    SpecPart,
    Text,
    UniqueBy,
)
from detection_operator.spec.scaling import Scaling
from detection_operator.spec.worker import Worker


class OnExceeded(StrEnum):
    """What happens when the plan exceeds the budget."""

    CLAMP = "Clamp"
    WARN = "Warn"


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueRef(SpecPart):
    """The SQS queue."""

    url: Annotated[
        Text,
        Field(
            max_length=1024,
            pattern=QUEUE_URL_PATTERN,
            description="URL of the SQS queue. It identifies the DetectionQueue and is immutable.",
        ),
    ]
    endpoint_url: Annotated[
        Text | None,
        Field(
            max_length=512,
            pattern=ENDPOINT_PATTERN,
            description="SQS endpoint to use instead of AWS's public one, for example a VPC "
            "endpoint or a local emulator.",
        ),
    ] = None
    region: Annotated[
        Text | None,
        Field(
            max_length=32,
            pattern=REGION_PATTERN,
            description="AWS region; required only when the URL does not name one.",
        ),
    ] = None
    poll_interval_s: Annotated[
        Integer,
        Field(ge=1, le=300, description="Seconds between reads of the queue while it is active."),
    ] = 5
    dead_letter_queue: Annotated[
        Text,
        Field(
            max_length=1024,
            pattern=DEAD_LETTER_PATTERN,
            description="URL of the dead-letter queue, or FromRedrivePolicy to take it from the "
            "queue's redrive policy.",
        ),
    ] = FROM_REDRIVE_POLICY

    def beside(self, url: str) -> "QueueRef":
        """Return another queue that is read as this one: its region, unless its URL names one."""
        return replace(self, url=url, region=region_of_queue(url) or self.region)

    @property
    def account(self) -> tuple[str, str]:
        """Region and account, whose API rate its queues share."""
        return self.region or "", self.url.rsplit("/", 2)[-2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective(SpecPart):
    """Service level objective: how long messages may wait."""

    queue_wait_s: Annotated[
        Integer,
        Field(
            ge=1,
            le=SQS_MAX_VISIBILITY_S,
            description="Seconds within which a worker should receive a message.",
        ),
    ] = 120
    objective_percent: Annotated[
        Integer,
        Field(
            ge=1, le=99, description="Percentage of messages that should meet queueWaitSeconds."
        ),
    ] = 99


@dataclass(frozen=True, slots=True, kw_only=True)
class Prior(SpecPart):
    """Assumed service time of a media type, until workers report measured ones."""

    media_type: Annotated[MediaKind, Field(description="Media type.")]
    seconds: Annotated[
        Integer, Field(ge=1, le=SQS_MAX_VISIBILITY_S, description="Seconds per message.")
    ]


DEFAULT_PRIORS: Final = (
    Prior(media_type=MediaKind.IMAGE, seconds=1),
    Prior(media_type=MediaKind.VIDEO, seconds=20),
    Prior(media_type=MediaKind.AUDIO, seconds=5),
)
"""Deliberately slow: too many workers for a minute cost less than a missed objective."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceTime(SpecPart):
    """What to assume about workers until they report measurements."""

    messages_in_parallel: Annotated[
        Integer, Field(ge=1, le=1024, description="Messages that one worker processes at a time.")
    ] = 1
    priors: Annotated[
        tuple[Prior, ...],
        Field(max_length=3, description="Service times to assume until measured."),
        UniqueBy("mediaType"),
    ] = DEFAULT_PRIORS
    cold_start_s: Annotated[
        Integer,
        Field(
            ge=0,
            le=7200,
            description="Seconds from the creation of a pod until it receives messages, until "
            "measured.",
        ),
    ] = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity(SpecPart):
    """What to do when pods are unschedulable or do not start."""

    unschedulable_s: Annotated[
        Integer,
        Field(
            ge=1,
            le=86_400,
            description="The cluster counts as full once a pod has been unschedulable for this "
            "long, or for longer than recent node launches took. Pending pods are kept; no more "
            "are created.",
        ),
    ] = 180
    probe_replicas: Annotated[
        Integer,
        Field(
            ge=1,
            le=100,
            description="Additional pods to try after a pause; doubled after each success.",
        ),
    ] = 1
    max_backoff_s: Annotated[
        Integer, Field(ge=1, le=86_400, description="Longest pause between two tries, in seconds.")
    ] = 1800


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget(SpecPart):
    """What replicas may cost, in any one currency."""

    replica_hour_cost: Annotated[Money, Field(description="Price of one replica per hour.")]
    max_per_hour: Annotated[Money | None, Field(description="Most to spend per hour.")] = None
    max_per_day: Annotated[Money | None, Field(description="Most to spend per day (UTC).")] = None
    on_exceeded: Annotated[
        OnExceeded,
        Field(
            description="Clamp: run fewer replicas. Warn: only set the condition WithinBudget to "
            "False."
        ),
    ] = OnExceeded.CLAMP


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueSpec(SpecPart):
    """Desired state: the queue, its objective, the bounds of scaling and the workers.

    Defaults are applied and bounds checked. Build it with ``parse.parse_spec``; ``queue.region``
    is then never None.
    """

    queue: Annotated[QueueRef, Field(description="The SQS queue.")]
    slo: Annotated[
        Objective, Field(description="Service level objective: how long messages may wait.")
    ] = field(default_factory=Objective)
    scaling: Annotated[Scaling, Field(description="Bounds and pace of scaling.")] = field(
        default_factory=Scaling
    )
    replicas: Annotated[
        Replicas | None, Field(description="Replicas in mode Manual; ignored in other modes.")
    ] = None
    service_time: Annotated[
        ServiceTime,
        Field(description="What to assume about workers until they report measurements."),
    ] = field(default_factory=ServiceTime)
    capacity: Annotated[
        Capacity, Field(description="What to do when pods are unschedulable or do not start.")
    ] = field(default_factory=Capacity)
    budget: Annotated[Budget | None, Field(description="What replicas may cost.")] = None
    worker: Annotated[
        Worker, Field(description="The workers: exactly one of template and deploymentRef.")
    ]
    paused: Annotated[
        Flag,
        Field(
            description="Pause scaling: replicas stay as they are and pending drains are "
            "cancelled."
        ),
    ] = False

    @property
    def outbox(self) -> QueueRef | None:
        """Queue of the workers' callbacks that failed for now, if they have one."""
        template = self.worker.template
        if template is None or template.results is None or template.results.outbox_url is None:
            return None
        return self.queue.beside(template.results.outbox_url)
