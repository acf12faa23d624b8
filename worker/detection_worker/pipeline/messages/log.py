"""One way to log about a message, so that every line names it and its request."""

import logging
from typing import Protocol

from detection_contract.error_codes import ErrorCode
from detection_worker.core.messages.outcome import Failure

log = logging.getLogger(__name__)


class Subject(Protocol):
    """A message, or a job on its way through the stages."""

    @property
    def facts(self) -> dict[str, object]:
        """Fields of every log line about it: ``message_id``, ``request_id`` and more."""
        ...


def log_outcome(
    line: str,
    *,
    action: str,
    about: Subject,
    level: int = logging.INFO,
    exc_info: bool = False,
    **facts: object,
) -> None:
    """Log a sentence about a message or one of its jobs, with its facts as fields.

    JSON lines carry ``action``, ``message_id``, ``request_id``, ``receive_count`` and ``facts``.

    Args:
        line: The sentence.
        action: What is done, or was decided, in a word: ``process``, ``delete``, ``retry``.
        about: The message or job.
        level: As in ``logging``.
        exc_info: Add the traceback of the exception that is being handled.
        facts: More fields, such as ``code``.
    """
    if log.isEnabledFor(level):
        extra = {"action": action, **about.facts, **facts}
        log.log(level, "%s", line, exc_info=exc_info, extra=extra)


def log_bug(about: Subject, line: str) -> Failure:
    """Log the exception that is being handled, which nobody foresaw; return it as a failure."""
    code = ErrorCode.INTERNAL
    log_outcome(
        line, action="fail", about=about, level=logging.ERROR, exc_info=True, code=code.value
    )
    return Failure(code=code, message="internal error")
