"""The stored messages of one queue by state, with what is due when. Every step is O(log n)."""

import heapq
from collections.abc import Iterator
from itertools import count

from detection_testing.aws.sqs.order import Order
from detection_testing.aws.sqs.values import Counts, Message, State

_COMPACT_ABOVE = 4096
_Timer = tuple[float, int, Message]


class MessageStore:
    """Messages of one queue; changes their state fields and keeps the counts right.

    Args:
        order: Which visible message comes next.
    """

    def __init__(self, order: Order) -> None:
        self._order = order
        self._messages: dict[str, Message] = {}
        self._in_flight: dict[str, Message] = {}
        self._delayed = 0
        self._ties = count()
        self._timers: list[_Timer] = []
        self._ages: list[_Timer] = []

    @property
    def in_flight(self) -> dict[str, Message]:
        """Messages that consumers hold, by id, the oldest receive first; not to be changed."""
        return self._in_flight

    def messages(self) -> list[Message]:
        """Return every stored message."""
        return list(self._messages.values())

    def get(self, message_id: str) -> Message | None:
        """Return a stored message."""
        return self._messages.get(message_id)

    def add(self, message: Message, *, due_s: float | None) -> None:
        """Store a message: visible now, or at ``due_s``."""
        self._messages[message.message_id] = message
        heapq.heappush(self._ages, (message.sent_s, next(self._ties), message))
        if due_s is None:
            self._show(message)
        else:
            message.state = State.DELAYED
            self._delayed += 1
            self.schedule(message, due_s=due_s)

    def take(self, limit: int) -> list[Message]:
        """Return up to ``limit`` visible messages; each must be hidden or dropped next."""
        return self._order.take(limit)

    def hide(self, message: Message, *, due_s: float) -> None:
        """Put a taken message in flight until ``due_s``."""
        self._in_flight.pop(message.message_id, None)
        self._in_flight[message.message_id] = message
        message.state = State.IN_FLIGHT
        message.generation += 1
        self.schedule(message, due_s=due_s)

    def echo(self, message: Message) -> None:
        """Let a message in flight be taken once more."""
        self._order.put(message)

    def schedule(self, message: Message, *, due_s: float) -> None:
        """Set when the delay or the visibility timeout of a message ends."""
        message.due_s = due_s
        heapq.heappush(self._timers, (due_s, next(self._ties), message))
        if len(self._timers) > max(_COMPACT_ABOVE, 4 * len(self._messages)):
            self._timers = [t for t in self._timers if _is_current(t)]
            heapq.heapify(self._timers)

    def land(self, message: Message) -> None:
        """Make a message in flight visible again."""
        del self._in_flight[message.message_id]
        self._order.settle(message)
        self._show(message)

    def drop_taken(self, message: Message) -> None:
        """Forget a message that was taken but not hidden."""
        self._order.settle(message)
        self._forget(message)

    def remove(self, message: Message) -> None:
        """Forget a message in any state."""
        if message.state is State.IN_FLIGHT:
            del self._in_flight[message.message_id]
            self._order.settle(message)
        elif message.state is State.DELAYED:
            self._delayed -= 1
        self._forget(message)

    def ended(self, now_s: float) -> Iterator[tuple[Message, float]]:
        """Yield each message whose visibility timeout ended, visible again, and when it ended.

        Delays that ended are handled too, but not reported.
        """
        while self._timers and self._timers[0][0] <= now_s:
            timer = heapq.heappop(self._timers)
            at_s, _, message = timer
            if not _is_current(timer):
                continue
            if message.state is State.DELAYED:
                self._delayed -= 1
                self._show(message)
            else:
                self.land(message)
                yield message, at_s

    def retired(self, *, sent_before_s: float) -> Iterator[Message]:
        """Yield each stored message sent at or before ``sent_before_s``; the caller removes it."""
        while self._ages and self._ages[0][0] <= sent_before_s:
            message = heapq.heappop(self._ages)[2]
            if message.state is not State.GONE:
                yield message

    def next_event_s(self) -> float | None:
        """Return when a delay or a visibility timeout next ends, or None."""
        while self._timers and not _is_current(self._timers[0]):
            heapq.heappop(self._timers)
        return self._timers[0][0] if self._timers else None

    def counts(self) -> Counts:
        """Return the messages by state."""
        in_flight = len(self._in_flight)
        visible = len(self._messages) - in_flight - self._delayed
        return Counts(visible=visible, in_flight=in_flight, delayed=self._delayed)

    def _show(self, message: Message) -> None:
        message.state = State.VISIBLE
        message.generation += 1
        self._order.put(message)

    def _forget(self, message: Message) -> None:
        del self._messages[message.message_id]
        message.state = State.GONE
        message.generation += 1
        if len(self._ages) > max(_COMPACT_ABOVE, 4 * len(self._messages)):
            self._ages = [a for a in self._ages if a[2].state is not State.GONE]
            heapq.heapify(self._ages)


def _is_current(timer: _Timer) -> bool:
    due_s, _, message = timer
    return message.due_s == due_s and message.state in (State.DELAYED, State.IN_FLIGHT)
