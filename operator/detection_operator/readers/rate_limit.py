"""A token bucket for the requests to one AWS account."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(slots=True)
class TokenBucket:
    """Calls per second with a burst. Safe to use from several threads.

    Attributes:
        per_s: Tokens added each second; > 0.
        burst: Capacity of the bucket.
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
        """Take a token; return the seconds to wait before the request, 0 most of the time."""
        with self._lock:
            now_s = self.clock()
            self._tokens = min(self.burst, self._tokens + (now_s - self._at_s) * self.per_s)
            self._at_s = now_s
            self._tokens -= 1.0
            return max(0.0, -self._tokens / self.per_s)

    def punish(self) -> None:
        """Empty the bucket after a throttled request."""
        with self._lock:
            self._tokens = min(self._tokens, 0.0)
