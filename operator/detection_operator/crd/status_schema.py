"""The schema of ``status``. Only the operator writes it; bounds keep a broken writer small."""

from typing import Any

from detection_operator.spec.fields import SELECTOR_MAX

MESSAGE_MAX = 1024
TERMS_MAX = 24


def _count(doc: str) -> dict[str, Any]:
    return {"type": "integer", "format": "int64", "minimum": 0, "description": doc}


def _string(doc: str, *, longest: int = 256) -> dict[str, Any]:
    return {"type": "string", "maxLength": longest, "description": doc}


def _time(doc: str) -> dict[str, Any]:
    return {"type": "string", "format": "date-time", "maxLength": 64, "description": doc}


def _object(doc: str, **properties: Any) -> dict[str, Any]:
    return {"type": "object", "description": doc, "properties": properties}


def status_schema() -> dict[str, Any]:
    """Return the schema of ``status``."""
    return _object(
        "What was seen and decided.",
        observedGeneration=_count("Generation of the spec that this status follows."),
        replicas=_count("Replicas that exist, draining ones too."),
        selector=_string(
            "Label selector of the worker pods, for the scale subresource; absent when longer.",
            longest=SELECTOR_MAX,
        ),
        desiredReplicas=_count("Replicas that the plan asks for."),
        readyReplicas=_count("Replicas that can take messages."),
        busyReplicas=_count("Replicas that work on a message."),
        drainingReplicas=_count("Replicas that finish what they hold and take no more."),
        unschedulableReplicas=_count("Replicas that wait for a node; they cost nothing."),
        queue=_queue(),
        service=_service(),
        plan=_plan(),
        slo=_object(
            "How the objective was met.",
            attainmentPercent=_string("Messages that waited no longer than queueWaitSeconds."),
            messages=_count("Messages behind the percentage."),
            windowSeconds=_count("Seconds that the percentage covers."),
        ),
        cost=_object(
            "What replicas cost, when a price is given.",
            perHour=_string("At the present number of replicas."),
            today=_string("Since midnight UTC."),
        ),
        lastScaleTime=_time("When desiredReplicas last changed."),
        conditions=_conditions(),
    )


def _queue() -> dict[str, Any]:
    return _object(
        "The queue as last read; SQS counts are approximate.",
        visible=_count("Messages that wait."),
        inFlight=_count("Messages that were received and not deleted."),
        delayed=_count("Messages that are not due yet."),
        deadLetter=_count("Messages in the dead-letter queue."),
        oldestAgeSeconds=_count("Age of the oldest waiting message, at least."),
        arrivalsPerMinute=_count("Smoothed arrivals."),
        sampledAt=_time("When the queue was last read."),
    )


def _service() -> dict[str, Any]:
    return _object(
        "What the workers report.",
        meanMillis=_count("Mean service time of a message."),
        p90Millis=_count("90th percentile of the service time, estimated."),
        samples=_count("Messages behind the mean."),
        coldStartMillis=_count("From a new pod to ready."),
        launchMillis=_count("Longest wait for a node of late; absent before the first."),
    )


def _plan() -> dict[str, Any]:
    term = _object(
        "One step of the decision.",
        name=_string("Name of the rule.", longest=64),
        replicas=_count("Replicas after this rule."),
    )
    term["required"] = ["name", "replicas"]
    return _object(
        "The last decision.",
        computedAt=_time("When it was made."),
        binding=_string("The rule that set the number.", longest=64),
        terms={
            "type": "array",
            "maxItems": TERMS_MAX,
            "x-kubernetes-list-type": "atomic",
            "description": "The rules in their order.",
            "items": term,
        },
        message=_string("The decision in a sentence.", longest=MESSAGE_MAX),
    )


def _conditions() -> dict[str, Any]:
    condition = _object(
        "One aspect; False is always bad.",
        type=_string("Name of the condition.", longest=64),
        status={"type": "string", "enum": ["True", "False", "Unknown"]},
        observedGeneration=_count("Generation that it was computed for."),
        lastTransitionTime=_time("When status last changed."),
        reason=_string("One word.", longest=64),
        message=_string("For a person.", longest=MESSAGE_MAX),
    )
    condition["required"] = ["type", "status", "lastTransitionTime", "reason", "message"]
    return {
        "type": "array",
        "maxItems": 16,
        "description": "All positive: False is always bad.",
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": condition,
    }
