"""The server's clock: real time plus an offset that tests can advance."""

import time
from collections.abc import Callable


class ServerClock:
    """Unix seconds that never go back.

    ``advance`` adds to all later readings; every waiter is woken.
    """

    def __init__(self) -> None:
        self._offset_s = time.time() - time.monotonic()
        self._listeners: list[Callable[[], None]] = []

    def now_s(self) -> float:
        """Return the time."""
        return time.monotonic() + self._offset_s

    def advance(self, seconds: float) -> None:
        """Move the clock forward by ``seconds``, 0 or more."""
        if seconds < 0:
            raise ValueError(f"seconds is {seconds}: a clock never goes back")
        self._offset_s += seconds
        for listener in self._listeners:
            listener()

    def on_advance(self, listener: Callable[[], None]) -> None:
        """Call ``listener`` after each ``advance``."""
        self._listeners.append(listener)
