"""``threading``, ``queue`` and ``time`` of a module under test, for threads that take turns."""

import queue
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from detection_testing.turns.turns import Actor, Killed, Turns


class Lock:
    """``threading.Lock`` and ``RLock``: another one may go on before it is taken."""

    def __init__(self, turns: Turns, *, reentrant: bool = False) -> None:
        self._turns = turns
        self._reentrant = reentrant
        self._owner: object = None
        self._depth = 0

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:  # noqa: FBT001, FBT002 - as the real one
        me = self._turns.current or "the test"
        if self._reentrant and self._owner is me:
            self._depth += 1
            return True
        self._turns.wait(lambda: not self._depth)
        if self._depth:
            raise RuntimeError("the test itself would wait for ever")
        self._owner, self._depth = me, 1
        return True

    def release(self) -> None:
        self._depth -= 1

    def seize(self) -> None:
        self._depth += 1

    def locked(self) -> bool:
        return bool(self._depth)

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


class Condition:
    """``threading.Condition``."""

    def __init__(self, turns: Turns, lock: Lock | None = None) -> None:
        self._turns = turns
        self._lock = lock or Lock(turns, reentrant=True)
        self._asleep: list[object] = []

    def __enter__(self) -> bool:
        return self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def wait(self, timeout: float | None = None) -> bool:
        me = object()
        self._asleep.append(me)
        self._lock.release()
        until_s = None if timeout is None else self._turns.now_s + timeout
        try:
            woken = self._turns.wait(lambda: me not in self._asleep, until_s=until_s)
            if not woken:
                self._asleep.remove(me)
            self._lock.acquire()
        except Killed:
            self._lock.seize()  # for the "with" around this, which releases it
            raise
        return woken

    def wait_for(self, done: Callable[[], bool], timeout: float | None = None) -> bool:
        until_s = None if timeout is None else self._turns.now_s + timeout
        while not done():
            left_s = None if until_s is None else until_s - self._turns.now_s
            if left_s is not None and left_s <= 0:
                break
            self.wait(left_s)
        return done()

    def notify(self, n: int = 1) -> None:
        del self._asleep[:n]

    def notify_all(self) -> None:
        self._asleep.clear()


class Event:
    """``threading.Event``."""

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self._set = False

    def is_set(self) -> bool:
        return self._set

    def set(self) -> None:
        self._set = True

    def clear(self) -> None:
        self._set = False

    def wait(self, timeout: float | None = None) -> bool:
        until_s = None if timeout is None else self._turns.now_s + timeout
        return self._turns.wait(lambda: self._set, until_s=until_s)


class Thread:
    """``threading.Thread``."""

    def __init__(
        self,
        turns: Turns,
        *,
        target: Callable[..., None],
        name: str = "thread",
        args: tuple[Any, ...] = (),
        daemon: bool = False,
    ) -> None:
        self._turns = turns
        self._run = lambda: target(*args)
        self.name = name
        self._actor: Actor | None = None

    @property
    def ident(self) -> int | None:
        return None if self._actor is None else id(self._actor)

    def start(self) -> None:
        self._actor = self._turns.spawn(self._run, name=self.name)

    def is_alive(self) -> bool:
        return self._actor is not None and not self._actor.ended

    def join(self, timeout: float | None = None) -> None:
        until_s = None if timeout is None else self._turns.now_s + timeout
        self._turns.wait(lambda: not self.is_alive(), until_s=until_s)


class SimpleQueue:
    """``queue.SimpleQueue``."""

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self._items: deque[Any] = deque()

    def put(self, item: Any) -> None:
        self._items.append(item)

    def get(self) -> Any:
        self._turns.wait(lambda: bool(self._items))
        return self._items.popleft()

    def get_nowait(self) -> Any:
        if not self._items:
            raise queue.Empty
        return self._items.popleft()

    def empty(self) -> bool:
        return not self._items


class BoundedQueue(SimpleQueue):
    """``queue.Queue``."""

    def __init__(self, turns: Turns, maxsize: int = 0) -> None:
        super().__init__(turns)
        self._maxsize = maxsize

    def put(self, item: Any, timeout: float | None = None) -> None:
        until_s = None if timeout is None else self._turns.now_s + timeout
        if not self._turns.wait(self._has_room, until_s=until_s):
            raise queue.Full
        self._items.append(item)

    def qsize(self) -> int:
        return len(self._items)

    def _has_room(self) -> bool:
        return not self._maxsize or len(self._items) < self._maxsize


class Threading:
    """In place of the module ``threading``."""

    def __init__(self, turns: Turns) -> None:
        self.get_ident = threading.get_ident
        self.Lock = lambda: Lock(turns)
        self.RLock = lambda: Lock(turns, reentrant=True)
        self.Condition = lambda lock=None: Condition(turns, lock)
        self.Event = lambda: Event(turns)
        self.Thread = lambda **how: Thread(turns, **how)


class Queue:
    """In place of the module ``queue``."""

    Empty = queue.Empty
    Full = queue.Full

    def __init__(self, turns: Turns) -> None:
        self.Queue = lambda maxsize=0: BoundedQueue(turns, maxsize)
        self.SimpleQueue = lambda: SimpleQueue(turns)


class Time:
    """In place of the module ``time``; one wall clock for all."""

    def __init__(self, turns: Turns) -> None:
        self._turns = turns

    def monotonic(self) -> float:
        return self._turns.now_s

    perf_counter = monotonic

    def time(self) -> float:
        return 1_700_000_000.0 + self._turns.now_s

    def sleep(self, seconds: float) -> None:
        self._turns.wait(lambda: False, until_s=self._turns.now_s + seconds)
