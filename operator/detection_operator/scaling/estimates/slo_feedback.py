"""Attainment of the objective decides how many replicas are kept for the next burst.

An integral controller on the error budget: late messages raise the level at once, messages in time
lower it slowly, and it settles where exactly the allowed share of messages is late, or at 0.
"""

import math
from dataclasses import dataclass
from typing import Final

HIGHEST: Final = 0.5
"""Natural logarithm of the factor on the replicas kept: up to 1.65 times as many. Above, replicas
cost more than they save; a queue that is late even then lacks something else."""
MIN_SCALE: Final = 100.0
"""In messages: a few late ones are no trend."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SloFeedback:
    """The level of the controller, and when it must not learn.

    Attributes:
        level: Natural logarithm of the factor on the replicas that are kept for bursts, 0 to
            ``HIGHEST``.
        cold_at_s: Last time without a ready replica; None: never observed.
    """

    level: float = 0.0
    cold_at_s: float | None = None

    @property
    def factor(self) -> float:
        """Multiplies the replicas that are kept."""
        return math.exp(self.level)


CALM: Final = SloFeedback()
"""Before the first message."""


def absorb(
    old: SloFeedback,
    *,
    received: int,
    late: int,
    allowed: float,
    scale: float,
    ready: int,
    excuse_s: float,
    now_s: float,
) -> SloFeedback:
    """Return the feedback after some more messages.

    Args:
        old: The feedback so far.
        received: Messages received for the first time since then; >= 0.
        late: Those of them that had waited too long.
        allowed: Share of messages that may be late, (0, 1).
        scale: Messages whose complete lateness raises the level by 1.
        ready: Replicas that take messages now.
        excuse_s: This long after the last moment without replicas, waits are due to the scale-up
            from zero, which no replica kept for bursts would have changed.
        now_s: Time of the observation.
    """
    cold_at_s = old.cold_at_s if ready else now_s
    if cold_at_s is not None and now_s - cold_at_s < excuse_s:
        return SloFeedback(level=old.level, cold_at_s=cold_at_s)
    if not received:
        return old
    level = old.level + (late - allowed * received) / max(scale, MIN_SCALE)
    return SloFeedback(level=min(HIGHEST, max(0.0, level)), cold_at_s=cold_at_s)
