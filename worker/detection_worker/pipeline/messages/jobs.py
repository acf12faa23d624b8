"""Messages and jobs in hand: the only mutable state that travels through the stages."""

import threading
from dataclasses import dataclass
from pathlib import Path

from detection_contract.aws.s3_urls import S3Location
from detection_contract.error_codes import ErrorCode
from detection_contract.media_types import kind_of_name
from detection_contract.messages import (
    DEFAULT_THRESHOLD,
    DetectionRequest,
    InvalidMessage,
    stable_request_id,
)
from detection_contract.result_types import DetectionResult
from detection_worker.core.messages.outcome import Failure
from detection_worker.pipeline.files.file_job import FileJob
from detection_worker.sources.base import ReceivedMessage
from detection_worker.storage.base import FetchedObject


class Message:
    """One message in hand with its jobs; an S3 event can carry several.

    Attributes:
        received: The delivery that brought it.
        received_s: Monotonic seconds of that delivery.
        jobs: What it asks for; empty for a test event.
        cancel: Set when its lease is lost or it is handed back: every stage drops its jobs.
    """

    def __init__(self, received: ReceivedMessage, *, received_s: float) -> None:
        self.received = received
        self.received_s = received_s
        self.jobs: list[Job] = []
        self.cancel = threading.Event()
        self._lock = threading.Lock()
        self._ended = 0

    @property
    def message_id(self) -> str:
        """SQS message id."""
        return self.received.message_id

    @property
    def facts(self) -> dict[str, object]:
        """What a log line about it carries besides its sentence."""
        return {
            "message_id": self.message_id,
            "request_id": ", ".join(job.request_id for job in self.jobs) or None,
            "receive_count": self.received.receive_count,
        }

    def job_ended(self) -> bool:
        """Note the end of one job; True for the last one."""
        with self._lock:
            self._ended += 1
            return self._ended == len(self.jobs)

    @property
    def failures(self) -> tuple[Failure, ...]:
        """Of the jobs that ended badly."""
        return tuple(j.failure for j in self.jobs if j.failure is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRequest:
    """What a caller asked for; fields that a bad message lacks are None.

    Attributes:
        sqs_to_ml_url: As the caller wrote it.
        location: Where that is; None only if the message is bad.
        callback_url: Who wants the result.
        threshold: In [0, 1].
        metadata: Echoed.
        original_message: Echoed.
    """

    sqs_to_ml_url: str | None
    location: S3Location | None
    callback_url: str | None
    threshold: float
    metadata: dict[str, object] | None
    original_message: dict[str, object] | None


@dataclass(slots=True, kw_only=True, eq=False)
class Job(FileJob):
    """One media object of a message on its way through the stages.

    Attributes:
        message: Whom it belongs to.
        index: Position in the message.
        asked: What is asked.
        started: A stage has begun to work on it.
        folder: Private temporary folder; removed as soon as the file is decoded.
        disk_bytes: What it counts against the disk's budget.
        fetched: After the download.
        predicted_s: Predicted seconds of work, as counted in the in_flight.
        result: The envelope, once there is one.
        body: The encoded envelope.
    """

    message: Message
    index: int
    request: JobRequest
    started: bool = False
    folder: Path | None = None
    disk_bytes: int = 0
    fetched: FetchedObject | None = None
    predicted_s: float = 0.0
    result: DetectionResult | None = None
    body: bytes | None = None

    @property
    def webhook_id(self) -> str:
        """Stable over retries and redeliveries: the receiver's idempotency key."""
        return f"msg_{self.message.message_id}_{self.index}"

    @property
    def cancelled(self) -> bool:
        """The message is no longer ours."""
        return self.message.cancel.is_set()


def open_job(message: Message, index: int, request: DetectionRequest) -> Job:
    """Return the job for one request of a message."""
    return Job(
        message=message,
        index=index,
        request=JobRequest(
            sqs_to_ml_url=request.sqs_to_ml_url,
            location=request.location,
            callback_url=request.callback_url,
            threshold=request.confidence_threshold,
            metadata=request.metadata,
            original_message=request.original_message,
        ),
        request_id=request.request_id or stable_request_id(message.message_id, index),
        kind=kind_of_name(request.location.key),
    )


def bad_job(message: Message, exc: InvalidMessage) -> Job:
    """Return the job that reports why a message cannot be understood."""
    return Job(
        message=message,
        index=0,
        request=JobRequest(
            sqs_to_ml_url=exc.sqs_to_ml_url,
            location=None,
            callback_url=None if exc.code is ErrorCode.BAD_CALLBACK_URL else exc.callback_url,
            threshold=DEFAULT_THRESHOLD,
            metadata=None,
            original_message=exc.original_message,
        ),
        request_id=exc.request_id or stable_request_id(message.message_id, 0),
        kind=None,
    )
