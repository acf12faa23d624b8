"""Since when messages wait at least: what nobody can have taken meanwhile still waits.

Workers tell how long the messages that they receive had waited. Between two of them, while jobs
take long, only one thing is sure: what waited when the last one was received waits still. A worker
that tells nothing may have taken some, as many as it can at its best.
"""

from dataclasses import dataclass

from detection_operator.scaling.observation import Observation


@dataclass(frozen=True, slots=True)
class QueueAgeEstimate:
    """Of messages that wait.

    Attributes:
        since_s: Messages that waited at this time wait still.
        left: How many of them, at least.
        age_s: How long the message had waited that was received last; None unknown.
    """

    since_s: float
    left: float
    age_s: float | None = None

    def moved(self, by_s: float) -> "QueueAgeEstimate":
        """Return the same on a clock that jumped by ``by_s``."""
        return QueueAgeEstimate(self.since_s + by_s, self.left, self.age_s)

    def oldest_s(self, now_s: float) -> float:
        """Return the age of the oldest message, at least."""
        return max(now_s - self.since_s, self.age_s or 0.0, 0.0)


def absorb(
    old: QueueAgeEstimate | None, seen: Observation, *, at_s: float, dt: float, lane_s: float
) -> QueueAgeEstimate | None:
    """Return what is known after one more reading; None while nothing waits.

    Args:
        old: What was known.
        seen: The reading, and what workers say.
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
    # A pod that is not ready does not work at its best.
    silent = min(seen.silent, seen.ready)
    left = min(old.left - silent * dt / lane_s, seen.visible) if silent else old.left
    return (
        QueueAgeEstimate(old.since_s, left, old.age_s)
        if left > 0
        else QueueAgeEstimate(at_s, seen.visible)
    )
