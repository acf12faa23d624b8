"""SIGTERM and SIGINT as a request instead of an end."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def asking_to_stop(ask: Callable[[signal.Signals], None]) -> Iterator[None]:
    """Call ``ask`` for each SIGTERM and SIGINT; only the main thread may set handlers."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, _frame: FrameType | None) -> None:
        ask(signal.Signals(number))

    old = {s: signal.signal(s, handle) for s in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
