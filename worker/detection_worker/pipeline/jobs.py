"""Messages and jobs in hand: the only mutable state that travels through the stages."""

import threading
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from detection_contract.aws.s3_urls import S3Location
from detection_contract.error_codes import ErrorCode
from detection_contract.media_types import MediaKind, kind_of_name
from detection_contract.messages import (
    DEFAULT_THRESHOLD,
    DetectionRequest,
    InvalidMessage,
    stable_request_id,
)
from detection_contract.result_types import DetectionResult
from detection_worker.core.outcome import Failure
from detection_worker.detectors.base import Detector
from detection_worker.errors import Cancelled, JobError
from detection_worker.media.values import DecodedMedia
from detection_worker.pipeline.analysis import Scored
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
class Asked:
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
class FileJob(ABC):
    """One media file on its way through decoding and inference.

    Attributes:
        request_id: Names it in results and logs.
        kind: As the name announces, then as the content says.
        decoded: After decoding; dropped as soon as it is scored, for it is large.
        detector: That scores it.
        sound: Of a video, until it is its turn to be scored.
        sound_detector: That scores the sound.
        pictures: Of a video whose sound is scored after them.
        logits: Filled by the inference stage; ``scored`` counts the filled ones.
        failure: Why it failed, once it has.
        timings_s: Seconds of each finished stage.
    """

    request_id: str
    kind: MediaKind | None
    decoded: DecodedMedia | None = None
    detector: Detector | None = None
    sound: DecodedMedia | None = None
    sound_detector: Detector | None = None
    pictures: Scored | None = None
    logits: NDArray[np.float32] | None = None
    scored: int = 0
    failure: Failure | None = None
    timings_s: dict[str, float] = field(default_factory=dict)

    @property
    @abstractmethod
    def cancelled(self) -> bool:
        """Nobody wants it any more."""

    def check(self) -> None:
        """Raise ``Cancelled`` if nobody wants it any more."""
        if self.cancelled:
            raise Cancelled

    def next_track(self) -> bool:
        """Put the scored pictures of a video aside for its sound; False if there is none."""
        if self.sound is None:
            return False
        self.pictures = self._scored()
        self.decoded, self.detector = self.sound, self.sound_detector
        self.sound, self.logits, self.scored = None, None, 0
        return True

    def take_scored(self) -> tuple[Scored, Scored | None]:
        """Return the scored file, for a video its pictures and its sound, and hold it no more."""
        last, pictures = self._scored(), self.pictures
        self.decoded, self.pictures = None, None
        return (last, None) if pictures is None else (pictures, last)

    def _scored(self) -> Scored:
        assert self.decoded is not None  # noqa: S101 - scored jobs are decoded
        assert self.detector is not None  # noqa: S101
        assert self.logits is not None  # noqa: S101
        return Scored(decoded=self.decoded, logits=self.logits, card=self.detector.card)


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
        predicted_s: Predicted seconds of work, as counted in the ledger.
        result: The envelope, once there is one.
        body: The encoded envelope.
    """

    message: Message
    index: int
    asked: Asked
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


def failure_of(exc: JobError) -> Failure:
    """Return why a job failed, as a value that outlives its stage."""
    return Failure(
        code=exc.code,
        message=exc.message,
        retry_after_s=exc.retry_after_s,
        environment=exc.environment,
    )


def open_job(message: Message, index: int, request: DetectionRequest) -> Job:
    """Return the job for one request of a message."""
    return Job(
        message=message,
        index=index,
        asked=Asked(
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
        asked=Asked(
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
