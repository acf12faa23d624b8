"""The status of a DetectionQueue. Only the operator writes it; its bounds guard the API server."""

from typing import Annotated, Final, Literal, Required

from pydantic import Field
from typing_extensions import TypedDict

from detection_operator.spec.fields import SELECTOR_MAX

MESSAGE_MAX: Final = 1024
"""Longest message of a plan, a condition and an event."""
AGREEMENTS: Final = ("yesterdayPercent", "lastWeekPercent")
"""How well the days of a forecast foretold the messages."""

Count = Annotated[int, Field(ge=0, json_schema_extra={"format": "int64"})]
Text = Annotated[str, Field(max_length=256)]
Word = Annotated[str, Field(max_length=64)]
Message = Annotated[str, Field(max_length=MESSAGE_MAX)]
Time = Annotated[str, Field(max_length=64, json_schema_extra={"format": "date-time"})]


class QueueStatus(TypedDict, total=False):
    """The queue as last read; SQS counts are approximate."""

    visible: Annotated[Count, Field(description="Messages that can be received.")]
    inFlight: Annotated[Count, Field(description="Messages received and not yet deleted.")]
    delayed: Annotated[Count, Field(description="Messages that are delayed.")]
    deadLetter: Annotated[Count, Field(description="Messages in the dead-letter queue.")]
    outbox: Annotated[
        Count, Field(description="Callbacks in the outbox of worker.template.results, if any.")
    ]
    oldestAgeSeconds: Annotated[
        Count, Field(description="Age of the oldest visible message: a lower bound.")
    ]
    arrivalsPerMinute: Annotated[Count, Field(description="Smoothed arrival rate.")]
    sampledAt: Annotated[Time, Field(description="When the queue was last read.")]


class ColdStartStatus(TypedDict, total=False):
    """The median of each part of recent cold starts."""

    launchMillis: Annotated[
        Count, Field(description="Launch of a node; 0 where a node had room, as is then expected.")
    ]
    pullMillis: Annotated[Count, Field(description="Pull of the images.")]
    startMillis: Annotated[
        Count, Field(description="The rest until ready: volumes, containers, loading of models.")
    ]


class ServiceStatus(TypedDict, total=False):
    """What the workers report."""

    meanMillis: Annotated[Count, Field(description="Mean service time of a message.")]
    p90Millis: Annotated[
        Count, Field(description="90th percentile of the service time, estimated.")
    ]
    samples: Annotated[Count, Field(description="Measurements behind the mean; 0: priors.")]
    coldStartMillis: Annotated[
        Count, Field(description="From the creation of a pod until it is ready.")
    ]
    coldStart: Annotated[
        ColdStartStatus,
        Field(description="Parts of coldStartMillis; absent before the first is measured."),
    ]
    launchMillis: Annotated[
        Count, Field(description="Longest recent wait for a node; absent before the first.")
    ]


class TermStatus(TypedDict, total=False):
    """One step of the decision."""

    name: Required[Annotated[Word, Field(description="Name of the rule.")]]
    replicas: Required[Annotated[Count, Field(description="Replicas after this rule.")]]


class PlanStatus(TypedDict, total=False):
    """The last decision."""

    computedAt: Annotated[Time, Field(description="When the decision was made.")]
    binding: Annotated[Word, Field(description="The rule that set the number of replicas.")]
    terms: Annotated[
        list[TermStatus], Field(max_length=24, description="The rules that applied, in order.")
    ]
    message: Annotated[Message, Field(description="The decision in a sentence.")]


class ObjectiveStatus(TypedDict, total=False):
    """How the objective was met."""

    attainmentPercent: Annotated[
        Text, Field(description="Percentage of messages received within queueWaitSeconds.")
    ]
    messages: Annotated[Count, Field(description="Messages behind the percentage.")]
    windowSeconds: Annotated[Count, Field(description="Seconds that the percentage covers.")]


class ForecastStatus(TypedDict, total=False):
    """The messages of the last days by the time of day, under forecast Daily."""

    since: Annotated[Time, Field(description="Since when messages are counted.")]
    yesterdayPercent: Annotated[
        Count,
        Field(
            description="How well the day before foretold the messages lately; believed from "
            "25 on."
        ),
    ]
    lastWeekPercent: Annotated[
        Count,
        Field(description="The same for the day a week before, from the second week on."),
    ]
    profile: Annotated[
        str,
        Field(
            max_length=4096,
            description="Messages in every five minutes of eight days, compressed; "
            "detection-operator explain prints those of the next day.",
        ),
    ]


class CostStatus(TypedDict, total=False):
    """What replicas cost, when the spec has a budget."""

    perHour: Annotated[Text, Field(description="At the present number of replicas.")]
    today: Annotated[Text, Field(description="Since midnight UTC.")]


class ConditionStatus(TypedDict, total=False):
    """One aspect of health; False always needs attention."""

    type: Required[Annotated[Word, Field(description="Name of the condition.")]]
    status: Required[
        Annotated[Literal["True", "False", "Unknown"], Field(description="Whether it holds.")]
    ]
    observedGeneration: Annotated[
        Count, Field(description="Generation of the spec that it was computed for.")
    ]
    lastTransitionTime: Required[Annotated[Time, Field(description="When status last changed.")]]
    reason: Required[Annotated[Word, Field(description="Cause in one word.")]]
    message: Required[Annotated[Message, Field(description="Cause in a sentence.")]]


class Status(TypedDict, total=False):
    """What was observed and decided."""

    observedGeneration: Annotated[
        Count, Field(description="Generation of the spec that this status follows.")
    ]
    replicas: Annotated[Count, Field(description="Replicas that exist, draining ones included.")]
    selector: Annotated[
        str,
        Field(
            max_length=SELECTOR_MAX,
            description="Label selector of the worker pods, for the scale subresource; absent "
            "when it is longer.",
        ),
    ]
    desiredReplicas: Annotated[Count, Field(description="Replicas that the plan asks for.")]
    readyReplicas: Annotated[Count, Field(description="Replicas that can receive messages.")]
    busyReplicas: Annotated[Count, Field(description="Replicas that are processing a message.")]
    drainingReplicas: Annotated[
        Count,
        Field(description="Replicas that finish their messages and receive no more."),
    ]
    unschedulableReplicas: Annotated[
        Count, Field(description="Replicas that wait for a node; they cost nothing.")
    ]
    queue: Annotated[
        QueueStatus, Field(description="The queue as last read; SQS counts are approximate.")
    ]
    service: Annotated[ServiceStatus, Field(description="What the workers report.")]
    plan: Annotated[PlanStatus, Field(description="The last decision.")]
    slo: Annotated[ObjectiveStatus, Field(description="How the objective was met.")]
    forecast: Annotated[
        ForecastStatus,
        Field(description="The messages of the last days by the time of day."),
    ]
    cost: Annotated[
        CostStatus, Field(description="What replicas cost, when the spec has a budget.")
    ]
    lastScaleTime: Annotated[Time, Field(description="When desiredReplicas last changed.")]
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
