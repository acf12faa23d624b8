"""The store of results and their notifications as the pipeline sees them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from detection_contract.aws.s3_urls import S3Location
from detection_contract.notifications import DETAIL_TYPES, SOURCE
from detection_worker.errors import JobError

MAX_ENTRIES: Final = 10
"""Notifications of one call: the limit of SNS, SQS and EventBridge alike."""
_FIXED_BYTES: Final = 14 + len(SOURCE) + max(map(len, DETAIL_TYPES.values()))
"""What EventBridge counts besides: the time of an event, its source and its type."""
_TYPE_BYTES: Final = len("String")
"""What SNS and SQS count for the type of an attribute."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultId:
    """What a result answers: the same for every delivery of a message, in every process.

    Attributes:
        request_id: The caller's id, or one made from the message's.
        message_id: SQS message id.
        index: Position of the job in its message.
        sent_at_s: When the message was sent, Unix seconds; None if SQS did not say.
        media: The object that was analysed; None if the message names none.
    """

    request_id: str
    message_id: str
    index: int
    sent_at_s: float | None
    media: S3Location | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredResult:
    """An envelope in the store.

    Attributes:
        url: ``s3://`` URL of the object.
        body: The encoded envelope, the very bytes that were stored.
    """

    url: str
    body: bytes


class ResultStore(Protocol):
    """Keeps envelopes; thread-safe."""

    def put(self, result_id: ResultId, body: bytes) -> StoredResult:
        """Store an envelope, unless an earlier delivery of the same message has stored its own.

        Returns:
            What is in the store now. If two workers finish the same message, the first one's
            envelope stays and both get it: report its bytes, not ``body``. An object that answers
            another message with the same request id is replaced.

        Raises:
            JobError: ``RESULT_NOT_STORED``; ``environment`` says that every other envelope would
                fail too (denied, no such bucket, no KMS key, credentials).
        """
        ...

    def find(self, result_id: ResultId) -> StoredResult | None:
        """Return what an earlier delivery of the same message stored; None if nothing.

        An object that answers another message with the same request id is nothing.

        Raises:
            JobError: ``RESULT_NOT_STORED``, as for ``put``.
        """
        ...


class PageStore(Protocol):
    """Keeps pages beside the envelopes; thread-safe."""

    def put_page(self, result_id: ResultId, page: bytes, *, only_if_missing: bool) -> None:
        """Store the page of a result.

        Args:
            result_id: As for ``ResultStore``.
            page: HTML in UTF-8.
            only_if_missing: Leave a page that is there, which may have pictures.

        Raises:
            JobError: ``RESULT_NOT_STORED``.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Notification:
    """What a destination is told about one result.

    Attributes:
        id: The same for every publication of the same result: deduplication id of FIFO topics and
            queues, and ``webhook-id`` of the callback.
        kind: Which destinations are told, and the detail type of EventBridge events.
        body: JSON text, ``notification.schema.json`` in ``detection_contract``.
        attributes: Strings that subscribers filter by: ``label``, ``verdict``, ``file_type``,
            ``queue``, ``request_id``, ``status``; absent where unknown.
        media_arn: ARN of the media object; None if the message names none.
    """

    id: str
    kind: Literal["finished", "failed"]
    body: str
    attributes: Mapping[str, str]
    media_arn: str | None = None

    def size_bytes(self) -> int:
        """Return the most that a service counts for it against the limit of entry and call."""
        named = sum(
            _bytes(name) + _bytes(value) + _TYPE_BYTES for name, value in self.attributes.items()
        )
        return _FIXED_BYTES + _bytes(self.body) + named + _bytes(self.media_arn or "")


class Notifier(Protocol):
    """Publishes to SNS topics, SQS queues and EventBridge buses; thread-safe."""

    def publish(
        self, arn: str, notifications: Sequence[Notification]
    ) -> Sequence[JobError | None]:
        """Publish to one destination; returns once the service has them.

        Args:
            arn: The ARN of the destination.
            notifications: 1 to ``MAX_ENTRIES``.

        Returns:
            For each why it failed, ``NOTIFICATION_FAILED``, or None; ``environment`` says that
            every other notification to this destination would fail too.
        """
        ...


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())
