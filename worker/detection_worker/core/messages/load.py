"""How loaded the worker is: what messages cost it, and since when it is busy."""

from dataclasses import dataclass

from detection_contract.media_types import MediaKind

PRIOR_S = {MediaKind.IMAGE: 0.1, MediaKind.VIDEO: 1.0, MediaKind.AUDIO: 0.2}
"""Service seconds assumed before the first measurement, on a CPU."""
SMOOTHING = 0.1
"""Weight of the newest measurement: about the last twenty count."""


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


@dataclass(slots=True, kw_only=True)
class BusyClock:
    """Since when the worker is busy or idle, and when its work last got ahead. Not thread-safe.

    Attributes:
        changed_s: Unix seconds at which the worker last became busy or idle.
        progress_s: Monotonic seconds of the last sign of life of any work.
        busy: Messages are in flight here.
    """

    changed_s: float
    progress_s: float
    busy: bool = False

    def note(self, messages: int, *, wall_s: float) -> None:
        """Note how many messages are in flight here now.

        Args:
            messages: How many.
            wall_s: Unix seconds.
        """
        if self.busy != (messages > 0):
            self.busy = messages > 0
            self.changed_s = wall_s
