"""Order in which a receive takes visible messages: standard, and FIFO by message group."""

import heapq
from collections import deque
from dataclasses import dataclass, field
from random import Random
from typing import Protocol

from detection_testing.aws.sqs.values import DEDUPLICATION_S, Message


class Order(Protocol):
    """The visible messages of a queue.

    An entry whose message has another generation than when it was put here is out of date; that
    makes removal free.
    """

    def put(self, message: Message) -> None:
        """Add a visible message."""
        ...

    def take(self, limit: int) -> list[Message]:
        """Remove and return up to ``limit`` messages; empty only if none may be delivered now."""
        ...

    def settle(self, message: Message) -> None:
        """Note that a taken message is no longer in flight."""
        ...


class StandardOrder:
    """In the order in which messages became visible, give or take ``window`` places.

    "Best-effort ordering": SQS developer guide, standard queues. A message that comes back goes to
    the end, so that one poison message does not starve the others.
    """

    def __init__(self, *, window: int, random: Random) -> None:
        self._window = window
        self._random = random
        self._count = 0
        self._heap: list[tuple[float, int, int, Message]] = []

    def put(self, message: Message) -> None:
        """Add a visible message."""
        self._count += 1
        rank = self._count + (self._random.uniform(0, self._window) if self._window else 0)
        heapq.heappush(self._heap, (rank, self._count, message.generation, message))

    def take(self, limit: int) -> list[Message]:
        """Remove and return up to ``limit`` messages."""
        taken: list[Message] = []
        while self._heap and len(taken) < limit:
            _, _, generation, message = heapq.heappop(self._heap)
            if message.generation == generation:
                taken.append(message)
        return taken

    def settle(self, message: Message) -> None:
        """Do nothing: messages of a standard queue do not wait for each other."""


@dataclass(slots=True)
class _Group:
    waiting: list[tuple[int, int, Message]] = field(default_factory=list)
    in_flight: int = 0


class FifoOrder:
    """In the order sent within each message group; a group with a message in flight waits.

    SQS developer guide, FIFO queue delivery logic: while messages of a group are invisible no more
    of that group are returned; one receive may return several of one group, in order.
    """

    def __init__(self) -> None:
        self._groups: dict[str, _Group] = {}
        self._ready: list[tuple[int, str]] = []

    def put(self, message: Message) -> None:
        """Add a visible message at its place in its group."""
        group = self._groups.setdefault(message.group_id or "", _Group())
        heapq.heappush(group.waiting, (message.sequence, message.generation, message))
        self._offer(message.group_id or "", group)

    def take(self, limit: int) -> list[Message]:
        """Remove and return up to ``limit`` messages of groups that have none in flight."""
        taken: list[Message] = []
        while self._ready and len(taken) < limit:
            _, group_id = heapq.heappop(self._ready)
            group = self._groups.get(group_id)
            if group is None or group.in_flight:
                continue
            self._take_group(group, limit=limit, taken=taken)
            if not group.waiting and not group.in_flight:
                del self._groups[group_id]
        return taken

    def settle(self, message: Message) -> None:
        """Note that a taken message is no longer in flight; its group may go on."""
        group_id = message.group_id or ""
        group = self._groups[group_id]
        group.in_flight -= 1
        if group.in_flight == 0 and not group.waiting:
            del self._groups[group_id]
        else:
            self._offer(group_id, group)

    def _offer(self, group_id: str, group: _Group) -> None:
        if group.waiting and not group.in_flight:
            heapq.heappush(self._ready, (group.waiting[0][0], group_id))

    @staticmethod
    def _take_group(group: _Group, *, limit: int, taken: list[Message]) -> None:
        while group.waiting and len(taken) < limit:
            _, generation, message = heapq.heappop(group.waiting)
            if message.generation == generation:
                group.in_flight += 1
                taken.append(message)


class Deduplication:
    """Message ids by deduplication id, for five minutes (SQS developer guide, exactly-once)."""

    def __init__(self) -> None:
        self._messages: dict[str, Message] = {}
        self._sent: deque[tuple[float, str]] = deque()

    def find(self, deduplication_id: str, *, now_s: float) -> Message | None:
        """Return the message sent with this id in the last five minutes."""
        while self._sent and self._sent[0][0] + DEDUPLICATION_S <= now_s:
            del self._messages[self._sent.popleft()[1]]
        return self._messages.get(deduplication_id)

    def add(self, message: Message) -> None:
        """Remember a message that was just sent; its id is not yet known."""
        if message.deduplication_id is not None:
            self._messages[message.deduplication_id] = message
            self._sent.append((message.sent_s, message.deduplication_id))
