"""Messages sent ten to a call, each until SQS has it or will never take it."""

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from botocore.exceptions import ClientError

from detection_contract.aws.errors import QueueFault, http_status, plain_code, queue_fault
from detection_worker.aws_session import is_credentials_error
from detection_worker.sources.base import QueueError
from detection_worker.sources.sqs_clients import explained

PATIENCE_S: Final = 300.0
"""How long a batch is tried while SQS is throttling or not reachable."""
FIRST_PAUSE_S: Final = 0.2
MAX_PAUSE_S: Final = 20.0
_TOO_LONG: Final = "BatchRequestTooLong"


@dataclass(frozen=True, slots=True)
class Refusal:
    """SQS will never take a message.

    Attributes:
        index: Position of the message in what was sent.
        reason: Error code and message of SQS.
    """

    index: int
    reason: str


class BatchSender:
    """Sends batches to one queue.

    Args:
        client: SQS client for the queue.
        queue_url: The queue.
        patience_s: How long a batch is tried while SQS is throttling or not reachable.
        sleep: Waits that many seconds.
    """

    def __init__(
        self,
        client: Any,
        queue_url: str,
        *,
        patience_s: float = PATIENCE_S,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._client, self._queue_url = client, queue_url
        self._patience_s, self._sleep = patience_s, sleep

    def send(self, entries: Sequence[Mapping[str, Any]]) -> tuple[dict[int, str], list[Refusal]]:
        """Send up to ten messages; entries that fail for now are tried again without the others.

        Args:
            entries: Parameters of ``SendMessageBatch`` for each, without ``Id``.

        Returns:
            SQS message id of each message that SQS has, by its position, and the others.

        Raises:
            QueueError: The queue is gone or denied, credentials do not work, or SQS has not taken
                them for ``patience_s``. Some may have been sent.
        """
        waiting = dict(enumerate(entries))
        sent: dict[int, str] = {}
        refused: list[Refusal] = []
        give_up_s, pause_s = time.monotonic() + self._patience_s, FIRST_PAUSE_S
        while waiting:
            ids, refusals, error = self._try(waiting)
            sent |= ids
            refused += refusals
            for index in [*ids, *(r.index for r in refusals)]:
                del waiting[index]
            if waiting:
                if time.monotonic() + pause_s > give_up_s:
                    raise error or QueueError(
                        f"SQS does not take messages for {self._queue_url}",
                        code="Failed",
                        fatal=False,
                    )
                self._sleep(pause_s * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
                pause_s = min(2 * pause_s, MAX_PAUSE_S)
        return sent, refused

    def _try(
        self, waiting: Mapping[int, Mapping[str, Any]]
    ) -> tuple[dict[int, str], list[Refusal], QueueError | None]:
        numbered = [{"Id": str(index), **entry} for index, entry in waiting.items()]
        try:
            with explained(self._queue_url):
                answer = self._client.send_message_batch(
                    QueueUrl=self._queue_url, Entries=numbered
                )
        except QueueError as exc:
            return self._after(exc, waiting)
        ids = {int(e["Id"]): str(e["MessageId"]) for e in answer.get("Successful", ())}
        refused = [
            Refusal(int(e["Id"]), f"{plain_code(str(e.get('Code')))}: {e.get('Message', '')}")
            for e in answer.get("Failed", ())
            if e.get("SenderFault") and not _throttled(str(e.get("Code")))
        ]
        return ids, refused, None

    def _after(
        self, exc: QueueError, waiting: Mapping[int, Mapping[str, Any]]
    ) -> tuple[dict[int, str], list[Refusal], QueueError | None]:
        """Say what a failed call means: raise, try again, or try the halves."""
        if exc.fatal or is_credentials_error(exc.__cause__ or exc):
            raise exc
        if not _is_final(exc):
            return {}, [], exc
        if len(waiting) == 1:
            return {}, [Refusal(index, str(exc)) for index in waiting], None
        if exc.code != _TOO_LONG and len(waiting) > 1:
            parts = [[item] for item in waiting.items()]
        else:
            items = list(waiting.items())
            parts = [items[: len(items) // 2], items[len(items) // 2 :]]
        ids: dict[int, str] = {}
        refused: list[Refusal] = []
        error = None
        for part in parts:
            more, refusals, failure = self._try(dict(part))
            ids |= more
            refused += refusals
            error = failure or error
        return ids, refused, error


class Pacer:
    """Keeps to a number of messages a second.

    Args:
        rate: Messages a second; None waits for nothing.
        sleep: Waits that many seconds.
    """

    def __init__(self, rate: float | None, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self._rate, self._sleep = rate, sleep
        self._next_s = 0.0

    def wait_for(self, count: int) -> None:
        """Wait until ``count`` further messages may go."""
        if self._rate is None:
            return
        now_s = time.monotonic()
        if self._next_s > now_s:
            self._sleep(self._next_s - now_s)
        self._next_s = max(now_s, self._next_s) + count / self._rate


def _throttled(code: str) -> bool:
    return queue_fault({"Error": {"Code": code}}) is QueueFault.THROTTLED


def _is_final(exc: QueueError) -> bool:
    cause = exc.__cause__
    if not isinstance(cause, ClientError) or queue_fault(cause.response) is not None:
        return False
    return 400 <= http_status(cause.response) < 500
