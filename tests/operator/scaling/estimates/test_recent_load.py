"""The pace that would have kept the objective in the last hour."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detection_operator.scaling.estimates import recent_load
from detection_operator.scaling.estimates.recent_load import RecentLoad


def after(counts: list[float], *, step_s: float = 30.0, wait_s: float = 100.0) -> RecentLoad:
    """Return the load after counts ``step_s`` apart."""
    load = recent_load.NO_LOAD
    for index, count in enumerate(counts):
        load = recent_load.absorb(load, at_s=step_s * index, count=count, wait_s=wait_s, late=0.01)
    return load


def steady(length: int, each: float = 60.0) -> list[float]:
    return [each * index for index in range(length)]


def test_a_steady_stream_needs_its_own_pace() -> None:
    # Nobody is late at 2/s; at a little less the last of an hour are.
    assert after(steady(121)).pace_per_s == pytest.approx(2.0, rel=0.05)


def test_a_burst_may_be_worked_off_while_its_messages_wait() -> None:
    burst = [0.0] * 10 + [360.0] * 110

    # 360 messages within 30 s and 80 % of 100 s more.
    assert after(burst).pace_per_s == pytest.approx(360 / 110, rel=0.05)


def test_the_pace_falls_when_the_burst_is_an_hour_old() -> None:
    burst = [0.0] * 10 + [360.0] * 110

    assert after(burst + [360.0] * 20).pace_per_s == 0.0
    # One message after it, of which none may be late in an hour.
    assert 0.0 < after(burst + [361.0] * 20).pace_per_s < 0.05


def test_few_late_messages_of_many_are_allowed() -> None:
    counts = [60.0 * index + (30.0 if index >= 60 else 0.0) for index in range(121)]

    assert after(counts).pace_per_s == pytest.approx(2.0, rel=0.05)


def test_the_mean_covers_a_quarter_of_an_hour() -> None:
    assert recent_load.mean_per_s(after([0.0])) == 0.0
    assert recent_load.mean_per_s(after(steady(10))) == pytest.approx(2.0)
    assert recent_load.mean_per_s(after(steady(60) + [3540.0] * 30)) == pytest.approx(0.0)


def test_counts_within_a_bin_change_nothing() -> None:
    load = after(steady(20))

    same = recent_load.absorb(load, at_s=575.0, count=9999.0, wait_s=100.0, late=0.01)

    assert same is load


def test_a_time_before_the_last_starts_over_and_keeps_the_pace() -> None:
    load = after(steady(20))

    again = recent_load.absorb(load, at_s=10.0, count=5.0, wait_s=100.0, late=0.01)

    assert again == RecentLoad(((10.0, 5.0),), load.pace_per_s, 10.0)


def test_it_keeps_its_age_on_a_clock_that_jumps() -> None:
    load = after(steady(20))

    moved = load.moved(1e6)

    assert moved.since_s == 1e6
    assert moved.counts[-1] == (1e6 + 570.0, 1140.0)
    assert recent_load.NO_LOAD.moved(5.0) == recent_load.NO_LOAD


@given(
    steps=st.lists(st.floats(-50.0, 500.0), min_size=1, max_size=400),
    gap_s=st.sampled_from([30.0, 45.0, 300.0]),
)
def test_the_memory_is_bounded_and_the_pace_would_have_done(
    steps: list[float], gap_s: float
) -> None:
    counts = [sum(steps[:index]) for index in range(len(steps))]

    load = after(counts, step_s=gap_s)

    assert len(load.counts) <= recent_load.REACH_S / recent_load.BIN_S + 2
    assert load.pace_per_s >= 0.0
    fastest = max((max(0.0, step) for step in steps), default=0.0) / gap_s
    assert load.pace_per_s <= max(1.3 * fastest, 0.01)
