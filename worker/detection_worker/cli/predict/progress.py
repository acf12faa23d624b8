"""A progress line at the terminal."""

import sys
import time
from typing import Final, TextIO

from detection_worker.cli.terminal import columns, fitted

PAUSE_S: Final = 0.2


class Progress:
    """Files done, files a second and time left, on one line of standard error.

    Shows nothing if the stream is not a terminal.

    Args:
        total: Number of files.
        wanted: False shows nothing.
        stream: Where to write; None is standard error.
    """

    def __init__(self, total: int, *, wanted: bool = True, stream: TextIO | None = None) -> None:
        self._total = total
        self._stream = stream or sys.stderr
        self._width = columns(self._stream) if wanted and total > 1 else None
        self._shown = ""
        self._last_s = 0.0
        self._first: tuple[int, float] | None = None

    def show(self, done: int) -> None:
        """Update the line, unless it was updated just before."""
        now_s = time.monotonic()
        if done and self._first is None:
            # The models are loaded: from here on the rate is meaningful.
            self._first = done, now_s
        if self._width is None or now_s - self._last_s < PAUSE_S:
            return
        self._last_s = now_s
        text = fitted(progress_text(done, self._total, self._rate(done, now_s)), self._width - 1)
        self._write(text)

    def clear(self) -> None:
        """Remove the line, so that others can be written."""
        if self._shown:
            self._write("")
            self._last_s = 0.0

    def _rate(self, done: int, now_s: float) -> float | None:
        if self._first is None or now_s <= self._first[1] or done <= self._first[0]:
            return None
        return (done - self._first[0]) / (now_s - self._first[1])

    def _write(self, text: str) -> None:
        self._stream.write(f"\r{text:<{len(self._shown)}}" + ("" if text else "\r"))
        self._stream.flush()
        self._shown = text


def progress_text(done: int, total: int, rate_per_s: float | None) -> str:
    """Return the line: files done, rate, time left.

    Args:
        done: Files that have a result.
        total: Number of files.
        rate_per_s: Files per second; None if not known yet.
    """
    text = f"{done} of {total} files"
    if rate_per_s is None:
        return text
    return f"{text}, {rate_per_s:.1f} files/s, {_clock((total - done) / rate_per_s)} left"


def _clock(seconds: float) -> str:
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
