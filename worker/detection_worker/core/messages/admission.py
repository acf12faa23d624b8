"""How much work to hold, measured in seconds of work rather than in messages.

Messages in flight here are hidden from a scaler that watches the queue: hoarding hides the
backlog.
"""

from collections.abc import Hashable
from dataclasses import dataclass

NS = 1_000_000_000
FULL_BATCH = 10
"""Most messages that SQS hands out at once (API reference, ReceiveMessage)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldLimits:
    """What one worker may hold.

    Attributes:
        messages: Most messages.
        seconds: Most predicted seconds of work.
    """

    messages: int
    seconds: float


class Admission:
    """Room for messages, and the predicted work of those that are there. Not thread-safe.

    Args:
        limits: What may be held.
    """

    def __init__(self, limits: HoldLimits) -> None:
        self._limits = limits
        self._asked_for = 0
        # Whole nanoseconds: their running sum is exact.
        self._expected_ns: dict[Hashable, dict[int, int]] = {}
        self._held_ns = 0

    def ask(self, *, held_messages: int, mean_s: float, at_most: int) -> int:
        """Return how many messages a poll may ask for; they count as held until ``answered``.

        Args:
            held_messages: Messages in flight here whose outcome is not decided.
            mean_s: Predicted seconds of a message of which nothing is known yet.
            at_most: Upper bound of this poll.
        """
        count = min(self.room(held_messages=held_messages, mean_s=mean_s), at_most)
        self._asked_for += count
        return count

    def room(self, *, held_messages: int, mean_s: float) -> int:
        """Return what ``ask`` would without an upper bound; nothing counts as held."""
        return room(
            held_messages=held_messages + self._asked_for,
            held_seconds=self.held_s + self._asked_for * mean_s,
            mean_s=mean_s,
            limits=self._limits,
        )

    def answered(self, count: int) -> None:
        """Take back what ``ask`` returned: the poll is over."""
        self._asked_for -= count

    def expect(self, message: Hashable, index: int, seconds: float) -> None:
        """Count the predicted cost of one job of a message."""
        jobs, cost_ns = self._expected_ns.setdefault(message, {}), round(seconds * NS)
        self._held_ns += cost_ns - jobs.get(index, 0)
        jobs[index] = cost_ns

    def done(self, message: Hashable, index: int) -> bool:
        """Stop counting a job; return whether it was counted."""
        jobs = self._expected_ns.get(message, {})
        counted = index in jobs
        self._held_ns -= jobs.pop(index, 0)
        if not jobs:
            self.forget(message)
        return counted

    def forget(self, message: Hashable) -> None:
        """Stop counting every job of a message."""
        self._held_ns -= sum(self._expected_ns.pop(message, {}).values())

    def remaining_s(self, message: Hashable) -> float:
        """Return the predicted seconds that a message still costs."""
        return sum(self._expected_ns.get(message, {}).values()) / NS

    @property
    def held_s(self) -> float:
        """Predicted seconds of all work that is counted."""
        return self._held_ns / NS


def room(*, held_messages: int, held_seconds: float, mean_s: float, limits: HoldLimits) -> int:
    """Return how many more messages to ask for, 0 to 10 (the most that SQS hands out at once).

    An idle worker may always take one, however long it is predicted to take. One that is at least
    half full waits until there is room for ten, or for half of what it may hold: that is a tenth
    of the calls, and it has work.
    """
    by_count = limits.messages - held_messages
    by_time = int((limits.seconds - held_seconds) / max(mean_s, 1e-6))
    if held_messages == 0:
        by_time = max(by_time, 1)
    count = max(0, min(FULL_BATCH, by_count, by_time))
    half_full = 2 * held_messages >= limits.messages or 2 * held_seconds >= limits.seconds
    half = int(min(limits.messages, limits.seconds / max(mean_s, 1e-6)) / 2)
    return 0 if half_full and count < min(FULL_BATCH, half) else count
