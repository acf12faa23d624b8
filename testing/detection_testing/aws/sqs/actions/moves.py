"""The SQS actions that move messages out of a dead-letter queue: start, list, cancel.

SQS API reference, StartMessageMoveTask, ListMessageMoveTasks and CancelMessageMoveTask.
"""

import sys
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from detection_testing.aws.clock import ServerClock
from detection_testing.aws.sqs.actions.messages import Action
from detection_testing.aws.sqs.actions.parameters import (
    Answer,
    Parameters,
    integer_of,
    text_of,
)
from detection_testing.aws.sqs.errors import SqsError, bad_value
from detection_testing.aws.sqs.queue import SqsQueue
from detection_testing.aws.sqs.registry import QueueRegistry
from detection_testing.aws.sqs.values import Message
from detection_testing.http.values import Request

MAX_RATE: Final = 500
MAX_RESULTS: Final = 10


@dataclass(slots=True, kw_only=True)
class _Task:
    source: SqsQueue
    target: SqsQueue | None
    rate: int | None
    started_s: float
    to_move: int
    handle: str = field(default_factory=lambda: uuid.uuid4().hex)
    moved: int = 0
    status: str = "RUNNING"
    reason: str = ""

    def due(self, now_s: float) -> int:
        """How many messages it may move by now."""
        if self.rate is None:
            return sys.maxsize
        return int((now_s - self.started_s) * self.rate) - self.moved


class MoveActions:
    """Move tasks. One without a rate is done before its answer, where SQS takes its time.

    Args:
        registry: The queues.
        clock: The server's.
        touch: Told of a queue that got messages.
    """

    def __init__(
        self, *, registry: QueueRegistry, clock: ServerClock, touch: Callable[[SqsQueue], None]
    ) -> None:
        self._registry = registry
        self._clock = clock
        self._touch = touch
        self._tasks: list[_Task] = []
        self._running: list[_Task] = []

    def actions(self) -> dict[str, Action]:
        """Return the actions by name."""
        return {
            "StartMessageMoveTask": self._start,
            "ListMessageMoveTasks": self._list,
            "CancelMessageMoveTask": self._cancel,
        }

    def advance(self) -> None:
        """Move what is due by now."""
        now_s = self._clock.now_s()
        for task in tuple(self._running):
            self._go_on(task, now_s=now_s)
            if task.status != "RUNNING":
                self._running.remove(task)

    def _start(self, parameters: Parameters, request: Request) -> Answer:
        del request
        source = self._source(text_of(parameters, "SourceArn"))
        destination = parameters.get("DestinationArn")
        target = None if destination is None else self._destination(destination, source)
        rate = integer_of(parameters, "MaxNumberOfMessagesPerSecond")
        if rate is not None and not 1 <= rate <= MAX_RATE:
            raise bad_value("MaxNumberOfMessagesPerSecond", rate, "Must be between 1 and 500.")
        if any(task.source is source for task in self._running):
            text = "There is already a task running. Only one active task is allowed for a source "
            raise SqsError("UnsupportedOperation", text + "queue arn at a given time.")
        now_s = self._clock.now_s()
        task = _Task(
            source=source,
            target=target,
            rate=rate,
            started_s=now_s,
            to_move=source.counts(now_s=now_s).visible,
        )
        self._tasks.append(task)
        self._running.append(task)
        self.advance()
        return {"TaskHandle": task.handle}

    def _list(self, parameters: Parameters, request: Request) -> Answer:
        del request
        source = self._source(text_of(parameters, "SourceArn"))
        limit = integer_of(parameters, "MaxResults") or 1
        if not 1 <= limit <= MAX_RESULTS:
            raise bad_value("MaxResults", limit, "Must be between 1 and 10.")
        found = [task for task in reversed(self._tasks) if task.source is source]
        return {"Results": [_shown(task) for task in found[:limit]]}

    def _cancel(self, parameters: Parameters, request: Request) -> Answer:
        del request
        handle = text_of(parameters, "TaskHandle")
        task = next((task for task in self._running if task.handle == handle), None)
        if task is None:
            text = "Task does not exist, or is no longer running."
            raise SqsError("ResourceNotFoundException", text)
        task.status = "CANCELLED"
        self._running.remove(task)
        return {"ApproximateNumberOfMessagesMoved": task.moved}

    def _go_on(self, task: _Task, *, now_s: float) -> None:
        due = task.due(now_s)
        before = task.source.counts(now_s=now_s).visible
        try:
            moved = task.source.move(
                lambda message: task.target or self._origin(message), limit=due, now_s=now_s
            )
        except LookupError:
            moved = before - task.source.counts(now_s=now_s).visible
            task.status, task.reason = "FAILED", "CouldNotDetermineMessageSource"
        else:
            if moved < due:
                task.status = "COMPLETED"
        task.moved += moved
        for name in self._registry.names() if moved else ():
            self._touch(self._registry.get(name).queue)

    def _origin(self, message: Message) -> SqsQueue | None:
        return self._registry.find_arn(message.source_arn or "")

    def _source(self, arn: str) -> SqsQueue:
        source = self._registry.find_arn(arn)
        if source is None:
            raise _missing("SourceArn")
        if not self._registry.sources_of(arn):
            text = "Source queue must be configured as a Dead Letter Queue."
            raise SqsError("InvalidParameterValue", text)
        return source

    def _destination(self, arn: str, source: SqsQueue) -> SqsQueue:
        target = self._registry.find_arn(arn)
        if target is None:
            raise _missing("DestinationArn")
        if target is source or target.settings.fifo != source.settings.fifo:
            reason = "It is the source, or a queue of another type."
            raise bad_value("DestinationArn", arn, reason)
        return target


def _shown(task: _Task) -> Answer:
    shown: Answer = {
        "Status": task.status,
        "SourceArn": task.source.arn,
        "ApproximateNumberOfMessagesMoved": task.moved,
        "ApproximateNumberOfMessagesToMove": task.to_move,
        "StartedTimestamp": int(task.started_s * 1000),
    }
    if task.status == "RUNNING":
        shown["TaskHandle"] = task.handle
    if task.target is not None:
        shown["DestinationArn"] = task.target.arn
    if task.rate is not None:
        shown["MaxNumberOfMessagesPerSecond"] = task.rate
    if task.reason:
        shown["FailureReason"] = task.reason
    return shown


def _missing(parameter: str) -> SqsError:
    text = f"The resource that you specified for the {parameter} parameter doesn't exist."
    return SqsError("ResourceNotFoundException", text)
