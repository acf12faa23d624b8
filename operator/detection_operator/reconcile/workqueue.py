"""A work queue of keys: one entry and one worker for each key, due times in a heap."""

import heapq
import itertools
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

K = TypeVar("K")


class WorkQueue(Generic[K]):
    """A level-triggered queue of keys. Safe to use from several threads.

    A key that is added while a thread works on it becomes due again when that thread is done.

    Args:
        monotonic_s: A clock.
    """

    def __init__(self, monotonic_s: Callable[[], float]) -> None:
        self._monotonic_s = monotonic_s
        self._lock = threading.Lock()
        # Of the threads that wait, one sleeps until the next key is due, and the others until it
        # has found one: if all slept until then, each key would wake all of them.
        self._watch = threading.Condition(self._lock)
        self._others = threading.Condition(self._lock)
        self._watched = False
        self._wakes_s = float("-inf")
        self._heap: list[tuple[float, int, K]] = []
        self._due: dict[K, float] = {}
        self._working: dict[K, float] = {}
        self._numbers = itertools.count()
        self._closed = False

    def add(self, key: K, after_s: float = 0.0) -> None:
        """Make a key due in ``after_s`` seconds, unless it is due earlier."""
        with self._lock:
            due_s = self._monotonic_s() + after_s
            if due_s >= self._due.get(key, float("inf")):
                return
            self._due[key] = due_s
            heapq.heappush(self._heap, (due_s, next(self._numbers), key))
            if due_s < self._wakes_s:
                self._watch.notify()

    def get(self, timeout_s: float | None = None) -> K | None:
        """Return a due key and mark it as worked on; None when closed or after ``timeout_s``."""
        end_s = None if timeout_s is None else self._monotonic_s() + timeout_s
        with self._lock:
            while not self._closed:
                key, wait_s = self._next()
                if key is not None:
                    self._working[key] = self._monotonic_s()
                left_s = None if end_s is None else end_s - self._monotonic_s()
                if key is not None or (left_s is not None and left_s <= 0.0):
                    if not self._watched:
                        self._others.notify()
                    return key
                if self._watched:
                    self._others.wait(left_s)
                else:
                    self._wait_until_due(wait_s, left_s)
        return None

    def _wait_until_due(self, wait_s: float | None, left_s: float | None) -> None:
        """Wait for the next key, or for one that is due earlier, at most ``left_s`` seconds."""
        waits = [s for s in (wait_s, left_s) if s is not None]
        self._watched = True
        self._wakes_s = float("inf") if wait_s is None else self._monotonic_s() + wait_s
        try:
            self._watch.wait(min(waits, default=None))
        finally:
            self._watched, self._wakes_s = False, float("-inf")

    def done(self, key: K) -> None:
        """Mark the work on a key as finished."""
        with self._lock:
            self._working.pop(key, None)
            if key in self._due:
                self._watch.notify()

    def close(self) -> None:
        """Wake all waiting threads; ``get`` returns None from now on."""
        with self._lock:
            self._closed = True
            self._watch.notify_all()
            self._others.notify_all()

    def waiting(self) -> int:
        """Return how many keys are due now."""
        now_s = self._monotonic_s()
        with self._lock:
            return sum(due_s <= now_s for due_s in self._due.values())

    def longest_s(self) -> float:
        """Return for how many seconds the longest-running key has been worked on."""
        now_s = self._monotonic_s()
        with self._lock:
            return max((now_s - start_s for start_s in self._working.values()), default=0.0)

    def _next(self) -> tuple[K | None, float | None]:
        """Return a due key; else the seconds until one may be."""
        in_work: list[tuple[float, int, K]] = []
        try:
            while self._heap:
                due_s, _, key = self._heap[0]
                if self._due.get(key) != due_s:
                    heapq.heappop(self._heap)
                    continue
                wait_s = due_s - self._monotonic_s()
                if wait_s > 0.0:
                    return None, wait_s
                entry = heapq.heappop(self._heap)
                if key in self._working:
                    in_work.append(entry)
                    continue
                del self._due[key]
                return key, None
            return None, None
        finally:
            for entry in in_work:
                heapq.heappush(self._heap, entry)
