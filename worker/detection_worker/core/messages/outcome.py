"""What becomes of a message once its jobs have ended."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, Self

from detection_contract.error_codes import Disposition, ErrorCode, disposition
from detection_contract.user_messages import counted
from detection_worker.errors import JobError

BACKOFF_BASE_S = 5.0
"""Cap of the first backoff; it doubles with every delivery."""
PATIENT_BASE_S = 60.0
"""The same where the worker needs help: a queue that allows ten deliveries keeps the message for
over an hour, with the default longest pause of 15 minutes."""
_WORKERS_FAULT = frozenset({ErrorCode.CREDENTIALS, ErrorCode.NO_MODEL, ErrorCode.INTERNAL})


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why one job failed.

    Attributes:
        code: The coded reason.
        message: What was wrong, in a sentence; holds no secret.
        retry_after_s: How long the failing side asked us to wait, if it did.
        environment: The worker's own surroundings failed: the message is not to blame.
    """

    code: ErrorCode
    message: str
    retry_after_s: float | None = None
    environment: bool = False

    @classmethod
    def of(cls, error: JobError) -> Self:
        """Return why a job failed, as a value that outlives its stage."""
        return cls(
            code=error.code,
            message=error.message,
            retry_after_s=error.retry_after_s,
            environment=error.environment,
        )

    @property
    def passes(self) -> bool:
        """The cause may pass: the message is tried again."""
        return self.environment or disposition(self.code) is Disposition.RETRY

    @property
    def is_workers_fault(self) -> bool:
        """The message may succeed on another worker, or here after an operator has acted."""
        return self.environment or self.code in _WORKERS_FAULT


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What to do with a message.

    Attributes:
        action: ``delete``: all done. ``dead_letter``: with ``failure`` as the reason. ``retry``:
            visible again after ``delay_s``. ``release``: visible at once, untouched.
        delay_s: Whole seconds, 0 to 43200; 0 unless ``retry``.
        failure: None for ``delete`` and ``release``.
    """

    action: Literal["delete", "dead_letter", "retry", "release"]
    delay_s: int = 0
    failure: Failure | None = None


RELEASE: Final = Outcome(action="release")
"""The worker drains or stops: another one has the message in a second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryRules:
    """How often and how soon.

    Attributes:
        max_receive_count: ``maxReceiveCount`` of the redrive policy; None without one.
        max_backoff_s: Longest pause.
    """

    max_receive_count: int | None
    max_backoff_s: float


def backoff_s(*, receive_count: int, max_backoff_s: float, random01: float) -> float:
    """Return a pause with full jitter: uniform between 0 and base·2^(n-1), at most the cap.

    Full jitter spreads a crowd of failing messages best (Brooker, "Exponential Backoff And
    Jitter", AWS Architecture Blog, 2015).
    """
    exponent = min(receive_count - 1, 16)
    return random01 * min(max_backoff_s, BACKOFF_BASE_S * 2.0**exponent)


def decide(
    failures: Sequence[Failure], *, receive_count: int, rules: RetryRules, random01: float
) -> Outcome:
    """Return what becomes of a message whose jobs ended with ``failures``.

    One job that may succeed later keeps the whole message; the jobs that are done are remembered
    by the caller and not repeated.

    Args:
        failures: Why its failed jobs failed; empty when all succeeded.
        receive_count: Deliveries so far, >= 1.
        rules: The queue's retry rules.
        random01: Uniform in [0, 1).
    """
    if not failures:
        return Outcome(action="delete")
    passing = [f for f in failures if f.passes]
    if not passing:
        return Outcome(action="dead_letter", failure=failures[0])
    if _spent(passing, receive_count, rules):
        return Outcome(action="dead_letter", failure=_gave_up(passing[0], receive_count))
    pause_s = _pause_s(passing, receive_count, rules, random01)
    asked_s = max((f.retry_after_s or 0.0 for f in passing), default=0.0)
    delay_s = min(max(pause_s, asked_s, 1.0), max(rules.max_backoff_s, 1.0))
    return Outcome(action="retry", delay_s=round(delay_s), failure=passing[0])


def _pause_s(
    passing: Sequence[Failure], receive_count: int, rules: RetryRules, random01: float
) -> float:
    if any(not f.is_workers_fault or f.code is ErrorCode.INTERNAL for f in passing):
        return backoff_s(
            receive_count=receive_count, max_backoff_s=rules.max_backoff_s, random01=random01
        )
    # Every receive brings the message nearer to the dead-letter queue, so never at once.
    cap_s = min(rules.max_backoff_s, PATIENT_BASE_S * 2.0 ** min(receive_count - 1, 16))
    return cap_s * (1.0 + random01) / 2.0


def _spent(passing: Sequence[Failure], receive_count: int, rules: RetryRules) -> bool:
    # SQS itself would move the message at the next receive, without a reason. Failures that are
    # this worker's own fault are left to it: another worker may be healthy.
    if rules.max_receive_count is None or all(f.is_workers_fault for f in passing):
        return False
    return receive_count >= rules.max_receive_count


def _gave_up(last: Failure, receive_count: int) -> Failure:
    deliveries = counted(receive_count, "delivery", "deliveries")
    return Failure(
        code=ErrorCode.GAVE_UP,
        message=f"gave up after {deliveries}; last: {last.code}: {last.message}",
    )
