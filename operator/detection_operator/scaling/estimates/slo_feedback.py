"""How far the promise was kept so far decides how much is kept for the next burst.

An integral controller on the error budget: late messages raise the level at once, messages in time
lower it slowly, and it rests where exactly the allowed share of the messages is late, or at 0.
"""

import math
from dataclasses import dataclass
from typing import Final

HIGHEST: Final = 0.5
"""Natural logarithm of the factor on the replicas kept: up to 1.65 times as many. Above, replicas
cost more than they save; a queue that stays late with them lacks something else."""
MIN_SCALE: Final = 100.0
"""Messages: a handful of late ones is no trend."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SloFeedback:
    """The level, and what it must not learn from.

    Attributes:
        level: Natural logarithm of the factor on the replicas that are kept for bursts, 0 to
            ``HIGHEST``.
        cold_at_s: When no replica was ready last; None: never seen so.
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
    """Return the caution after some more messages.

    Args:
        old: So far.
        received: Messages received for the first time since then; >= 0.
        late: Those of them that had waited too long.
        allowed: Share of messages that may be late, (0, 1).
        scale: Messages whose complete lateness raises the level by 1.
        ready: Replicas that take messages now.
        excuse_s: This long after the last moment without replicas, waits tell of the start from
            nothing, which no replica kept for bursts would have changed.
        now_s: The present.
    """
    cold_at_s = old.cold_at_s if ready else now_s
    if cold_at_s is not None and now_s - cold_at_s < excuse_s:
        return SloFeedback(level=old.level, cold_at_s=cold_at_s)
    if not received:
        return old
    level = old.level + (late - allowed * received) / max(scale, MIN_SCALE)
    return SloFeedback(level=min(HIGHEST, max(0.0, level)), cold_at_s=cold_at_s)
