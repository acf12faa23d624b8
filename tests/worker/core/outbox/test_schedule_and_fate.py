"""When callbacks are tried again, and what becomes of them."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detection_contract.error_codes import Disposition, ErrorCode, disposition
from detection_worker.core.messages.outcome import Failure
from detection_worker.core.outbox.fate import (
    DELIVERED,
    OWN_PAUSE_S,
    START,
    Course,
    after_attempt,
    after_refusal,
)
from detection_worker.core.outbox.schedule import (
    LIFE_S,
    LONGEST_S,
    MAX_HOP_S,
    PAUSES_S,
    hop_s,
    pause_s,
)

DOWN = Failure(code=ErrorCode.CALLBACK_UNREACHABLE, message="it answered 503")
UNIFORM = st.floats(0, 1, exclude_max=True)
NOW_S = 1_800_000_000.0


def test_the_schedule_is_that_of_standard_webhooks() -> None:
    hours = [5 / 3600, 5 / 60, 0.5, 2, 5, 10, 14, 20, 24]

    assert [p / 3600 for p in PAUSES_S] == pytest.approx(hours)
    assert [pause_s(n, retry_after_s=None, random01=0.0) for n in range(10)] == [*PAUSES_S, None]


@given(low=UNIFORM, high=UNIFORM, attempts=st.integers(0, len(PAUSES_S) - 2))
def test_pauses_grow_whatever_the_jitter(low: float, high: float, attempts: int) -> None:
    first = pause_s(attempts, retry_after_s=None, random01=low)
    second = pause_s(attempts + 1, retry_after_s=None, random01=high)

    assert first is not None
    assert second is not None
    assert first < second


@given(st.integers(0, 8), st.floats(0, 1e12), UNIFORM)
def test_what_a_receiver_asks_for_is_honoured_within_a_day(
    attempts: int, asked_s: float, random01: float
) -> None:
    wait_s = pause_s(attempts, retry_after_s=asked_s, random01=random01)

    assert wait_s is not None
    assert min(asked_s, LONGEST_S) <= wait_s <= LONGEST_S


@given(st.floats(-1e9, 1e9))
def test_hops_are_delays_that_sqs_takes(left_s: float) -> None:
    hop = hop_s(NOW_S + left_s, now_s=NOW_S)

    if hop is None:
        assert left_s < 1e-3 or left_s > LONGEST_S - 1
    else:
        assert 1 <= hop <= MAX_HOP_S
        assert hop == MAX_HOP_S or hop >= left_s - 1e-3


@given(st.floats(0.001, LONGEST_S - 1))
def test_hops_reach_the_time_that_was_meant(left_s: float) -> None:
    now_s, hops = NOW_S, 0
    while (hop := hop_s(NOW_S + left_s, now_s=now_s)) is not None:
        now_s += hop
        hops += 1

    assert NOW_S + left_s <= now_s < NOW_S + left_s + 1.001
    assert hops == math.ceil(left_s / MAX_HOP_S) or hops == math.ceil((left_s + 1) / MAX_HOP_S)


@given(st.lists(UNIFORM, min_size=9, max_size=9))
def test_an_entry_has_nine_attempts_in_about_three_days(randoms: list[float]) -> None:
    now_s, course, attempts = NOW_S, Course(first_tried_s=NOW_S), 0
    first = pause_s(0, retry_after_s=None, random01=randoms[0])
    assert first is not None
    now_s += first
    while True:
        attempts += 1
        random01 = randoms[attempts % 9]
        fate = after_attempt(course, DOWN, now_s=now_s, random01=random01)
        if fate.action == "dead_letter":
            break
        course, now_s = fate.course, fate.not_before_s

    assert attempts == 9
    assert sum(PAUSES_S) <= now_s - NOW_S <= LIFE_S
    assert fate.failure is not None
    assert fate.failure.code is ErrorCode.GAVE_UP
    assert "9 attempts" in fate.failure.message
    assert fate.failure.message.endswith("last: callback_unreachable: it answered 503")


def test_a_delivered_entry_is_deleted() -> None:
    assert after_attempt(Course(attempts=3), None, now_s=NOW_S, random01=0.5) == DELIVERED


@given(st.sampled_from(ErrorCode), st.integers(0, 20), UNIFORM)
def test_an_entry_is_never_lost(code: ErrorCode, attempts: int, random01: float) -> None:
    failure = Failure(code=code, message="reason")

    fate = after_attempt(Course(attempts=attempts), failure, now_s=NOW_S, random01=random01)

    assert fate.action in ("again", "dead_letter")
    if disposition(code) is Disposition.DEAD_LETTER:
        assert (fate.action, fate.failure) == ("dead_letter", failure)
    if fate.action == "dead_letter":
        assert fate.course == START
        assert fate.failure is not None
    else:
        assert fate.not_before_s > NOW_S
        assert fate.course.attempts == attempts + 1
        assert fate.course.first_tried_s == NOW_S


@given(UNIFORM)
def test_the_senders_own_trouble_costs_no_attempt(random01: float) -> None:
    failure = Failure(code=ErrorCode.CREDENTIALS, message="no key", environment=True)
    course = Course(attempts=8, first_tried_s=NOW_S - 10 * LIFE_S)

    fate = after_attempt(course, failure, now_s=NOW_S, random01=random01)

    assert (fate.action, fate.course) == ("again", course)
    assert OWN_PAUSE_S <= fate.not_before_s - NOW_S <= 2 * OWN_PAUSE_S


@given(st.floats(0, 2 * LIFE_S), st.floats(5, 900))
def test_waiting_for_a_host_costs_no_attempt_until_the_entry_is_too_old(
    age_s: float, wait_s: float
) -> None:
    course = Course(attempts=2, first_tried_s=NOW_S - age_s)

    fate = after_refusal(course, DOWN, wait_s=wait_s, now_s=NOW_S)

    if age_s > LIFE_S + 1:
        assert fate.action == "dead_letter"
        assert fate.failure is not None
        assert fate.failure.code is ErrorCode.GAVE_UP
    elif age_s < LIFE_S - 1:
        assert fate.action == "again"
        assert fate.course == course
        assert fate.not_before_s == NOW_S + wait_s


def test_an_entry_that_starts_over_has_the_whole_schedule_again() -> None:
    waits = after_refusal(START, DOWN, wait_s=60.0, now_s=NOW_S)
    fails = after_attempt(START, DOWN, now_s=NOW_S, random01=0.0)

    assert waits.course == Course(attempts=0, first_tried_s=NOW_S)
    assert fails.course == Course(attempts=1, first_tried_s=NOW_S)
    assert fails.not_before_s == NOW_S + 300
