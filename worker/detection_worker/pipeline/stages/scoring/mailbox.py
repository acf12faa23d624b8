"""What comes to the device's thread: files, of which few may wait, and news of its passes."""

import threading
from collections import deque
from typing import Generic, TypeVar

F = TypeVar("F")
N = TypeVar("N")


class Mailbox(Generic[F, N]):
    """Files and news for one reader. Thread-safe.

    Args:
        capacity: Files that may wait; 0 for any number.
        capacity_bytes: What they may take together; a single file may take more.
    """

    def __init__(self, *, capacity: int, capacity_bytes: int) -> None:
        self._capacity = capacity
        self._capacity_bytes = capacity_bytes
        self._lock = threading.Lock()
        self._came = threading.Condition(self._lock)
        self._room = threading.Condition(self._lock)
        self._files: deque[tuple[F, int]] = deque()
        self._bytes = 0
        self._news: deque[N] = deque()

    @property
    def waiting(self) -> int:
        """Files that wait."""
        return len(self._files)

    def put(self, file: F, *, size: int) -> None:
        """Put a file of ``size`` bytes in; blocks while there is no room for it."""
        with self._lock:
            self._room.wait_for(lambda: self._has_room(size))
            self._files.append((file, size))
            self._bytes += size
            self._came.notify()

    def tell(self, news: N) -> None:
        """Put news in: never blocks, and is taken before files."""
        with self._lock:
            self._news.append(news)
            self._came.notify()

    def take(self, *, timeout_s: float, files: bool) -> F | N | None:
        """Return what came first, news before files; None if nothing comes in time.

        Args:
            timeout_s: How long to wait; 0 takes what is there.
            files: Take files too; otherwise they stay.
        """
        with self._lock:
            if timeout_s > 0:
                self._came.wait_for(
                    lambda: bool(self._news or (files and self._files)), timeout=timeout_s
                )
            if self._news:
                return self._news.popleft()
            if not (files and self._files):
                return None
            file, size = self._files.popleft()
            self._bytes -= size
            self._room.notify_all()
            return file

    def _has_room(self, size: int) -> bool:
        if self._capacity and len(self._files) >= self._capacity:
            return False
        return not self._bytes or self._bytes + size <= self._capacity_bytes
