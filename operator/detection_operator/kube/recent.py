"""Answers of the API server that are kept for a while."""

import threading
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class Recent(Generic[T]):
    """Keeps answers by name. Safe to use from several threads.

    Args:
        keep_s: For so long.
        monotonic_s: A clock.
    """

    def __init__(self, keep_s: float, monotonic_s: Callable[[], float]) -> None:
        self._keep_s = keep_s
        self._monotonic_s = monotonic_s
        self._lock = threading.Lock()
        self._kept: dict[Hashable, tuple[float, T]] = {}
        self._age = 0

    def get(self, name: Hashable, read: Callable[[], T], *, lasting: Callable[[T], bool]) -> T:
        """Return the kept answer, else a new one, which is kept if it is ``lasting``."""
        now_s = self._monotonic_s()
        with self._lock:
            age = self._age
            kept = self._kept.get(name)
        if kept is not None and now_s - kept[0] < self._keep_s:
            return kept[1]
        answer = read()
        with self._lock:
            # What was read before everything was forgotten may be what changed since.
            if lasting(answer) and age == self._age:
                self._kept[name] = (now_s, answer)
            else:
                self._kept.pop(name, None)
        return answer

    def forget(self) -> None:
        """Ask anew from now on."""
        with self._lock:
            self._age += 1
            self._kept.clear()
