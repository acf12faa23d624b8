"""The entries that this process met last, in memory."""

import threading
from collections import OrderedDict
from typing import Final

from detection_worker.cache.base import StoredEntry

MAX_BYTES: Final = 32 << 20
"""Some ten thousand entries."""
_OVERHEAD_BYTES: Final = 400
"""One entry's name, ETag and objects, beside its body."""


class MemoryLayer:
    """Entries by name, the least recently used dropped first. Thread-safe.

    Args:
        max_bytes: What all entries together may take.
    """

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._lock = threading.Lock()
        self._entries: OrderedDict[str, StoredEntry] = OrderedDict()
        self._bytes = 0
        self._max_bytes = max_bytes

    def __len__(self) -> int:
        """Entries that are remembered."""
        return len(self._entries)

    def get(self, name: str) -> StoredEntry | None:
        """Return an entry, which now is the most recently used."""
        with self._lock:
            entry = self._entries.get(name)
            if entry is not None:
                self._entries.move_to_end(name)
            return entry

    def put(self, name: str, entry: StoredEntry) -> None:
        """Remember an entry in place of what was known under its name."""
        with self._lock:
            self._forget(name)
            self._entries[name] = entry
            self._bytes += _size(entry)
            while self._bytes > self._max_bytes:
                self._forget(next(iter(self._entries)))

    def forget(self, name: str) -> None:
        """Forget an entry, if it is remembered."""
        with self._lock:
            self._forget(name)

    def _forget(self, name: str) -> None:
        old = self._entries.pop(name, None)
        self._bytes -= 0 if old is None else _size(old)


def _size(entry: StoredEntry) -> int:
    return len(entry.body) + _OVERHEAD_BYTES
