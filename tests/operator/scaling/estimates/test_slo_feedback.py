"""How a promise that was broken changes what is kept for the next burst."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detection_operator.scaling.estimates.slo_feedback import HIGHEST, SloFeedback, absorb

ALLOWED = 0.01
EXCUSE_S = 240.0
BATCHES = st.lists(
    st.integers(min_value=0, max_value=500).flatmap(
        lambda received: st.tuples(st.just(received), st.integers(min_value=0, max_value=received))
    ),
    max_size=50,
)


def after(
    batches: list[tuple[int, int]], *, ready: int = 5, scale: float = 1000.0, start: float = 0.0
) -> SloFeedback:
    """Return the caution after batches of (received, late), 5 s apart."""
    caution = SloFeedback(level=start)
    for index, (received, late) in enumerate(batches):
        caution = absorb(
            caution,
            received=received,
            late=late,
            allowed=ALLOWED,
            scale=scale,
            ready=ready,
            excuse_s=EXCUSE_S,
            now_s=1_000_000.0 + 5.0 * index,
        )
    return caution


@given(BATCHES)
def test_the_factor_stays_within_its_bounds(batches: list[tuple[int, int]]) -> None:
    assert 0.0 <= after(batches).level <= HIGHEST
    assert after(batches).factor >= 1.0


@given(BATCHES)
def test_more_late_messages_never_make_less_cautious(batches: list[tuple[int, int]]) -> None:
    all_late = [(received, received) for received, _ in batches]

    assert after(all_late).level >= after(batches).level


def test_a_late_burst_raises_it_and_messages_in_time_lower_it_again() -> None:
    burst = after([(300, 200)])
    later = after([(300, 200), *[(300, 0)] * 30])

    assert burst.level == pytest.approx((200 - ALLOWED * 300) / 1000.0)
    assert 0.0 < later.level < burst.level


def test_it_rests_where_just_the_allowed_share_is_late() -> None:
    assert after([(100, 1)] * 50, start=0.2).level == pytest.approx(0.2)


def test_a_handful_of_late_messages_is_no_trend() -> None:
    assert after([(3, 3)], scale=0.0).level == pytest.approx(0.0297)


def test_a_start_from_nothing_teaches_nothing() -> None:
    caution = after([(0, 0)], ready=0)
    soon = absorb(
        caution,
        received=300,
        late=300,
        allowed=ALLOWED,
        scale=1000.0,
        ready=5,
        excuse_s=EXCUSE_S,
        now_s=1_000_000.0 + EXCUSE_S - 1.0,
    )
    later = absorb(
        caution,
        received=300,
        late=300,
        allowed=ALLOWED,
        scale=1000.0,
        ready=5,
        excuse_s=EXCUSE_S,
        now_s=1_000_000.0 + EXCUSE_S,
    )

    assert soon.level == 0.0
    assert later.level > 0.0
