"""A token bucket: how often an account's API may be called."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(slots=True)
class TokenBucket:
    """Calls per second with a burst. Safe to use from several threads.

    Attributes:
        per_s: Calls that come back each second; > 0.
        burst: Calls that may come at once.
        clock: Monotonic seconds.
    """

    per_s: float
    burst: float
    clock: Callable[[], float]
    _tokens: float = field(init=False)
    _at_s: float = field(init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    def __post_init__(self) -> None:
        self._tokens = self.burst
        self._at_s = self.clock()

    def take(self) -> float:
        """Take one call and return the seconds to wait before making it; 0 most of the time."""
        with self._lock:
            now_s = self.clock()
            self._tokens = min(self.burst, self._tokens + (now_s - self._at_s) * self.per_s)
            self._at_s = now_s
            self._tokens -= 1.0
            return max(0.0, -self._tokens / self.per_s)

    def punish(self) -> None:
        """Empty the bucket: the other side said that it was too much."""
        with self._lock:
            self._tokens = min(self._tokens, 0.0)
