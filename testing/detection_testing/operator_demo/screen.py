"""Output of the demo: an introduction, a row for each change, a summary."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from detection_testing.operator_demo.local_aws import Depth

STEADY_S: Final = 5.0
"""A row at least this often while there is work."""
HEADING: Final = "    time waiting in-flight results wanted pods ready  the operator's plan"
ROW: Final = (
    "{time:>8} {waiting:>7} {in_flight:>9} {results:>7} {wanted:>6} {pods:>4} {ready:>5}  {plan}"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """One look at everything.

    Attributes:
        depth: Depth of the queue.
        results: That have arrived.
        wanted: Replicas of the plan.
        pods: Worker processes that run.
        ready: Pods that passed their readiness probe.
        plan: The operator's sentence; empty before the first one.
    """

    depth: Depth
    results: int
    wanted: int
    pods: int
    ready: int
    plan: str


class Screen:
    """Prints.

    Args:
        monotonic_s: A clock.
        show: Takes each line.
    """

    def __init__(
        self,
        monotonic_s: Callable[[], float] = time.monotonic,
        show: Callable[[str], None] = lambda line: print(line, flush=True),
    ) -> None:
        self._monotonic_s = monotonic_s
        self._show = show
        self._begun_s = monotonic_s()
        self._last: tuple[int, int, int, str] | None = None
        self._last_depth: Depth | None = None
        self._shown_s = float("-inf")

    @property
    def begun_s(self) -> float:
        """Monotonic seconds at which time begins."""
        return self._begun_s

    @property
    def passed_s(self) -> float:
        """Seconds since then."""
        return self._monotonic_s() - self._begun_s

    def introduce(self, lines: Sequence[str]) -> None:
        """Say what will happen."""
        for line in lines:
            self._show(line)

    def begin(self) -> None:
        """Let time begin, and print the heading."""
        self._begun_s = self._monotonic_s()
        self._show("")
        self._show(HEADING)

    def note(self, sentence: str) -> None:
        """Print something that happened."""
        self._show(f"{self._time()} {'.' * 39}  {sentence}")

    def row(self, now: Snapshot) -> None:
        """Print a row if the plan or the workers are others than before, or it is time to."""
        gist = (now.wanted, now.pods, now.ready, now.plan)
        due = self.passed_s - self._shown_s >= STEADY_S and now.depth != self._last_depth
        if gist == self._last and not due:
            return
        self._last, self._last_depth, self._shown_s = gist, now.depth, self.passed_s
        self._show(
            ROW.format(
                time=self._time(),
                waiting=now.depth.visible,
                in_flight=now.depth.in_flight,
                results=now.results,
                wanted=now.wanted,
                pods=now.pods,
                ready=now.ready,
                plan=now.plan or "(none yet)",
            )
        )

    def conclude(self, lines: Sequence[str]) -> None:
        """Print the last lines."""
        self._show("")
        for line in lines:
            self._show(line)

    def _time(self) -> str:
        return f"{self.passed_s:.1f} s".rjust(8)
