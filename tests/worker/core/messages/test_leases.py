"""Leases: extended in time, given up when lost, never beyond what SQS allows."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detection_worker.core.messages.leases import MAX_LEASE_S, LeaseTable
from detection_worker.core.messages.states import OPEN, Event, State


def table(visibility_s: float = 30, tick_s: float = 1) -> LeaseTable:
    return LeaseTable(visibility_s=visibility_s, tick_s=tick_s)


def test_a_fresh_lease_is_not_extended() -> None:
    leases = table()
    leases.take("m", "h", now_s=0)

    assert leases.due(now_s=1, stall_s=60) == []


def test_a_lease_in_its_last_third_is_extended_to_its_full_length() -> None:
    leases = table()
    leases.take("m", "h", now_s=0)

    (extension,) = leases.due(now_s=20, stall_s=60)

    assert (extension.message_id, extension.receipt_handle, extension.seconds) == ("m", "h", 30)


def test_one_due_lease_takes_the_half_spent_ones_along() -> None:
    leases = table()
    leases.take("old", "h1", now_s=0)
    leases.take("half spent", "h2", now_s=5)
    leases.take("fresh", "h3", now_s=19)

    due = {e.message_id for e in leases.due(now_s=20, stall_s=60)}

    assert due == {"old", "half spent"}


def test_an_extension_moves_the_deadline_from_the_time_of_the_call() -> None:
    leases = table()
    leases.take("m", "h", now_s=0)
    (extension,) = leases.due(now_s=25, stall_s=60)

    leases.extended(extension, now_s=25)

    assert leases.expired(now_s=54.9) == []
    assert leases.expired(now_s=55) == ["m"]


def test_work_without_a_sign_of_life_is_stalled_and_not_extended() -> None:
    leases = table()
    leases.take("m", "h", now_s=0)
    leases.move("m", Event.WORK_BEGUN, now_s=0)

    assert leases.stalled(now_s=11, stall_s=10) == ["m"]
    assert leases.due(now_s=29, stall_s=10) == []


def test_waiting_in_a_queue_is_no_stall() -> None:
    leases = table()
    leases.take("m", "h", now_s=0)
    leases.move("m", Event.WORK_PAUSED, now_s=0)

    assert leases.stalled(now_s=25, stall_s=10) == []
    assert len(leases.due(now_s=25, stall_s=10)) == 1


def test_what_waits_for_ever_was_lost_sight_of() -> None:
    leases = table()
    leases.take("m", "h", now_s=0)

    assert leases.stalled(now_s=100, stall_s=10) == []
    assert leases.stalled(now_s=101, stall_s=10) == ["m"]


def test_a_redelivery_replaces_the_handle_and_the_work_goes_on() -> None:
    leases = table()
    assert leases.take("m", "old handle", now_s=0)

    assert not leases.take("m", "new handle", now_s=31)

    assert leases.handle("m") == "new handle"
    assert leases.holds("m", now_s=40, margin_s=1)


def test_the_late_answer_to_an_old_handles_extension_changes_nothing() -> None:
    leases = table()
    leases.take("m", "old", now_s=0)
    (extension,) = leases.due(now_s=29, stall_s=60)
    leases.take("m", "new", now_s=30)

    leases.extended(extension, now_s=100)

    assert leases.expired(now_s=60) == ["m"]


def test_a_closing_lease_is_neither_extended_nor_stalled() -> None:
    leases = table()
    leases.take("m", "h", now_s=0)
    leases.move("m", Event.WORK_BEGUN, now_s=0)
    leases.move("m", Event.SETTLED, now_s=0)

    assert leases.due(now_s=25, stall_s=60) == []
    assert leases.stalled(now_s=100, stall_s=10) == []
    assert leases.state("m") not in OPEN
    assert leases.open == 0
    assert leases.handle("m") == "h"


def test_the_margin_counts_against_holding() -> None:
    leases = table()
    leases.take("m", "h", now_s=0)

    assert leases.holds("m", now_s=28.9, margin_s=1)
    assert not leases.holds("m", now_s=29, margin_s=1)
    assert not leases.holds("other", now_s=0, margin_s=1)


def test_what_is_dropped_is_forgotten() -> None:
    leases = table()
    leases.take("m", "h", now_s=0)
    leases.move("m", Event.LEASE_LOST, now_s=0)

    assert len(leases) == 0
    assert "m" not in leases
    assert leases.handle("m") is None


def test_only_the_refusal_of_the_newest_handle_of_open_work_is_a_loss() -> None:
    leases = table()
    leases.take("m", "old", now_s=0)
    (older,) = leases.due(now_s=29, stall_s=60)
    leases.take("m", "new", now_s=30)
    newest = replace(older, receipt_handle="new")

    assert (leases.is_loss(older), leases.is_loss(newest)) == (False, True)
    leases.move("m", Event.SETTLED, now_s=31)
    assert not leases.is_loss(newest)
    leases.move("m", Event.LEASE_LOST, now_s=32)
    assert not leases.is_loss(newest)


def test_what_the_table_refuses_changes_nothing() -> None:
    leases = table()
    leases.take("m", "h", now_s=0)

    assert leases.move("m", Event.ACKNOWLEDGED, now_s=1) is None
    assert leases.move("other", Event.SETTLED, now_s=1) is None
    assert leases.state("m") is State.HELD
    assert leases.state("other") is State.DROPPED


@pytest.mark.parametrize("working", [True, False])
def test_no_extension_goes_beyond_twelve_hours_from_the_receive(working: bool) -> None:  # noqa: FBT001
    leases = table()
    leases.take("m", "h", now_s=0)
    now_s = 0.0
    while not leases.expired(now_s=now_s):
        leases.move("m", Event.WORK_BEGUN if working else Event.WORK_PAUSED, now_s=now_s)
        for extension in leases.due(now_s=now_s, stall_s=60):
            assert now_s + extension.seconds <= MAX_LEASE_S
            leases.extended(extension, now_s=now_s)
        now_s += 7

    assert now_s == pytest.approx(MAX_LEASE_S, abs=40)


@given(
    visibility_s=st.integers(2, 600),
    receives=st.lists(st.floats(0, 5), min_size=1, max_size=20),
)
def test_living_work_never_loses_its_lease(visibility_s: int, receives: list[float]) -> None:
    tick_s = min(1.0, visibility_s / 5)
    leases = table(visibility_s=visibility_s, tick_s=tick_s)
    now_s = 0.0
    pending = sorted(receives)
    for _ in range(200):
        while pending and pending[0] <= now_s:
            leases.take(f"m{len(pending)}", "h", now_s=now_s)
            pending.pop(0)
        for extension in leases.due(now_s=now_s, stall_s=60):
            leases.extended(extension, now_s=now_s)
        assert leases.expired(now_s=now_s) == []
        now_s += tick_s


@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["a", "b", "c"]), st.sampled_from([None, *Event])), max_size=60
    )
)
def test_the_open_ones_are_those_whose_outcome_is_not_decided(
    steps: list[tuple[str, Event | None]],
) -> None:
    leases = table()
    for message_id, event in steps:
        if event is None:
            leases.take(message_id, "h", now_s=0)
        else:
            leases.move(message_id, event, now_s=0)

        assert leases.open == sum(leases.state(i) in OPEN for i in "abc")
