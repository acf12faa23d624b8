"""A stage: a bounded queue and threads that work it off."""

import logging
import math
import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Generic, TypeVar, cast

UNBOUNDED: Final = 0
"""As a capacity: any number of items may wait."""

T = TypeVar("T")
U = TypeVar("U")

log = logging.getLogger(__name__)


class Activity:
    """The items in a stage: how many wait or are worked on, and since when. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._items = 0
        self._since_s: dict[int, float] = {}

    def __len__(self) -> int:
        """Items that wait or are worked on; one that moves from the one to the other counts."""
        return self._items

    @property
    def busy(self) -> int:
        """Items that are worked on."""
        return len(self._since_s)

    def add(self) -> None:
        """Note one more item."""
        with self._lock:
            self._items += 1

    def begin(self) -> None:
        """Note that the calling thread begins to work on an item."""
        with self._lock:
            self._since_s[threading.get_ident()] = time.monotonic()

    def end(self) -> None:
        """Note that it has ended."""
        with self._lock:
            self._items -= 1
            del self._since_s[threading.get_ident()]

    def oldest_s(self) -> float:
        """Return for how long the oldest item has been worked on; 0 when idle."""
        with self._lock:
            start = min(self._since_s.values(), default=None)
        return 0.0 if start is None else time.monotonic() - start


def no_next(_: object) -> None:
    """End of the line: the ``then`` of a last stage."""


class Stage(Generic[T, U]):
    """Threads that call ``handler`` for each item and hand what it returns to ``then``.

    Args:
        name: For thread names.
        handler: Returns the item for the next stage, None if there is none. Must not raise; an
            exception is logged and the thread goes on.
        then: Takes the item for the next stage; blocks while that is full.
        threads: How many items are worked on at once.
        capacity: How many may wait; ``put`` blocks beyond that, which holds back the stage before.
            See ``UNBOUNDED``.
        activity: Counts the items; shared with a stage that waits for them.
    """

    def __init__(
        self,
        name: str,
        handler: Callable[[T], U | None],
        *,
        then: Callable[[U], None] = no_next,
        threads: int,
        capacity: int,
        activity: Activity | None = None,
    ) -> None:
        self.name = name
        self._handler = handler
        self._then = then
        self._queue: queue.Queue[T | None] = queue.Queue(capacity)
        self._activity = Activity() if activity is None else activity
        self._threads = [
            threading.Thread(target=self._run, name=f"{name}-{i}", daemon=True)
            for i in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def __repr__(self) -> str:
        return f"<Stage {self.name} busy={self.busy} waiting={self.waiting}>"

    def put(self, item: T) -> None:
        """Add an item; blocks while ``capacity`` items wait."""
        self._activity.add()
        self._queue.put(item)

    @property
    def waiting(self) -> int:
        """Items that wait."""
        return self._queue.qsize()

    @property
    def busy(self) -> int:
        """Items being worked on."""
        return self._activity.busy

    def oldest_work_s(self) -> float:
        """Return for how long the oldest item has been worked on; 0 when idle."""
        return self._activity.oldest_s()

    def close(self, *, timeout_s: float | None = None) -> None:
        """Let every thread finish its item and what waits, then stop.

        Args:
            timeout_s: A thread whose item takes longer is left behind: it ends with the process.
                None waits for all.
        """
        until_s = math.inf if timeout_s is None else time.monotonic() + timeout_s

        def left_s() -> float | None:
            return None if timeout_s is None else max(0.0, until_s - time.monotonic())

        with suppress(queue.Full):
            for _ in self._threads:
                self._queue.put(None, timeout=left_s())
        for thread in self._threads:
            thread.join(left_s())

    def _run(self) -> None:
        while True:
            # A box, so that the handler has the only reference: items can hold megabytes of units
            # that a handler lets go before it waits for a callback.
            box = [self._queue.get()]
            if box[0] is None:
                return
            self._activity.begin()
            try:
                self._handle(box)
            except Exception:
                log.exception("stage %s failed", self.name)
            finally:
                self._activity.end()

    def _handle(self, box: list[T | None]) -> None:
        result = self._handler(cast("T", box.pop()))
        if result is not None:
            self._then(result)
