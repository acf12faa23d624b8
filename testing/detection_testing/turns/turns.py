"""Threads of which one runs at a time: who goes on is decided at every step.

Each actor is a real thread, so the code under test is the code that runs in production. It gives
up its turn where it waits, where it takes a lock and where it calls another service; the next one
is picked at random, from a seed. Time passes only when nobody can go on, or as a test says.
"""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Final

TOLD: Final = 400
"""Lines of the trace that an error gets."""
HANG_S: Final = 60.0
"""An actor that keeps its turn for longer waits for something real."""


def _taken() -> threading.Lock:
    lock = threading.Lock()
    lock.acquire()
    return lock


class Killed(BaseException):
    """The process of an actor was killed: it must not go on."""


@dataclass(slots=True, kw_only=True, eq=False)
class Actor:
    """One thread.

    Attributes:
        name: For the trace.
        process: Those that are killed together.
        ready: Says whether it can go on.
        until_s: When it goes on at the latest; None waits for ``ready`` alone.
        killed: It ends at its next step.
        ended: It has.
    """

    name: str
    process: str
    ready: Callable[[], bool] = lambda: True
    until_s: float | None = None
    killed: bool = False
    ended: bool = False
    go: threading.Lock = field(default_factory=_taken)


class Turns:
    """Hands the turn from one thread to another.

    Args:
        random: Decides who goes on: the same seed gives the same run.
        constancy: How likely an actor that could go on does, 0 to 1.

    Attributes:
        now_s: Monotonic seconds of all actors.
        trace: What happened, for the message of a failed test.
    """

    def __init__(self, random: Random, *, constancy: float = 0.5) -> None:
        self.random = random
        self.now_s = 1000.0
        self.trace: list[str] = []
        self._constancy = constancy
        self._actors: list[Actor] = []
        self._left = 0
        self._back = _taken()
        self._local = threading.local()
        self._bug: BaseException | None = None

    # -- for actors ----------------------------------------------------------------------------

    @property
    def current(self) -> Actor | None:
        """The actor that this code runs in; None in the thread of the test."""
        found: Actor | None = getattr(self._local, "actor", None)
        return found

    def pause(self) -> None:
        """Let another one go on."""
        self.wait(_always)

    def wait(self, ready: Callable[[], bool], *, until_s: float | None = None) -> bool:
        """Give up the turn until ``ready`` returns True; False if ``until_s`` came first."""
        actor = self.current
        if actor is None:
            return ready()
        if actor.killed:
            raise Killed
        actor.ready, actor.until_s = ready, until_s
        self._pass_on(actor)
        if actor.killed:
            raise Killed
        return ready()

    def note(self, what: str) -> None:
        """Write a line of the trace."""
        actor = self.current
        self.trace.append(f"{self.now_s:.1f} {actor.name if actor else '-'}: {what}")

    # -- for the test --------------------------------------------------------------------------

    def spawn(self, run: Callable[[], None], *, name: str, process: str | None = None) -> Actor:
        """Add an actor; by default it belongs to the process of the one that adds it."""
        if process is None:
            process = self.current.process if self.current else ""
        actor = Actor(name=f"{process}/{name}", process=process)
        self._actors.append(actor)
        threading.Thread(target=self._run, args=(actor, run), daemon=True).start()
        return actor

    def go_on(self, steps: int) -> bool:
        """Let actors go on for so many steps; False if none ever can again."""
        self._left = steps
        actor = self._next(None)
        if actor is not None:
            self._hand_to(actor)
        return actor is not None

    def kill(self, process: str) -> None:
        """End all actors of a process where they are; nothing they would do next happens."""
        doomed = [a for a in self._actors if a.process == process]
        for actor in doomed:
            actor.killed = True
        self._left = 0
        for actor in doomed:
            self._hand_to(actor)
            if not actor.ended:
                raise RuntimeError(f"{actor.name} goes on after it was killed")

    @contextmanager
    def during(self, run: str) -> Iterator[None]:
        """Keep logs quiet while actors run, then end all; an error tells ``run`` and the trace."""
        logging.disable(logging.CRITICAL)
        try:
            yield
        except BaseException as exc:
            exc.add_note("\n".join([run, *self.trace[-TOLD:]]))
            raise
        finally:
            try:
                self.end()
            finally:
                logging.disable(logging.NOTSET)

    def end(self) -> None:
        """Kill all."""
        for process in {a.process for a in self._actors}:
            self.kill(process)

    def _hand_to(self, actor: Actor) -> None:
        actor.go.release()
        if not self._back.acquire(timeout=HANG_S):
            raise RuntimeError(f"an actor keeps its turn: {self.trace[-1:]}")
        if self._bug is not None:
            bug, self._bug = self._bug, None
            raise bug

    def _pass_on(self, actor: Actor) -> None:
        self._left -= 1
        following = None
        if self._left > 0 and self._bug is None and not actor.killed:
            following = self._next(None if actor.ended else actor)
        if following is not actor:
            (self._back if following is None else following.go).release()
            if not actor.ended:
                actor.go.acquire()

    def _next(self, last: Actor | None) -> Actor | None:
        """Choose who goes on; if nobody can, time passes until one can."""
        if last is not None and self._is_able(last) and self.random.random() < self._constancy:
            return last
        able = [a for a in self._actors if self._is_able(a)]
        if not able:
            times = [a.until_s for a in self._actors if a.until_s is not None]
            if not times:
                return None
            self.now_s = max(self.now_s, min(times))
            able = [a for a in self._actors if self._is_able(a)]
        return self.random.choice(able)

    def _is_able(self, actor: Actor) -> bool:
        until_s = actor.until_s
        return (until_s is not None and until_s <= self.now_s) or actor.ready()

    def _run(self, actor: Actor, run: Callable[[], None]) -> None:
        self._local.actor = actor
        actor.go.acquire()
        try:
            if not actor.killed:
                run()
        except Killed:
            pass
        except BaseException as exc:  # noqa: BLE001 - raised again in the thread of the test
            self._bug = exc
        actor.ended = True
        self._actors.remove(actor)
        self._pass_on(actor)


def _always() -> bool:
    return True
