"""Questions to the user, answered at the terminal or through standard input."""

import getpass
import sys
from collections.abc import Callable

from detection_worker.errors import UsageError


def ask(
    question: str, *, default: str = "", check: Callable[[str], str | None] | None = None
) -> str:
    """Return the answer, or ``default`` for an empty one.

    Args:
        question: Question without a colon.
        default: Answer for an empty line, shown in brackets.
        check: Returns what is wrong with an answer, or None; then the question is repeated.

    Raises:
        UsageError: The input ended.
    """
    shown = f"{question} [{default}]: " if default else f"{question}: "
    while True:
        answer = _read(shown, input) or default
        problem = check(answer) if check else None
        if problem is None:
            return answer
        print(f"  {problem}")


def ask_secret(question: str) -> str:
    """Return an answer that a terminal does not show.

    Raises:
        UsageError: The input ended.
    """
    # getpass would open the terminal even if the answer is piped.
    return _read(f"{question}: ", getpass.getpass if sys.stdin.isatty() else input)


def confirm(question: str, *, default: bool) -> bool:
    """Return yes or no.

    Raises:
        UsageError: The input ended.
    """
    words = {"y": True, "yes": True, "n": False, "no": False, "": default}
    while True:
        answer = _read(f"{question} [{'Y/n' if default else 'y/N'}]: ", input).lower()
        if answer in words:
            return words[answer]
        print("  Answer yes or no.")


def _read(shown: str, reader: Callable[[str], str]) -> str:
    try:
        return reader(shown).strip()
    except EOFError:
        print()
        raise UsageError(
            f"The input ended at the question {shown.rstrip(': ')!r}\n"
            "Answer it, or give the answer as an option."
        ) from None
