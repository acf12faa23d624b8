import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detection_operator.scaling.estimates import profile
from detection_operator.scaling.estimates.profile import (
    DAY,
    LEAST,
    RING,
    SLOT_S,
    TRUSTED,
    UNKNOWN,
    WEEK,
    Expected,
    Profile,
    absorb,
    expected,
    level,
    messages_in,
    packed,
    restored,
    unpacked,
)

MONDAY = 20_461 * DAY
"""Slot of 2026-01-08T00:00:00Z; what day of the week that is does not matter."""
NINE = 9 * 12
"""Slot of nine o'clock in its day."""
BURST = 600.0


def measured(slots: dict[int, float], *, start: int, end: int, old: Profile = UNKNOWN) -> Profile:
    """Return the profile after one sample in each slot from ``start`` to ``end``."""
    count, known = 0.0, old
    for slot in range(start, end + 1):
        known = absorb(known, at_s=slot * SLOT_S, count=count, continuous=slot > start)
        count += slots.get(slot, 0.0)
    return known


def bursts(*days: int, at: int = NINE, slots: int = 12) -> dict[int, float]:
    """Return a burst of an hour on days, counted from the first."""
    return {MONDAY + day * DAY + at + n: BURST for day in days for n in range(slots)}


def ahead(known: Profile, slot: int, *, slots: int = 1) -> Expected | None:
    now_s = float(slot * SLOT_S)
    return expected(known, now_s=now_s, until_s=now_s + slots * SLOT_S)


def test_what_came_yesterday_is_expected_before_it_comes() -> None:
    rise = MONDAY + DAY + NINE
    known = measured(bursts(0), start=MONDAY, end=rise - 1)

    found = ahead(known, rise - 1)

    assert found is not None
    assert (found.slot, found.lag) == (rise, DAY)
    assert found.per_s == pytest.approx(BURST / SLOT_S, rel=0.05)
    assert ahead(measured(bursts(0), start=MONDAY, end=rise - 2), rise - 2) is None, "not yet"


@pytest.mark.parametrize("days", [(0, 1), (0,)], ids=["it came", "it did not come"])
def test_once_a_slot_of_it_is_over_the_present_says_more(days: tuple[int, ...]) -> None:
    rise = MONDAY + DAY + NINE

    assert ahead(measured(bursts(*days), start=MONDAY, end=rise), rise) is not None
    assert ahead(measured(bursts(*days), start=MONDAY, end=rise + 1), rise + 1) is None


def test_a_steeper_step_of_a_rise_is_expected_too() -> None:
    slots = bursts(0) | {MONDAY + NINE + n: 3 * BURST for n in range(4, 8)}
    step = MONDAY + DAY + NINE + 4
    known = measured(slots | bursts(1), start=MONDAY, end=step - 1)

    found = ahead(known, step - 1)

    assert found is not None
    assert found.slot == step


def test_a_queue_less_than_a_day_old_expects_nothing() -> None:
    known = measured(bursts(0), start=MONDAY, end=MONDAY + DAY - 1)

    assert all(ahead(known, MONDAY + n) is None for n in range(DAY - 1))


def test_few_messages_are_no_season() -> None:
    slots = {MONDAY + NINE: LEAST - 2}

    assert ahead(measured(slots, start=MONDAY, end=MONDAY + DAY + NINE - 1), MONDAY + DAY) is None


def test_a_day_that_was_wrong_twice_in_a_row_is_not_believed_until_it_is_right() -> None:
    moving = {k: v for day in range(6) for k, v in bursts(day, at=NINE + 24 * day % 200).items()}
    settled = moving | bursts(6, 7, at=12)

    lost = measured(moving, start=MONDAY, end=MONDAY + 6 * DAY + 11)
    found = measured(settled, start=MONDAY, end=MONDAY + 8 * DAY + 11)

    assert lost.agreements[0].share < 1 / 4
    assert ahead(lost, MONDAY + 6 * DAY + NINE - 1 + 24 * 5 % 200) is None
    assert ahead(found, MONDAY + 8 * DAY + 11) is not None


def test_weekends_are_known_from_the_week_before() -> None:
    slots = bursts(0, 1, 2, 3, 4, 7, 8, 9, 10, 11)

    def at_nine(day: int) -> Expected | None:
        rise = MONDAY + day * DAY + NINE
        return ahead(measured(slots, start=MONDAY, end=rise - 1), rise - 1)

    assert at_nine(5) is not None, "the first Saturday looks like a day after Friday"
    assert at_nine(6) is None
    assert (monday := at_nine(7)) is not None
    assert monday.lag == WEEK
    assert at_nine(12) is None, "the second Saturday is like the first"


def test_a_change_of_the_clock_costs_one_day() -> None:
    earlier = NINE - 12
    slots = bursts(*range(8)) | bursts(8, 9, 10, at=earlier)

    def at(day: int, hour: int) -> Expected | None:
        rise = MONDAY + day * DAY + hour
        return ahead(measured(slots, start=MONDAY, end=rise - 1), rise - 1)

    assert at(8, earlier) is None, "nobody expects it the first time"
    assert at(8, NINE) is not None
    assert at(9, earlier) is not None
    assert at(10, earlier) is not None
    assert at(10, NINE) is None


def test_a_restart_within_the_burst_still_expects_the_rest() -> None:
    present = MONDAY + DAY + NINE + 3
    before = measured(bursts(0, 1), start=MONDAY, end=present)
    now_s = present * SLOT_S + 100.0

    known = restored(
        unpacked(packed(before.levels)),
        since_s=MONDAY * SLOT_S,
        seen_s=now_s - 30,
        now_s=now_s,
        shares=(1.0, 1.0),
    )
    known = absorb(known, at_s=now_s, count=0.0, continuous=False)

    found = expected(known, now_s=now_s, until_s=now_s + 200)
    assert found is not None
    assert messages_in(known, present - 1) == messages_in(before, present - 1)


def test_what_came_while_nobody_counted_is_not_taken_from_the_week_before() -> None:
    known = measured(bursts(*range(9)), start=MONDAY, end=MONDAY + 9 * DAY)
    seen_s = (MONDAY + 9 * DAY) * SLOT_S
    now_s = seen_s + DAY * SLOT_S

    found = restored(
        known.levels, since_s=MONDAY * SLOT_S, seen_s=seen_s, now_s=now_s, shares=(1.0, 1.0)
    )

    assert messages_in(found, MONDAY + 9 * DAY + NINE) == 0
    assert messages_in(found, MONDAY + 8 * DAY + NINE) > 0


def test_a_restart_after_a_quiet_day_does_not_bring_back_a_day_that_was_wrong() -> None:
    monday = MONDAY + 14 * DAY
    slots = {
        MONDAY + day * DAY + hour * 12 + slot: 100.0
        for day in range(13)
        for hour in [random.Random(day).randrange(20)]
        for slot in range(12)
    }
    before = measured(slots, start=MONDAY, end=monday)
    shares = (before.agreements[0].share, before.agreements[1].share)
    assert max(shares) < TRUSTED
    now_s = monday * SLOT_S + 60.0

    after = restored(
        before.levels, since_s=MONDAY * SLOT_S, seen_s=now_s - 30, now_s=now_s, shares=shares
    )

    assert [agreement.share for agreement in after.agreements] == pytest.approx(shares)
    for hour in range(24):
        rise_s = now_s + hour * 3600
        assert expected(after, now_s=rise_s, until_s=rise_s + 300) is None


def test_a_share_is_kept_where_nothing_came_for_a_week() -> None:
    now_s = (MONDAY + 9 * DAY) * SLOT_S
    after = restored(
        bytes(RING), since_s=MONDAY * SLOT_S, seen_s=now_s, now_s=now_s, shares=(0.0, 0.5)
    )

    assert [agreement.share for agreement in after.agreements] == [0.0, 0.5]


def test_the_slot_of_a_short_restart_is_like_the_one_before() -> None:
    present = MONDAY + DAY + NINE + 3
    before = measured(bursts(0, 1), start=MONDAY, end=present)
    seen_s = present * SLOT_S + 200.0

    def at(since: int, away: int) -> Profile:
        now_s = seen_s + away * SLOT_S
        return restored(
            before.levels, since_s=since * SLOT_S, seen_s=seen_s, now_s=now_s, shares=(1.0, 1.0)
        )

    last = messages_in(before, present - 1)
    assert last > 0
    assert [messages_in(at(MONDAY, 2), present + slot) for slot in range(3)] == [last] * 3
    assert messages_in(at(MONDAY, 3), present) == 0, "a long one"
    assert messages_in(at(present, 1), present) == 0, "nothing was measured before"


def test_a_series_of_samples_that_breaks_starts_again() -> None:
    known = measured({}, start=MONDAY, end=MONDAY + 3)
    late_s = (MONDAY + 3 + 4) * SLOT_S

    gap = absorb(known, at_s=late_s, count=5000.0, continuous=True)
    back = absorb(known, at_s=late_s - 10 * SLOT_S, count=5000.0, continuous=True)
    young = absorb(gap, at_s=late_s + SLOT_S, count=5600.0, continuous=True)
    short = absorb(
        replace(gap, opened=replace(gap.opened, at_s=late_s + 290.0)) if gap.opened else gap,
        at_s=late_s + SLOT_S,
        count=5600.0,
        continuous=True,
    )

    assert gap.levels == back.levels == known.levels == short.levels
    assert messages_in(young, MONDAY + 7) == pytest.approx(600, rel=0.05)


def test_two_slots_without_a_sample_share_the_messages() -> None:
    known = measured({}, start=MONDAY, end=MONDAY)

    late = absorb(known, at_s=(MONDAY + 2) * SLOT_S, count=800.0, continuous=True)

    assert [messages_in(late, MONDAY + n) for n in range(2)] == [pytest.approx(400, rel=0.05)] * 2


@given(st.floats(0, 2**31))
def test_levels_keep_the_ratio(messages: float) -> None:
    known = measured({MONDAY: messages}, start=MONDAY, end=MONDAY + 1)

    assert 1 + messages_in(known, MONDAY) == pytest.approx(1 + messages, rel=0.05)


@given(st.integers(0, 2**32), st.integers(0, 248))
@settings(max_examples=30, deadline=None)
def test_a_ring_as_text_is_bounded_and_comes_back(seed: int, top: int) -> None:
    rng = random.Random(seed)
    levels = bytes(rng.randint(0, top) for _ in range(RING))

    assert unpacked(packed(levels)) == levels
    assert len(packed(levels)) <= 3100


@pytest.mark.parametrize(
    "text",
    [None, "", "é", "AAAA", "not base64!", packed(bytes(RING))[:-8], packed(bytes(10))],
)
def test_another_text_is_no_profile(text: object) -> None:
    with pytest.raises(ValueError, match="profile"):
        unpacked(text)


def test_levels_above_the_top_are_no_profile() -> None:
    with pytest.raises(ValueError, match="up to 248"):
        unpacked(bytes([255] * RING))


@given(
    st.lists(st.tuples(st.floats(0, 3e5), st.floats(0, 1e6), st.booleans()), max_size=40),
    st.floats(0, 4e5),
)
@settings(max_examples=100, deadline=None)
def test_whatever_is_sampled_what_is_expected_came_before(
    samples: list[tuple[float, float, bool]], now_s: float
) -> None:
    known = UNKNOWN
    for at_s, count, continuous in samples:
        known = absorb(known, at_s=at_s, count=count, continuous=continuous)

    found = expected(known, now_s=now_s, until_s=now_s + 600)

    assert len(known.levels) == RING
    assert all(0 <= agreement.share <= 1 for agreement in known.agreements)
    if found is not None:
        assert found.per_s * SLOT_S >= LEAST
        assert found.per_s * SLOT_S == messages_in(known, found.slot - found.lag)
        assert found.slot - found.lag >= (known.since or 0)


def test_a_level_of_nothing_is_nothing() -> None:
    assert level(0.0) == 0
    assert profile.messages_in(UNKNOWN, 5) == 0
