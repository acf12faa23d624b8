"""Dead letters back to their queue: all by SQS itself, or one by one."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from detection_worker.batch.dead_letters import DeadLetter, Reading
from detection_worker.sources.dead_letters import redrive_entry
from detection_worker.sources.sqs_batches import BatchSender, Pacer
from detection_worker.sources.sqs_clients import explained

MAX_RATE: Final = 500
"""Most messages a second of a move task; StartMessageMoveTask."""
POLL_S: Final = 1.0
RUNNING: Final = ("RUNNING", "CANCELLING")


@dataclass(slots=True)
class Tally:
    """What became of dead letters.

    Attributes:
        done: Sent back, or deleted.
        refused: Not taken by the queue; they stay.
        not_deleted: Sent back, but still among the dead letters too.
        came_back: Failed again meanwhile; they stay.
        example: Why the queue refused one.
    """

    done: int = 0
    refused: int = 0
    not_deleted: int = 0
    came_back: int = 0
    example: str = ""


@dataclass(slots=True, kw_only=True)
class Chosen:
    """The dead letters of a reading that a filter chooses.

    Attributes:
        reading: Receives them.
        wanted: The filter.
        limit: How many at most; None for all.
        on_progress: Called with the number handled so far.
    """

    reading: Reading
    wanted: Callable[[DeadLetter], bool]
    limit: int | None = None
    on_progress: Callable[[int], None] = lambda _: None

    def redrive(self, sender: BatchSender, pacer: Pacer, *, fifo: bool) -> Tally:
        """Send each back, then delete it: at any moment it is in one of the queues, or in both.

        Args:
            sender: Sends to the queue.
            pacer: Keeps to the rate.
            fifo: The queue is a FIFO queue.

        Raises:
            QueueError: SQS failed; what was sent back is deleted or still a dead letter too.
        """
        tally = Tally()
        copies: set[str] = set()
        for letters in self._batches(tally):
            # A message that fails at once is dead again while this runs.
            back = [m for m in letters if m.original_id in copies]
            tally.came_back += len(back)
            fresh = [m for m in letters if m.original_id not in copies]
            if not fresh:
                continue
            pacer.wait_for(len(fresh))
            ids, refused = sender.send([redrive_entry(m.message, fifo=fifo) for m in fresh])
            copies |= set(ids.values())
            gone = self.reading.delete([fresh[index] for index in ids])
            tally.done += len(ids)
            tally.not_deleted += len(ids) - gone
            tally.refused += len(refused)
            tally.example = tally.example or (refused[0].reason if refused else "")
            self.on_progress(tally.done)
        return tally

    def delete(self) -> Tally:
        """Delete each.

        Raises:
            QueueError: SQS failed.
        """
        tally = Tally()
        for letters in self._batches(tally):
            gone = self.reading.delete(letters)
            tally.done += gone
            tally.not_deleted += len(letters) - gone
            self.on_progress(tally.done)
        return tally

    def _batches(self, tally: Tally) -> Iterator[list[DeadLetter]]:
        def room() -> int:
            return 10 if self.limit is None else self.limit - tally.done - tally.refused

        for letters in self.reading.batches(most=room):
            chosen = [letter for letter in letters if self.wanted(letter)]
            if chosen:
                yield chosen


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """How far a move task is.

    Attributes:
        status: ``RUNNING``, ``COMPLETED``, ``CANCELLING``, ``CANCELLED`` or ``FAILED``.
        moved: Messages moved.
        to_move: Messages at its start; None if SQS does not say.
        failure: Why it failed; empty if it did not.
    """

    status: str
    moved: int
    to_move: int | None
    failure: str


class MoveTask:
    """SQS's own redrive of a whole dead-letter queue.

    Args:
        client: SQS client for the queue.
        url: URL of the dead-letter queue, for errors.
        arn: Its ARN.
    """

    def __init__(self, client: Any, url: str, arn: str) -> None:
        self._client, self._url, self._arn = client, url, arn
        self._handle = ""

    def start(self, *, to_arn: str, rate: float | None) -> None:
        """Start it.

        Args:
            to_arn: The queue that gets the messages. SQS itself knows only that of messages which
                its own redrive policy moved.
            rate: Messages a second; None leaves it to SQS.

        Raises:
            QueueError: SQS does not start it; one may be running already.
        """
        request: dict[str, Any] = {"SourceArn": self._arn, "DestinationArn": to_arn}
        if rate is not None:
            request["MaxNumberOfMessagesPerSecond"] = max(1, min(MAX_RATE, round(rate)))
        with explained(self._url):
            self._handle = self._client.start_message_move_task(**request)["TaskHandle"]

    def state(self) -> Moved:
        """Return how far it is.

        Raises:
            QueueError: SQS failed.
        """
        with explained(self._url):
            answer = self._client.list_message_move_tasks(SourceArn=self._arn, MaxResults=1)
        task = (answer.get("Results") or [{}])[0]
        to_move = task.get("ApproximateNumberOfMessagesToMove")
        return Moved(
            status=str(task.get("Status", "UNKNOWN")),
            moved=int(task.get("ApproximateNumberOfMessagesMoved", 0)),
            to_move=None if to_move is None else int(to_move),
            failure=str(task.get("FailureReason") or ""),
        )

    def follow(self, on_progress: Callable[[Moved], None], *, poll_s: float = POLL_S) -> Moved:
        """Wait for its end and return how it ended.

        Raises:
            QueueError: SQS failed; the task goes on.
        """
        while (state := self.state()).status in RUNNING:
            on_progress(state)
            time.sleep(poll_s)
        return state

    def cancel(self) -> int:
        """Stop it; return how many messages were moved.

        Raises:
            QueueError: SQS failed, or the task has ended.
        """
        with explained(self._url):
            answer = self._client.cancel_message_move_task(TaskHandle=self._handle)
        return int(answer.get("ApproximateNumberOfMessagesMoved", 0))
