"""Messages from other services: S3, SNS and EventBridge send them as any producer would."""

from collections.abc import Callable, Mapping
from typing import Any

from detection_testing.aws.clock import ServerClock
from detection_testing.aws.sqs.errors import SqsError
from detection_testing.aws.sqs.queue import SqsQueue
from detection_testing.aws.sqs.registry import QueueRegistry


class QueueDelivery:
    """Sends to queues by their ARN.

    Args:
        registry: The queues.
        clock: The server's.
        touch: Told of a queue that got a message.
    """

    def __init__(
        self, *, registry: QueueRegistry, clock: ServerClock, touch: Callable[[SqsQueue], None]
    ) -> None:
        self._registry = registry
        self._clock = clock
        self._touch = touch

    def find(self, arn: str) -> SqsQueue | None:
        """Return a queue."""
        return self._registry.find_arn(arn)

    def send(
        self,
        arn: str,
        body: str,
        *,
        attributes: Mapping[str, Any] | None = None,
        group_id: str | None = None,
        deduplication_id: str | None = None,
    ) -> bool:
        """Send a message; False if the queue is gone or does not take it.

        Args:
            arn: The queue's.
            body: The text.
            attributes: Message attributes, as in SendMessage.
            group_id: Message group, for a FIFO queue.
            deduplication_id: For a FIFO queue.
        """
        queue = self._registry.find_arn(arn)
        if queue is None:
            return False
        try:
            queue.send(
                body,
                now_s=self._clock.now_s(),
                attributes=attributes,
                group_id=group_id,
                deduplication_id=deduplication_id if queue.settings.fifo else None,
            )
        except SqsError:
            return False
        self._touch(queue)
        return True
