"""Text for a terminal: without control characters, fitted to its width."""

import shutil
import textwrap
import unicodedata
from typing import Final, TextIO

from detection_contract.aws.s3_urls import redact_url
from detection_worker.report.texts import printable

ELLIPSIS: Final = "…"
MIN_COLUMNS: Final = 40
"""A narrower terminal wraps lines by itself."""


def shown(name: str) -> str:
    """Return a path or URL for the terminal: no signature, no control character."""
    return printable(redact_url(name) if "://" in name else name)


def columns(stream: TextIO) -> int | None:
    """Return the width of the terminal behind ``stream``; None if it is no terminal."""
    return max(MIN_COLUMNS, shutil.get_terminal_size().columns) if stream.isatty() else None


def cells(text: str) -> int:
    """Return how many columns a terminal needs for ``text``."""
    return sum(_cells(character) for character in text)


def fitted(text: str, width: int | None, *, keep_end: bool = False) -> str:
    """Return ``text`` cut to ``width`` columns, with an ellipsis where something is missing.

    Args:
        text: Printable text.
        width: Columns, at least 1; None cuts nothing.
        keep_end: Cut off the start instead of the end, as for paths.
    """
    if width is None or cells(text) <= width:
        return text
    room, kept = width - 1, 0
    source = reversed(text) if keep_end else iter(text)
    for character in source:
        if (room := room - _cells(character)) < 0:
            break
        kept += 1
    return ELLIPSIS + text[len(text) - kept :] if keep_end else text[:kept] + ELLIPSIS


def wrapped(label: str, text: str, width: int | None) -> str:
    """Return ``text`` behind ``label``, broken between words, further lines below its start."""
    if width is None:
        return label + text
    return textwrap.fill(
        text,
        width,
        initial_indent=label,
        subsequent_indent=" " * len(label),
        break_long_words=False,
        break_on_hyphens=False,
    )


def _cells(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
