"""A message in flight and the jobs in it."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from detection_contract.aws.s3_urls import S3Location
from detection_contract.error_codes import ErrorCode
from detection_contract.media_types import MediaKind, kind_of_name
from detection_contract.messages import (
    DEFAULT_THRESHOLD,
    DetectionRequest,
    InvalidMessage,
    ParsedBody,
    stable_request_id,
)
from detection_tracing.contexts import Carrier
from detection_tracing.port import Span
from detection_worker.core.messages.outcome import Failure
from detection_worker.errors import Cancelled
from detection_worker.sources.base import ReceivedMessage


class JobEnd(StrEnum):
    """How a job ends that does not fail."""

    FINISHED = "finished"
    """Its result is delivered."""
    ABANDONED = "abandoned"
    """Its message is no longer ours: nothing is reported."""


JobOutcome = JobEnd | Failure
"""How a job ends."""


class Message:
    """One message in flight with its jobs; an S3 event can carry several.

    Attributes:
        received: The delivery that brought it.
        received_s: Monotonic seconds of that delivery.
        jobs: What it asks for; empty for a test event. Set once, before any job begins.
        cancel: Set when its lease is lost or it is handed back: every stage drops its jobs.
    """

    def __init__(self, received: ReceivedMessage, *, received_s: float) -> None:
        self.received = received
        self.received_s = received_s
        self.jobs: Sequence[Job] = ()
        self.cancel = threading.Event()
        self._lock = threading.Lock()
        self._outcomes: dict[int, JobOutcome] = {}

    @property
    def message_id(self) -> str:
        """SQS message id."""
        return self.received.message_id

    @property
    def trace(self) -> Span | None:
        """The span of its processing; None without tracing."""
        return self.received.trace

    @property
    def facts(self) -> dict[str, object]:
        """Fields of every log line about it."""
        facts: dict[str, object] = {
            "message_id": self.message_id,
            "request_id": ", ".join(job.request_id for job in self.jobs) or None,
            "receive_count": self.received.receive_count,
        }
        return facts if self.trace is None else facts | trace_facts(self.trace)

    def job_ended(self, index: int, outcome: JobOutcome) -> bool:
        """Note the end of the job at ``index``; True for the last one to end."""
        with self._lock:
            self._outcomes[index] = outcome
            return len(self._outcomes) == len(self.jobs)

    @property
    def is_complete(self) -> bool:
        """No job that has ended was abandoned."""
        with self._lock:
            return JobEnd.ABANDONED not in self._outcomes.values()

    @property
    def failures(self) -> tuple[Failure, ...]:
        """Why jobs failed that have ended, in the order of the jobs."""
        with self._lock:
            ended = sorted(self._outcomes.items())
        return tuple(outcome for _, outcome in ended if isinstance(outcome, Failure))


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRequest:
    """What a sender asked for; fields that a bad message lacks are None.

    Attributes:
        sqs_to_ml_url: As the sender wrote it.
        location: The object that it names; None only if the message is bad.
        callback_url: Where the result is posted.
        threshold: Score from which the label is FAKE, in [0, 1].
        metadata: Echoed.
        original_message: Echoed.
        of_event: An event of S3 asks for it, nobody else.
    """

    sqs_to_ml_url: str | None
    location: S3Location | None
    callback_url: str | None
    threshold: float
    metadata: dict[str, object] | None
    original_message: dict[str, object] | None
    of_event: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Job:
    """One media object of a message.

    Attributes:
        message: The message that asks for it.
        index: Position in the message.
        request: What is asked.
        request_id: Names it in results and logs.
        kind: As the object's name announces; None if it does not.
    """

    message: Message
    index: int
    request: JobRequest
    request_id: str
    kind: MediaKind | None

    @property
    def webhook_id(self) -> str:
        """Stable over retries and redeliveries: the receiver's idempotency key."""
        return f"msg_{self.message.message_id}_{self.index}"

    @property
    def trace(self) -> Span | None:
        """The span of the message's processing; None without tracing."""
        return self.message.trace

    @property
    def carrier(self) -> Carrier | None:
        """That span's context."""
        return None if self.trace is None else self.trace.carrier

    @property
    def cancelled(self) -> bool:
        """The message is no longer ours."""
        return self.message.cancel.is_set()

    @property
    def facts(self) -> dict[str, object]:
        """Fields of every log line about it."""
        facts: dict[str, object] = {
            "message_id": self.message.message_id,
            "request_id": self.request_id,
            "receive_count": self.message.received.receive_count,
            "media_type": self.kind.value if self.kind else None,
        }
        return facts if self.trace is None else facts | trace_facts(self.trace)

    def check(self) -> None:
        """Raise ``Cancelled`` if the message is no longer ours."""
        if self.cancelled:
            raise Cancelled


def trace_facts(trace: Span) -> dict[str, object]:
    """Return the fields of log lines that lead to a trace."""
    return {"trace_id": trace.trace_id, "span_id": trace.span_id}


def open_job(
    message: Message,
    index: int,
    request: DetectionRequest,
    default_url: str | None = None,
    *,
    of_event: bool = False,
) -> Job:
    """Return the job for one request of a message; ``default_url`` is for lack of a callback."""
    return Job(
        message=message,
        index=index,
        request=JobRequest(
            sqs_to_ml_url=request.sqs_to_ml_url,
            location=request.location,
            callback_url=request.callback_url or default_url,
            threshold=request.confidence_threshold,
            metadata=request.metadata,
            original_message=request.original_message,
            of_event=of_event,
        ),
        request_id=request.request_id or stable_request_id(message.message_id, index),
        kind=kind_of_name(request.location.key),
    )


def open_jobs(
    message: Message, parsed: ParsedBody, default_url: str | None = None
) -> tuple[Job, ...]:
    """Return a job for each request of a message."""
    return tuple(
        open_job(message, index, request, default_url, of_event=parsed.of_event)
        for index, request in enumerate(parsed.requests)
    )


def bad_job(message: Message, exc: InvalidMessage, default_url: str | None = None) -> Job:
    """Return the job that reports why a message cannot be understood."""
    # A sender who meant another receiver is not answered at the default one.
    no_callback = exc.code is ErrorCode.BAD_CALLBACK_URL
    return Job(
        message=message,
        index=0,
        request=JobRequest(
            sqs_to_ml_url=exc.sqs_to_ml_url,
            location=None,
            callback_url=None if no_callback else exc.callback_url or default_url,
            threshold=DEFAULT_THRESHOLD,
            metadata=None,
            original_message=exc.original_message,
        ),
        request_id=exc.request_id or stable_request_id(message.message_id, 0),
        kind=None,
    )
