"""Runs the demonstration in a session of its own and leaves no process of it behind.

Two processes watch each other. Whichever is killed, and however, the other one ends all the rest:
the child ends itself when its parent is gone, the parent kills the whole session of the child.
"""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from types import FrameType
from typing import Final

from detection_contract.environment import EXIT_FAILED, EXIT_INTERRUPTED

STOP_S: Final = 45.0
"""For an orderly end; workers get 20 s of it to finish what they hold."""
CHECK_S: Final = 0.5
SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(BaseException):
    """The demo was interrupted by a signal."""


def supervise(command: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run a command to its end and return its exit code; nothing of its session survives.

    SIGINT, SIGTERM and SIGHUP ask it to end in order. One that takes too long is killed, and so
    is one that is asked twice. The exit code is then that of an interruption; it is that of a
    failure when another process killed it.
    """
    asked_s: list[float] = []

    def ask(_number: int, _frame: FrameType | None) -> None:
        asked_s.append(time.monotonic())

    before = {number: signal.signal(number, ask) for number in SIGNALS}
    process = subprocess.Popen(
        command, env=dict(environ), stdin=subprocess.DEVNULL, start_new_session=True
    )
    try:
        code = _wait(process, asked_s)
    finally:
        _kill_session(process)
        for number, handler in before.items():
            signal.signal(number, handler)
    if code >= 0:
        return code
    return EXIT_INTERRUPTED if asked_s else EXIT_FAILED


def _wait(process: "subprocess.Popen[bytes]", asked_s: Sequence[float]) -> int:
    told = False
    while True:
        try:
            return process.wait(CHECK_S / 5)
        except subprocess.TimeoutExpired:
            pass
        if asked_s and not told:
            process.send_signal(signal.SIGTERM)
            told = True
        if len(asked_s) > 1 or (asked_s and time.monotonic() - asked_s[0] > STOP_S):
            _kill_session(process)


def _kill_session(process: "subprocess.Popen[bytes]") -> None:
    try:
        # The child leads its session, and whatever it starts stays in its group.
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass
    finally:
        process.wait()


def end_when_asked() -> None:
    """Let SIGTERM raise ``Interrupted`` in the main thread, once: cleaning up is not disturbed.

    Also ends the process so when its parent is gone.
    """

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        raise Interrupted

    for number in SIGNALS:
        signal.signal(number, interrupt)
    watch_parent(lambda: os.kill(os.getpid(), signal.SIGTERM))


def watch_parent(orphaned: Callable[[], None]) -> None:
    """Call ``orphaned`` once, from another thread, when the parent of this process has ended."""
    parent = os.getppid()

    def watch() -> None:
        # The kernel gives an orphan another parent; nobody tells it.
        while os.getppid() == parent:
            time.sleep(CHECK_S)
        orphaned()

    threading.Thread(target=watch, name="parent", daemon=True).start()
