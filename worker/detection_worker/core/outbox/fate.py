"""What becomes of a callback in the outbox after an attempt, or when its host takes none."""

from dataclasses import dataclass, replace
from typing import Final, Literal

from detection_contract.error_codes import ErrorCode
from detection_contract.user_messages import counted
from detection_worker.core.messages.outcome import Failure
from detection_worker.core.outbox.schedule import LIFE_S, pause_s

OWN_PAUSE_S: Final = 60.0
"""Until the next try where the sender's own surroundings failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """How far a callback has come.

    Attributes:
        attempts: Attempts from the outbox that failed, >= 0.
        first_tried_s: When it first failed, in Unix seconds; None if it starts over.
    """

    attempts: int = 0
    first_tried_s: float | None = None


START: Final = Course()
"""The course of an entry in the dead-letter queue: moved back, it has the whole schedule again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fate:
    """What to do with an entry.

    Attributes:
        action: ``delete``: it is delivered. ``again``: it waits until ``not_before_s``.
            ``dead_letter``: with ``failure`` as the reason.
        course: Written with the entry, unless it is deleted.
        not_before_s: Unix seconds; 0 unless ``again``.
        failure: None for ``delete``, and if no attempt was made.
    """

    action: Literal["delete", "again", "dead_letter"]
    course: Course = START
    not_before_s: float = 0.0
    failure: Failure | None = None


DELIVERED: Final = Fate(action="delete")


def after_attempt(
    course: Course, failure: Failure | None, *, now_s: float, random01: float
) -> Fate:
    """Return what becomes of an entry after an attempt.

    Args:
        course: Before the attempt.
        failure: Why it failed; None if the receiver has the result.
        now_s: Current time, in Unix seconds.
        random01: Uniform in [0, 1).
    """
    if failure is None:
        return DELIVERED
    if failure.environment:
        return _again(course, OWN_PAUSE_S * (1 + random01), failure, now_s=now_s)
    if not failure.passes:
        return dead(failure)
    tried = replace(course, attempts=course.attempts + 1)
    wait_s = pause_s(tried.attempts, retry_after_s=failure.retry_after_s, random01=random01)
    if wait_s is None:
        return dead(_gave_up(tried, failure, now_s=now_s))
    return _again(tried, wait_s, failure, now_s=now_s)


def after_refusal(course: Course, last: Failure, *, wait_s: float, now_s: float) -> Fate:
    """Return what becomes of an entry that is due while its host takes none: no attempt counts.

    A host that is gone for good gets few attempts for many entries; so age ends an entry too.

    Args:
        course: Unchanged by this.
        last: Why the last attempt failed.
        wait_s: How long to wait.
        now_s: Current time, in Unix seconds.
    """
    if now_s - _since_s(course, now_s) > LIFE_S:
        return dead(_gave_up(course, last, now_s=now_s))
    return _again(course, wait_s, None, now_s=now_s)


def dead(failure: Failure) -> Fate:
    """Return the end of an entry that cannot be delivered."""
    return Fate(action="dead_letter", failure=failure)


def _again(course: Course, wait_s: float, failure: Failure | None, *, now_s: float) -> Fate:
    known = replace(course, first_tried_s=_since_s(course, now_s))
    return Fate(action="again", course=known, not_before_s=now_s + wait_s, failure=failure)


def _since_s(course: Course, now_s: float) -> float:
    return now_s if course.first_tried_s is None else course.first_tried_s


def _gave_up(course: Course, last: Failure, *, now_s: float) -> Failure:
    attempts = counted(course.attempts, "attempt")
    hours = max(0.0, now_s - _since_s(course, now_s)) / 3600
    return Failure(
        code=ErrorCode.GAVE_UP,
        message=f"gave up after {attempts} from the outbox in {hours:.1f} h; "
        f"last: {last.code}: {last.message}",
    )
