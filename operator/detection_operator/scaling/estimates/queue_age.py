"""A lower bound for the age of the oldest visible message; SQS has no such attribute.

Workers report how long the messages that they receive had waited. Between two reports, while jobs
take long, one thing is certain: what was visible when the last message was received is visible
still. A worker that does not report may have received some, as many as its best speed allows.
"""

from dataclasses import dataclass

from detection_operator.scaling.observation import Observation


@dataclass(frozen=True, slots=True)
class QueueAgeEstimate:
    """How long messages have been visible, at least.

    Attributes:
        since_s: Messages that were visible at this time still are.
        left: How many of them, at least.
        age_s: Wait of the message that was received last; None unknown.
    """

    since_s: float
    left: float
    age_s: float | None = None

    def moved(self, by_s: float) -> "QueueAgeEstimate":
        """Return the same on a clock that jumped by ``by_s``."""
        return QueueAgeEstimate(self.since_s + by_s, self.left, self.age_s)

    def oldest_s(self, now_s: float) -> float:
        """Return a lower bound for the age of the oldest message."""
        return max(now_s - self.since_s, self.age_s or 0.0, 0.0)


def absorb(
    old: QueueAgeEstimate | None, seen: Observation, *, at_s: float, dt: float, lane_s: float
) -> QueueAgeEstimate | None:
    """Return what is known after one more reading; None while nothing waits.

    Args:
        old: What was known.
        seen: The reading, and what workers report.
        at_s: Its time.
        dt: Seconds since the one before.
        lane_s: Seconds that one message costs one replica.
    """
    if not seen.visible:
        return None
    if seen.oldest_age_s is not None and seen.ready:
        return QueueAgeEstimate(at_s, seen.visible, seen.oldest_age_s)
    if old is None:
        return QueueAgeEstimate(at_s, seen.visible)
    # A pod that is not ready does not work at full speed.
    silent = min(seen.silent, seen.ready)
    left = min(old.left - silent * dt / lane_s, seen.visible) if silent else old.left
    return (
        QueueAgeEstimate(old.since_s, left, old.age_s)
        if left > 0
        else QueueAgeEstimate(at_s, seen.visible)
    )
