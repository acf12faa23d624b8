"""The queues of the local account."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from detection_testing.aws.journal import JournalEvent
from detection_testing.aws.sqs.attributes import (
    apply_attributes,
    kept_attributes,
    show_settings,
)
from detection_testing.aws.sqs.errors import SqsError
from detection_testing.aws.sqs.queue import SqsQueue
from detection_testing.aws.sqs.values import TIDY, Disorder, QueueSettings

ACCOUNT_ID = "123456789012"
REGION = "us-east-1"
_COOL_DOWN_S = 60.0
"""SQS API reference, QueueDeletedRecently and PurgeQueueInProgress."""
# SQS API reference, CreateQueue: up to 80 letters, digits, hyphens and underscores; FIFO names
# end in .fifo.
_NAME = re.compile(r"(?=.{1,80}$)[A-Za-z0-9_-]+(\.fifo)?")


@dataclass(slots=True, kw_only=True)
class RegisteredQueue:
    """A queue with what only the account knows of it; times in Unix seconds."""

    queue: SqsQueue
    created_s: float
    modified_s: float
    kept: dict[str, str] = field(default_factory=dict)
    purged_s: float | None = None


class QueueRegistry:
    """Queues by name.

    Args:
        journal: Gets the events of every queue.
        disorder: Given to every new queue.
    """

    def __init__(self, *, journal: list[JournalEvent], disorder: Disorder = TIDY) -> None:
        self._journal = journal
        self._disorder = disorder
        self._queues: dict[str, RegisteredQueue] = {}
        self._deleted_s: dict[str, float] = {}

    def create(self, name: str, attributes: Mapping[str, str], *, now_s: float) -> SqsQueue:
        """Make a queue, or return the one of this name if its attributes are the same."""
        if not _NAME.fullmatch(name):
            text = "Can only include alphanumeric characters, hyphens, or underscores. "
            raise SqsError("InvalidParameterValue", text + "1 to 80 in length")
        settings = apply_attributes(QueueSettings(), attributes)
        if settings.fifo != name.endswith(".fifo"):
            text = "The name of a FIFO queue, and only of one, ends in .fifo"
            raise SqsError("InvalidParameterValue", text)
        known = self._queues.get(name)
        if known is not None:
            if apply_attributes(known.queue.settings, attributes) != known.queue.settings:
                text = "A queue already exists with the same name and a different value for "
                raise SqsError("QueueNameExists", text + "an attribute")
            return known.queue
        self._check_cool_down(name, now_s)
        self._check_redrive(settings)
        queue = SqsQueue(
            name=name,
            arn=f"arn:aws:sqs:{REGION}:{ACCOUNT_ID}:{name}",
            settings=settings,
            find_queue=self.find_arn,
            journal=self._journal,
            disorder=self._disorder,
        )
        self._queues[name] = RegisteredQueue(
            queue=queue, created_s=now_s, modified_s=now_s, kept=kept_attributes(attributes)
        )
        return queue

    def delete(self, name: str, *, now_s: float) -> None:
        """Delete a queue and its messages."""
        self.get(name).queue.purge(now_s=now_s)
        del self._queues[name]
        self._deleted_s[name] = now_s

    def change(self, name: str, attributes: Mapping[str, str], *, now_s: float) -> None:
        """Change attributes of a queue; its type stays what it was made."""
        entry = self.get(name)
        if "FifoQueue" in attributes:
            raise SqsError("InvalidAttributeName", "Unknown Attribute FifoQueue.")
        settings = apply_attributes(entry.queue.settings, attributes)
        self._check_redrive(settings)
        entry.queue.settings = settings
        entry.kept |= kept_attributes(attributes)
        entry.modified_s = now_s

    def show(self, name: str, *, now_s: float) -> dict[str, str]:
        """Return every attribute of a queue."""
        entry = self.get(name)
        counts = entry.queue.counts(now_s=now_s)
        return {
            "QueueArn": entry.queue.arn,
            "ApproximateNumberOfMessages": str(counts.visible),
            "ApproximateNumberOfMessagesNotVisible": str(counts.in_flight),
            "ApproximateNumberOfMessagesDelayed": str(counts.delayed),
            "CreatedTimestamp": str(int(entry.created_s)),
            "LastModifiedTimestamp": str(int(entry.modified_s)),
            **show_settings(entry.queue.settings),
            **entry.kept,
        }

    def purge(self, name: str, *, now_s: float) -> int:
        """Empty a queue, at most once a minute; return how many messages it had."""
        entry = self.get(name)
        if entry.purged_s is not None and now_s < entry.purged_s + _COOL_DOWN_S:
            text = f"Only one PurgeQueue operation on {name} is allowed every 60 seconds."
            raise SqsError("PurgeQueueInProgress", text)
        entry.purged_s = now_s
        return entry.queue.purge(now_s=now_s)

    def get(self, name: str) -> RegisteredQueue:
        """Return a queue.

        Raises:
            SqsError: ``QueueDoesNotExist``.
        """
        entry = self._queues.get(name)
        if entry is None:
            raise SqsError("QueueDoesNotExist", "The specified queue does not exist.")
        return entry

    def find_arn(self, arn: str) -> SqsQueue | None:
        """Return the queue of an ARN, or None."""
        entry = self._queues.get(arn.rpartition(":")[2])
        return entry.queue if entry is not None and entry.queue.arn == arn else None

    def names(self) -> list[str]:
        """Return the names of all queues, sorted."""
        return sorted(self._queues)

    def sources_of(self, arn: str) -> list[SqsQueue]:
        """Return the queues whose dead-letter queue is ``arn``."""
        queues = (entry.queue for entry in self._queues.values())
        return [q for q in queues if q.settings.redrive and q.settings.redrive.target_arn == arn]

    def _check_cool_down(self, name: str, now_s: float) -> None:
        deleted_s = self._deleted_s.pop(name, None)
        if deleted_s is not None and now_s < deleted_s + _COOL_DOWN_S:
            self._deleted_s[name] = deleted_s
            text = "You must wait 60 seconds after deleting a queue before you can create "
            raise SqsError("QueueDeletedRecently", text + "another with the same name.")

    def _check_redrive(self, settings: QueueSettings) -> None:
        if settings.redrive is None:
            return
        target = self.find_arn(settings.redrive.target_arn)
        if target is None or target.settings.fifo != settings.fifo:
            text = "Dead letter target does not exist, or is of the other queue type."
            raise SqsError("InvalidParameterValue", f"RedrivePolicy: {text}")
