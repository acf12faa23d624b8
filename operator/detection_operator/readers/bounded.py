"""A mapping that forgets what was not asked for longest, so that it cannot grow for ever."""

import threading
from collections import OrderedDict
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Bounded(Generic[K, V]):
    """At most ``most`` entries. Safe to use from several threads.

    Args:
        most: Entries that are kept.
    """

    def __init__(self, most: int) -> None:
        self._most = most
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
        """Keep an entry; return the one that had to go for it, if any had to."""
        with self._lock:
            self._entries[key] = value
            self._entries.move_to_end(key)
            if len(self._entries) <= self._most:
                return None
            return self._entries.popitem(last=False)[1]

    def clear(self) -> list[V]:
        """Forget everything; return it."""
        with self._lock:
            values = list(self._entries.values())
            self._entries.clear()
            return values
