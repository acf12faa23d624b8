"""Progress of a long command: a line at the terminal, or lines in a log."""

import sys
import time
from typing import Final, TextIO

from detection_worker.cli.terminal import columns, fitted

PAUSE_S: Final = 0.2
LINES_S: Final = 15.0
"""Seconds between two lines where there is no terminal."""


class Progress:
    """What is done, how much a second and the time left, on one line of standard error.

    Args:
        total: How many there are; None if that is not known.
        wanted: False shows nothing.
        stream: Where to write; None is standard error.
        unit: What is counted, in the plural.
        lines: Write a line now and then if the stream is not a terminal; otherwise nothing.
        done_before: How many an earlier run has done.
    """

    def __init__(
        self,
        total: int | None,
        *,
        wanted: bool = True,
        stream: TextIO | None = None,
        unit: str = "files",
        lines: bool = False,
        done_before: int = 0,
    ) -> None:
        self._total = total
        self._unit = unit
        self._stream = stream or sys.stderr
        shows = wanted and (total is None or total > 1)
        self._width = columns(self._stream) if shows else None
        self._lines = lines and shows and self._width is None
        self._shown = ""
        self._last_s = time.monotonic() if self._lines else 0.0
        self._first = (done_before, time.monotonic()) if done_before or lines else None

    def show(self, done: int) -> None:
        """Update the line, unless it was updated just before."""
        now_s = time.monotonic()
        if done and self._first is None:
            # The models are loaded: from here on the rate is meaningful.
            self._first = done, now_s
        if self._lines and now_s - self._last_s >= LINES_S:
            self._last_s = now_s
            print(self._text(done, now_s), file=self._stream, flush=True)
        if self._width is None or now_s - self._last_s < PAUSE_S:
            return
        self._last_s = now_s
        self._write(fitted(self._text(done, now_s), self._width - 1))

    def clear(self) -> None:
        """Remove the line, so that others can be written."""
        if self._shown:
            self._write("")
            self._last_s = 0.0

    def _text(self, done: int, now_s: float) -> str:
        return progress_text(done, self._total, self._rate(done, now_s), unit=self._unit)

    def _rate(self, done: int, now_s: float) -> float | None:
        if self._first is None or now_s <= self._first[1] or done <= self._first[0]:
            return None
        return (done - self._first[0]) / (now_s - self._first[1])

    def _write(self, text: str) -> None:
        self._stream.write(f"\r{text:<{len(self._shown)}}" + ("" if text else "\r"))
        self._stream.flush()
        self._shown = text


def progress_text(
    done: int, total: int | None, rate_per_s: float | None, *, unit: str = "files"
) -> str:
    """Return the line: how much is done, rate, time left.

    Args:
        done: How many are done.
        total: How many there are; None if that is not known.
        rate_per_s: How many a second; None if not known yet.
        unit: What is counted, in the plural.
    """
    text = f"{done} {unit}" if total is None else f"{done} of {total} {unit}"
    if rate_per_s is None:
        return text
    text = f"{text}, {rate_per_s:.1f} {unit}/s"
    return text if total is None else f"{text}, {_clock((total - done) / rate_per_s)} left"


def _clock(seconds: float) -> str:
    minutes, second = divmod(max(0, round(seconds)), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
