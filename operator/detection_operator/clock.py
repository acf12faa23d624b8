"""Wall time for what is compared with the world, monotonic time for intervals."""

import time
from typing import Protocol


class Clock(Protocol):
    """Two clocks; only the first may jump."""

    def wall_s(self) -> float:
        """Return seconds since the epoch."""
        ...

    def monotonic_s(self) -> float:
        """Return seconds that never go back."""
        ...


class SystemClock:
    """The clocks of the machine."""

    def wall_s(self) -> float:
        """Return seconds since the epoch."""
        return time.time()

    def monotonic_s(self) -> float:
        """Return seconds that never go back."""
        return time.monotonic()
