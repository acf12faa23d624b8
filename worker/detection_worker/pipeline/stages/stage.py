"""A stage: a bounded queue and threads that work it off."""

import logging
import queue
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

log = logging.getLogger(__name__)


class Stage(Generic[T]):
    """Threads that call ``handler`` for each item.

    Args:
        name: For thread names.
        handler: Must not raise; what it raises all the same is logged and the thread goes on.
        threads: How many items are worked on at once.
        capacity: How many may wait; ``put`` blocks beyond that, which holds back the stage before.
    """

    def __init__(
        self, name: str, handler: Callable[[T], None], *, threads: int, capacity: int
    ) -> None:
        self.name = name
        self._handler = handler
        self._queue: queue.Queue[T | None] = queue.Queue(capacity)
        self._lock = threading.Lock()
        self._busy = 0
        self._since: dict[int, float] = {}
        self._threads = [
            threading.Thread(target=self._run, name=f"{name}-{i}", daemon=True)
            for i in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def put(self, item: T) -> None:
        """Add an item; blocks while ``capacity`` items wait."""
        self._queue.put(item)

    @property
    def waiting(self) -> int:
        """Items that wait."""
        return self._queue.qsize()

    @property
    def busy(self) -> int:
        """Items being worked on."""
        return self._busy

    def oldest_work_s(self) -> float:
        """Return for how long the oldest item has been worked on; 0 when idle."""
        with self._lock:
            start = min(self._since.values(), default=None)
        return 0.0 if start is None else time.monotonic() - start

    def close(self) -> None:
        """Let every thread finish its item and what waits, then stop."""
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        me = threading.get_ident()
        while (item := self._queue.get()) is not None:
            with self._lock:
                self._busy += 1
                self._since[me] = time.monotonic()
            try:
                self._handler(item)
            except Exception:
                log.exception("stage %s failed", self.name)
            finally:
                with self._lock:
                    self._busy -= 1
                    del self._since[me]
