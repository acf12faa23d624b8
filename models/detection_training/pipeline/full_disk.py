"""One wording for a full disk, whether this program meets it or one that it runs."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from detection_worker.errors import UsageError

FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
ENGLISH: Final = {"LC_ALL": "C"}
"""Environment in which programs say it in these words."""


@contextmanager
def worded(where: Path, *, kept: str) -> Iterator[None]:
    """Turn the error of a full disk into one for users.

    Args:
        where: Named if the error names no file.
        kept: What a second run finds again, as the end of a sentence.

    Raises:
        UsageError: The disk is full.
    """
    try:
        yield
    except OSError as exc:
        if exc.errno not in FULL:
            raise
        raise UsageError(
            f"No space left on the disk of {exc.filename or where}!\n"
            f"Free some and run the same command again: {kept}."
        ) from exc


def check_said(text: str, where: Path) -> None:
    """Raise what this program would have met where another one wrote.

    Args:
        text: What that one said when it failed, in an environment with ``ENGLISH``.
        where: Where it wrote.

    Raises:
        OSError: It said that the disk is full.
    """
    for code in FULL:
        if os.strerror(code) in text:
            raise OSError(code, os.strerror(code), str(where))
