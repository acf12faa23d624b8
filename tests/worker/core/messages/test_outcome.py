"""What becomes of a message whose jobs ended."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detection_contract.error_codes import TRANSIENT, Disposition, ErrorCode, disposition
from detection_worker.core.messages.outcome import Failure, RetryRules, backoff_s, decide
from detection_worker.errors import JobError

RULES = RetryRules(max_receive_count=5, max_backoff_s=900)


def failure(code: ErrorCode, retry_after_s: float | None = None) -> Failure:
    return Failure(code=code, message="because", retry_after_s=retry_after_s)


def test_a_message_without_failures_is_deleted() -> None:
    assert decide([], receive_count=1, rules=RULES, random01=0.5).action == "delete"


@pytest.mark.parametrize("code", sorted(set(ErrorCode) - TRANSIENT))
def test_a_permanent_failure_is_dead_lettered_at_once_with_its_reason(code: ErrorCode) -> None:
    outcome = decide([failure(code)], receive_count=1, rules=RULES, random01=0.5)

    assert outcome.action == "dead_letter"
    assert outcome.failure is not None
    assert outcome.failure.code is code


@pytest.mark.parametrize("code", sorted(TRANSIENT))
def test_a_passing_failure_is_tried_again_after_a_pause(code: ErrorCode) -> None:
    outcome = decide([failure(code)], receive_count=1, rules=RULES, random01=0.5)

    assert outcome.action == "retry"
    assert 1 <= outcome.delay_s <= 900


def test_one_passing_failure_keeps_a_message_with_permanent_ones() -> None:
    failures = [failure(ErrorCode.UNDECODABLE), failure(ErrorCode.S3_UNAVAILABLE)]

    assert decide(failures, receive_count=1, rules=RULES, random01=0.5).action == "retry"


def test_the_last_delivery_gives_up_and_says_why() -> None:
    outcome = decide(
        [failure(ErrorCode.S3_UNAVAILABLE)], receive_count=5, rules=RULES, random01=0.5
    )

    assert outcome.action == "dead_letter"
    assert outcome.failure is not None
    assert outcome.failure.code is ErrorCode.GAVE_UP
    assert "s3_unavailable" in outcome.failure.message
    assert "5 deliveries" in outcome.failure.message


def test_without_a_redrive_policy_it_never_gives_up() -> None:
    rules = RetryRules(max_receive_count=None, max_backoff_s=900)

    outcome = decide(
        [failure(ErrorCode.S3_UNAVAILABLE)], receive_count=999, rules=rules, random01=0.5
    )

    assert outcome.action == "retry"


@pytest.mark.parametrize("code", [ErrorCode.CREDENTIALS, ErrorCode.NO_MODEL, ErrorCode.INTERNAL])
def test_a_fault_of_the_worker_never_condemns_the_message(code: ErrorCode) -> None:
    outcome = decide([failure(code)], receive_count=5, rules=RULES, random01=0.5)

    assert outcome.action == "retry"


def test_retry_after_is_honoured() -> None:
    outcome = decide(
        [failure(ErrorCode.CALLBACK_UNREACHABLE, retry_after_s=120)],
        receive_count=1,
        rules=RULES,
        random01=0.0,
    )

    assert outcome.delay_s == 120


@given(count=st.integers(1, 10_000), cap_s=st.floats(0, 43_200), random01=st.floats(0, 1))
def test_a_backoff_stays_between_zero_and_its_cap(
    count: int, cap_s: float, random01: float
) -> None:
    assert 0 <= backoff_s(receive_count=count, max_backoff_s=cap_s, random01=random01) <= cap_s


@given(
    codes=st.lists(st.sampled_from(ErrorCode), min_size=1, max_size=5),
    count=st.integers(1, 100),
    max_count=st.none() | st.integers(1, 100),
    cap_s=st.floats(0, 43_200),
    random01=st.floats(0, 0.999),
)
def test_every_failed_message_gets_an_end_that_sqs_accepts(
    codes: list[ErrorCode], count: int, max_count: int | None, cap_s: float, random01: float
) -> None:
    rules = RetryRules(max_receive_count=max_count, max_backoff_s=cap_s)

    outcome = decide(
        [failure(c) for c in codes], receive_count=count, rules=rules, random01=random01
    )

    assert outcome.action in {"retry", "dead_letter"}
    assert outcome.failure is not None
    assert 0 <= outcome.delay_s <= 43_200
    if all(disposition(c) is Disposition.DEAD_LETTER for c in codes):
        assert outcome.action == "dead_letter"


def surroundings(code: ErrorCode = ErrorCode.S3_UNAVAILABLE) -> Failure:
    return Failure(code=code, message="because", environment=True)


@pytest.mark.parametrize(
    "failed",
    [
        surroundings(),
        surroundings(ErrorCode.CREDENTIALS),
        surroundings(ErrorCode.S3_FORBIDDEN),
        failure(ErrorCode.CREDENTIALS),
        failure(ErrorCode.NO_MODEL),
    ],
)
def test_a_message_outlives_the_worker_that_needs_help(failed: Failure) -> None:
    """Ten deliveries, the least that is advised, last over half an hour in the worst case."""
    pauses = []
    for receive_count in range(1, 11):
        outcome = decide([failed], receive_count=receive_count, rules=RULES, random01=0.0)
        assert outcome.action == "retry"
        pauses.append(outcome.delay_s)

    assert pauses[0] >= 30
    assert sum(pauses) >= 1800
    assert max(pauses) <= RULES.max_backoff_s


def test_a_failure_of_the_messages_own_decides_the_pause() -> None:
    failures = [surroundings(), failure(ErrorCode.S3_UNAVAILABLE)]

    assert decide(failures, receive_count=1, rules=RULES, random01=0.0).delay_s == 1
    assert decide(failures, receive_count=5, rules=RULES, random01=0.0).action == "dead_letter"


def test_an_error_becomes_a_failure_with_all_that_decides_about_the_message() -> None:
    error = JobError(ErrorCode.S3_UNAVAILABLE, "slow down", retry_after_s=7.0, environment=True)

    assert Failure.of(error) == Failure(
        code=ErrorCode.S3_UNAVAILABLE, message="slow down", retry_after_s=7.0, environment=True
    )
