"""Ports that note every call, and at one of them kill or freeze their own process."""

import json
import os
import signal
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, Literal, NamedTuple

Side = Literal["before", "after"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """Where a process dies.

    Attributes:
        call: Port and method, as in ``ResultStore.put``.
        side: Before the call is made, or after it has returned or raised.
        number: Which call of this method in this process, from 1 on.
    """

    call: str
    side: Side = "after"
    number: int = 1

    def __str__(self) -> str:
        return f"{self.side} {self.call}" + (f" {self.number}" if self.number > 1 else "")

    @classmethod
    def from_text(cls, text: str) -> "Kill":
        """Read what ``str`` wrote: ``after Notifier.publish 2``.

        Raises:
            ValueError: It is nothing of the kind.
        """
        side, call, *number = text.split()
        if side not in ("before", "after") or len(number) > 1:
            raise ValueError(f"not a place to die at: {text!r}")
        return cls(
            call=call,
            side="before" if side == "before" else "after",
            number=int(number[0]) if number else 1,
        )


class Call(NamedTuple):
    """One call of a port.

    Attributes:
        pid: Process that made it.
        name: Port and method.
        returned: False when it began, True when it had returned or raised.
    """

    pid: int
    name: str
    returned: bool


class Watch:
    """Wraps ports. Thread-safe.

    Args:
        calls: File that every call is noted in, by all processes of a case.
        kill: Where this process dies; None lets it live.
        number: The signal that it sends itself there: SIGKILL, or SIGSTOP to be frozen.
    """

    def __init__(
        self,
        calls: Path,
        kill: Kill | None = None,
        *,
        number: signal.Signals = signal.SIGKILL,
    ) -> None:
        self._calls = calls
        self._kill = kill
        self._signal = number
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def wrap(self, port: str, target: Any) -> Any:
        """Return a stand-in for ``target`` whose public methods are watched."""
        return _Watched(port, target, self)

    def around(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        """Return a method that notes when it is called and when it returns, or dies there."""

        @wraps(method)
        def call(*args: Any, **kwargs: Any) -> Any:
            with self._lock:
                self._counts[name] += 1
                number = self._counts[name]
                self._note(Call(os.getpid(), name, returned=False))
                self._die_at(name, "before", number)
            try:
                return method(*args, **kwargs)
            finally:
                with self._lock:
                    self._note(Call(os.getpid(), name, returned=True))
                    self._die_at(name, "after", number)

        return call

    def _die_at(self, name: str, side: Side, number: int) -> None:
        if self._kill == Kill(call=name, side=side, number=number):
            os.kill(os.getpid(), self._signal)

    def _note(self, call: Call) -> None:
        # A short line, in one write to a file opened for appending, stays whole among others.
        with self._calls.open("a") as file:
            file.write(json.dumps(call) + "\n")


class _Watched:
    def __init__(self, port: str, target: Any, watch: Watch) -> None:
        self._port = port
        self._target = target
        self._watch = watch

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._target, name)
        if name.startswith("_") or not callable(value):
            return value
        return self._watch.around(f"{self._port}.{name}", value)


def calls_in(path: Path) -> list[Call]:
    """Return the calls that processes noted, in order."""
    return [Call(*json.loads(line)) for line in path.read_text().splitlines()]
