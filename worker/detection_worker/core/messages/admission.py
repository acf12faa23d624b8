"""How much work to hold, measured in seconds of work rather than in messages.

Messages in hand look "in flight" to whoever scales on the queue: hoarding hides the backlog.
"""

from dataclasses import dataclass

from detection_contract.media_types import MediaKind

PRIOR_S = {MediaKind.IMAGE: 0.1, MediaKind.VIDEO: 1.0, MediaKind.AUDIO: 0.2}
"""Service seconds assumed before the first measurement, on a CPU."""
FULL_BATCH = 10
"""Most messages that SQS hands out at once (API reference, ReceiveMessage)."""
SMOOTHING = 0.1
"""Weight of the newest measurement: about the last twenty count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldLimits:
    """What one worker may hold.

    Attributes:
        messages: Most messages.
        seconds: Most predicted seconds of work.
    """

    messages: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What messages of one kind cost since the start; never falls.

    Attributes:
        messages: How many.
        seconds: Sum of their service times.
        squares: Sum of the squared service times, s²: for the spread.
    """

    messages: int = 0
    seconds: float = 0.0
    squares: float = 0.0


class ServiceTimes:
    """Seconds that one message of each kind costs the worker. Not thread-safe."""

    def __init__(self) -> None:
        self._mean_s: dict[MediaKind, float] = {}
        self._served: dict[MediaKind, Served] = {}

    def observe(self, kind: MediaKind, seconds: float) -> None:
        """Note that a message took ``seconds`` of the busiest stage."""
        old = self._mean_s.get(kind)
        new = seconds if old is None else old + SMOOTHING * (seconds - old)
        self._mean_s[kind] = new
        total = self._served.get(kind, Served())
        self._served[kind] = Served(
            messages=total.messages + 1,
            seconds=total.seconds + seconds,
            squares=total.squares + seconds * seconds,
        )

    def predict(self, kind: MediaKind | None) -> float:
        """Return the seconds that a message of ``kind`` will cost; None means kind unknown."""
        if kind is None:
            return self.mean()
        return self._mean_s.get(kind, PRIOR_S[kind])

    def mean(self) -> float:
        """Return the mean over what was seen, weighted by how often; a prior before that."""
        total = sum(s.messages for s in self._served.values())
        if not total:
            return PRIOR_S[MediaKind.IMAGE]
        return sum(self._mean_s[k] * s.messages for k, s in self._served.items()) / total

    def measured(self) -> dict[MediaKind, float]:
        """Return the smoothed seconds of each kind seen so far."""
        return dict(self._mean_s)

    def served(self) -> dict[MediaKind, Served]:
        """Return the sums of each kind seen so far."""
        return dict(self._served)


def room(*, held_messages: int, held_seconds: float, mean_s: float, limits: HoldLimits) -> int:
    """Return how many more messages to ask for, 0 to 10 (the most that SQS hands out at once).

    An idle worker may always take one, however long it is predicted to take. One that is at least
    half full waits until there is room for ten: that is a tenth of the calls, and it has work.
    """
    by_count = limits.messages - held_messages
    by_time = int((limits.seconds - held_seconds) / max(mean_s, 1e-6))
    if held_messages == 0:
        by_time = max(by_time, 1)
    count = max(0, min(FULL_BATCH, by_count, by_time))
    half_full = 2 * held_messages >= limits.messages or 2 * held_seconds >= limits.seconds
    could_be_full = min(limits.messages, limits.seconds / max(mean_s, 1e-6)) >= 2 * FULL_BATCH
    return 0 if count < FULL_BATCH and half_full and could_be_full else count
