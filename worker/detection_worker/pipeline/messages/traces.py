"""Spans of a message's stages and of its end. Without tracing nothing here does anything."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Final

from detection_contract.aws.arns import Service, parse_destination_arn
from detection_tracing.port import Attributes, Kind, Span, within
from detection_worker.pipeline.files.handovers import Scored, Unscored
from detection_worker.pipeline.messages.jobs import Job, Message

OUTCOME: Final = "detection_queue.outcome"
REQUEST_ID: Final = "detection_queue.request_id"
LOST: Final = "lost"
"""The message was no longer ours; its next delivery has a span of its own."""

_CALLS: Final = {"deleted": "delete", "dead_lettered": "delete"}
"""What the other outcomes change is the visibility."""
_SYSTEMS: Final = {
    Service.SNS: "aws.sns",
    Service.SQS: "aws_sqs",
    Service.EVENTBRIDGE: "aws.eventbridge",
}
_S3_METHODS: Final = {"download": "GetObject", "recall": "GetObject", "store": "PutObject"}


def step(job: Job, name: str) -> AbstractContextManager[Span | None]:
    """Return the span of a stage of a job, to be used in a ``with``."""
    if job.trace is None:
        return within(None, name)
    kind: Kind = "client" if name in _S3_METHODS else "internal"
    return within(job.trace, name, kind, _about(job, name))


def inference_step(job: Job) -> Span | None:
    """Begin the span of a job's scoring, with its wait for the device; None without tracing."""
    return None if job.trace is None else job.trace.child("inference", attributes=_about(job, ""))


def end_inference(trace: Span, outcome: Scored[Any] | Unscored | None) -> None:
    """End the span of a job's scoring, with its share of the device's time."""
    if outcome is not None:
        trace.set({"detection_queue.device_seconds": outcome.seconds})
    if isinstance(outcome, Unscored):
        trace.fail(outcome.failure.code.value)
    trace.end()


def notify_span(job: Job, arn: str) -> AbstractContextManager[Span | None]:
    """Return the span of one notification, to be used in a ``with``."""
    if job.trace is None:
        return within(None, "")
    destination = parse_destination_arn(arn)
    system = _SYSTEMS[destination.service]
    about = {
        REQUEST_ID: job.request_id,
        "messaging.system": system,
        "messaging.destination.name": destination.name,
        "messaging.operation.name": "publish",
        "messaging.operation.type": "send",
    }
    return within(job.trace, f"publish {destination.name}", "producer", about)


def _about(job: Job, name: str) -> Attributes:
    found: dict[str, str | int] = {REQUEST_ID: job.request_id}
    if job.kind is not None:
        found["detection_queue.media_type"] = job.kind.value
    if name in _S3_METHODS:
        found |= {"rpc.system": "aws-api", "rpc.service": "S3", "rpc.method": _S3_METHODS[name]}
    location = job.request.location
    if name == "download" and location is not None:
        # As in log lines, without a query: it may be a signature that the sender took for a key.
        key = location.key.partition("?")[0]
        found |= {"aws.s3.bucket": location.bucket, "aws.s3.key": key}
    return found


def settling(trace: Span, result: str, done: Callable[[bool], None]) -> Callable[[bool], None]:
    """Begin the span of a message's settlement; return what ends both, then calls ``done``.

    Args:
        trace: The span of the message's processing.
        result: Its outcome, as in the metrics.
        done: Called with whether SQS surely accepted it.
    """
    call = _CALLS.get(result, "change_visibility")
    about = {
        "messaging.system": "aws_sqs",
        "messaging.operation.name": call,
        "messaging.operation.type": "settle",
    }
    span = trace.child(call, "client", about)

    def ended(ok: bool) -> None:  # noqa: FBT001 - the ack writer's callback
        if not ok:
            span.fail(LOST)
        span.end()
        trace.set({OUTCOME: result if ok else LOST})
        trace.end()
        done(ok)

    return ended


def end_lost(message: Message) -> None:
    """End the span of a message that is no longer ours."""
    if message.trace is not None:
        message.trace.set({OUTCOME: LOST})
        message.trace.fail(LOST)
        message.trace.end()
