"""Which changes of the dead-letter queue's depth are new deaths.

Its depth falls and rises again for other reasons too: counts of SQS lag behind, and a user who
inspects dead letters makes them invisible for a while. So only what rises above the highest depth
is new, and a lower depth replaces the highest once it has lasted.
"""

from dataclasses import dataclass, replace
from typing import Final

LASTING_S: Final = 300.0
"""Counts of SQS agree with each other within about a minute; an inspection takes longer."""


@dataclass(frozen=True, slots=True)
class DeadLetters:
    """The depth above which messages are new.

    Attributes:
        high: Depth above which messages are new; None before the first observation.
        lower_since_s: Since when the depth is lower; None while it is not.
        lower_most: Highest depth since then.
    """

    high: int | None = None
    lower_since_s: float | None = None
    lower_most: int = 0

    def moved(self, by_s: float) -> "DeadLetters":
        """Return the same on a clock that jumped by ``by_s``."""
        since_s = self.lower_since_s
        return replace(self, lower_since_s=None if since_s is None else since_s + by_s)


UNSEEN: Final = DeadLetters()
"""Before the first observation."""


def absorb(old: DeadLetters, depth: int | None, now_s: float) -> tuple[DeadLetters, int]:
    """Return what is known after another observation, and how many messages died meanwhile."""
    if depth is None:
        return old, 0
    if old.high is None or depth >= old.high:
        return DeadLetters(depth), depth - (depth if old.high is None else old.high)
    since_s = now_s if old.lower_since_s is None else old.lower_since_s
    most = max(old.lower_most, depth)
    if now_s - since_s < LASTING_S:
        return DeadLetters(old.high, since_s, most), 0
    return DeadLetters(most, now_s, depth) if depth < most else DeadLetters(most), 0
