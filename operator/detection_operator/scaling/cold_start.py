"""A cold start in its three parts: launch of a node, image pull, and start of the worker."""

import statistics
from collections.abc import Collection
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ColdStart:
    """The parts of one cold start, or what is usual of them, in seconds.

    Attributes:
        launch_s: From a new pod to its node: 0 if a node had room.
        pull_s: Pull of the images: 0 if the node had them.
        start_s: The rest until it is ready: volumes, containers, loading of models.
    """

    launch_s: float
    pull_s: float
    start_s: float

    @property
    def total_s(self) -> float:
        """From a new pod to ready."""
        return self.launch_s + self.pull_s + self.start_s


def usual(starts: Collection[ColdStart]) -> ColdStart | None:
    """Return the median of each part; None without a start.

    A launch is expected only where most of the starts needed one: otherwise a node is at hand.
    """
    if not starts:
        return None
    return ColdStart(
        launch_s=statistics.median(item.launch_s for item in starts),
        pull_s=statistics.median(item.pull_s for item in starts),
        start_s=statistics.median(item.start_s for item in starts),
    )
