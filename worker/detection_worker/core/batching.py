"""Which units to put through the device together."""

from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

L = TypeVar("L", bound=Hashable)
J = TypeVar("J")


@dataclass(slots=True)
class _Waiting(Generic[J]):
    job: J
    units: int
    done: int
    since_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice(Generic[J]):
    """Units ``start`` to ``stop`` (exclusive) of one job."""

    job: J
    start: int
    stop: int


class Batcher(Generic[L, J]):
    """Units of many jobs, in lanes of one unit shape each. Not thread-safe.

    Args:
        max_units: Most units in a batch, >= 1.
        max_wait_s: How long the oldest unit may wait for neighbours that are on their way.
        limit: Returns the most units, >= 1, of a batch that begins with a job, as of now; None
            for ``max_units``.
    """

    def __init__(
        self,
        *,
        max_units: int,
        max_wait_s: float,
        limit: Callable[[J], int | None] = lambda _: None,
    ) -> None:
        self.max_units = max_units
        self._limit = limit
        self._max_wait_s = max_wait_s
        self._lanes: dict[L, deque[_Waiting[J]]] = {}

    def add(self, lane: L, job: J, *, units: int, now_s: float) -> None:
        """Put a job with ``units`` >= 1 units into ``lane``."""
        self._lanes.setdefault(lane, deque()).append(_Waiting(job, units, 0, now_s))

    def __repr__(self) -> str:
        lanes = sum(1 for lane in self._lanes.values() if lane)
        return f"<Batcher lanes={lanes} units={len(self)}>"

    def __len__(self) -> int:
        """Units that wait."""
        return sum(w.units - w.done for lane in self._lanes.values() for w in lane)

    def wait_s(self, *, now_s: float, more_coming: bool) -> float:
        """Return for how long the device should wait before it takes a batch; 0 means take now.

        Args:
            now_s: Clock.
            more_coming: Something is being decoded; otherwise there is nothing to wait for.
        """
        heads = [lane[0].since_s for lane in self._lanes.values() if lane]
        if not heads or not more_coming or self._full():
            return 0.0
        return max(0.0, min(heads) + self._max_wait_s - now_s)

    def take(self) -> tuple[L, list[Slice[J]]] | None:
        """Return the next batch: of the lane whose head waits longest, in order; None if empty."""
        lanes = [(lane[0].since_s, key) for key, lane in self._lanes.items() if lane]
        if not lanes:
            return None
        key = min(lanes, key=lambda pair: pair[0])[1]
        return key, self._fill(self._lanes[key])

    def _full(self) -> bool:
        return any(
            sum(w.units - w.done for w in lane) >= self._most(lane)
            for lane in self._lanes.values()
            if lane
        )

    def _most(self, lane: deque[_Waiting[J]]) -> int:
        return self._limit(lane[0].job) or self.max_units

    def _fill(self, lane: deque[_Waiting[J]]) -> list[Slice[J]]:
        batch: list[Slice[J]] = []
        room = self._most(lane)
        while lane and room:
            head = lane[0]
            count = min(room, head.units - head.done)
            batch.append(Slice(job=head.job, start=head.done, stop=head.done + count))
            head.done += count
            room -= count
            if head.done == head.units:
                lane.popleft()
        return batch
