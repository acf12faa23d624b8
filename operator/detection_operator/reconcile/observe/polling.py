"""When one SQS queue is read next.

``scaling.polling`` decides the interval with each plan; this is the time that follows from it.
"""

from dataclasses import dataclass


@dataclass(slots=True)
class PollSchedule:
    """The next read of a queue.

    Attributes:
        at_s: Monotonic time from which it is due.
    """

    at_s: float = float("-inf")

    def is_due(self, now_s: float) -> bool:
        """Say whether the queue should be read now."""
        return now_s >= self.at_s

    def read_now(self) -> None:
        """Make a read due, whatever the interval."""
        self.at_s = float("-inf")

    def next_in(self, interval_s: float, now_s: float, *, was_read: bool) -> None:
        """Set the next read.

        Args:
            interval_s: Interval of the newest plan, in seconds.
            now_s: Monotonic seconds.
            was_read: The plan was made from a new reading. What is seen between two reads may
                bring the next one forward, never put it off.
        """
        next_s = now_s + interval_s
        self.at_s = next_s if was_read else min(self.at_s, next_s)

    def remaining_s(self, now_s: float) -> float:
        """Return the seconds until the next read, at least 0."""
        return max(0.0, self.at_s - now_s)
