"""Two caches in memory, safe to use from several threads: one by age, one by size."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class TtlCache(Generic[V]):
    """Keeps results of calls for a fixed time.

    Args:
        ttl_s: Seconds for which a result is kept.
        monotonic_s: A clock.
    """

    def __init__(self, ttl_s: float, monotonic_s: Callable[[], float]) -> None:
        self._ttl_s = ttl_s
        self._monotonic_s = monotonic_s
        self._lock = threading.Lock()
        self._kept: dict[Hashable, tuple[float, V]] = {}
        self._generation = 0

    def get(self, key: Hashable, load: Callable[[], V], *, keep_if: Callable[[V], bool]) -> V:
        """Return the kept result, else that of ``load``, which is kept if ``keep_if`` says so."""
        now_s = self._monotonic_s()
        with self._lock:
            generation = self._generation
            kept = self._kept.get(key)
        if kept is not None and now_s - kept[0] < self._ttl_s:
            return kept[1]
        value = load()
        with self._lock:
            # A value that was loaded before `clear` may be what changed since.
            if keep_if(value) and generation == self._generation:
                self._kept[key] = (now_s, value)
            else:
                self._kept.pop(key, None)
        return value

    def clear(self) -> None:
        """Drop everything; calls to ``load`` under way are not kept either."""
        with self._lock:
            self._generation += 1
            self._kept.clear()


class LruCache(Generic[K, V]):
    """Keeps a limited number of entries and evicts the least recently used.

    Args:
        max_entries: Entries that are kept.
    """

    def __init__(self, max_entries: int) -> None:
        self._max_entries = max_entries
        self._lock = threading.Lock()
        self._entries: OrderedDict[K, V] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: K) -> V | None:
        """Return an entry, or None."""
        with self._lock:
            if key in self._entries:
                self._entries.move_to_end(key)
            return self._entries.get(key)

    def put(self, key: K, value: V) -> V | None:
        """Keep an entry; return the evicted one, or None."""
        with self._lock:
            self._entries[key] = value
            self._entries.move_to_end(key)
            if len(self._entries) <= self._max_entries:
                return None
            return self._entries.popitem(last=False)[1]

    def clear(self) -> list[V]:
        """Drop and return everything."""
        with self._lock:
            values = list(self._entries.values())
            self._entries.clear()
            return values
