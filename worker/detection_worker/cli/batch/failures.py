"""Errors of S3 and SQS as what the user reads."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from detection_worker.aws_session import explain_credentials, is_credentials_error
from detection_worker.cli.predict.next_steps import STEPS
from detection_worker.errors import JobError, UsageError
from detection_worker.sources.base import QueueError

_AGAIN = "Try again; --verbose shows more."


@contextmanager
def explained(done: Callable[[], str] = lambda: "") -> Iterator[None]:
    """Turn ``JobError`` and ``QueueError`` into ``UsageError`` with the next step.

    Args:
        done: Returns what was done before, as a sentence for the last line; empty for nothing.
    """
    try:
        yield
    except JobError as exc:
        cause = exc.__cause__
        text = f"{exc.message}\n{STEPS.get(exc.code, _AGAIN)}"
        if cause is not None and is_credentials_error(cause):
            text = explain_credentials(cause)  # tells a wrong clock from wrong keys
        raise UsageError(_with(text, done())) from exc
    except QueueError as exc:
        text = str(exc) if "\n" in str(exc) else f"{exc}\n{_AGAIN}"
        raise UsageError(_with(text, done())) from exc


def _with(text: str, done: str) -> str:
    return f"{text}\n{done}" if done else text
