"""The table of message states: complete, one actor to an event, nothing settled twice."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detection_worker.core.messages.states import (
    OPEN,
    ROWS,
    STARTED,
    Actor,
    Event,
    State,
    after_delivery,
    next_state,
)

IN_FLIGHT = frozenset(State) - {State.DROPPED}


def test_a_pair_of_state_and_event_has_one_row() -> None:
    assert len({(row.state, row.event) for row in ROWS}) == len(ROWS)


def test_each_event_belongs_to_one_actor() -> None:
    owners = {event: {row.by for row in ROWS if row.event is event} for event in Event}

    assert {len(actors) for actors in owners.values()} == {1}
    assert {actor for actors in owners.values() for actor in actors} == set(Actor)


def test_a_message_that_is_not_in_flight_can_only_be_received() -> None:
    rows = [row for row in ROWS if row.state is State.DROPPED]

    assert [(row.event, row.to) for row in rows] == [(Event.RECEIVED, State.HELD)]


@pytest.mark.parametrize("state", sorted(IN_FLIGHT))
def test_any_message_in_flight_can_be_lost_or_received_again(state: State) -> None:
    assert next_state(state, Event.LEASE_LOST) is State.DROPPED
    assert after_delivery(state) in IN_FLIGHT


@pytest.mark.parametrize("state", sorted(State))
def test_only_open_messages_are_settled_or_stopped(state: State) -> None:
    is_open = state in OPEN

    assert next_state(state, Event.SETTLED) is (State.CLOSING if is_open else None)
    assert next_state(state, Event.STALLED) is (State.REOPENED if is_open else None)


@pytest.mark.parametrize("state", sorted(State))
def test_only_closed_messages_are_acknowledged(state: State) -> None:
    closed = state in IN_FLIGHT - OPEN

    assert (next_state(state, Event.WRITE_BEGUN) is State.CLOSING) is closed
    assert (next_state(state, Event.ACKNOWLEDGED) is not None) is closed


def test_a_write_with_an_older_handle_does_not_count() -> None:
    state: State | None = State.CLOSING
    for event in (Event.WRITE_BEGUN, Event.RECEIVED, Event.ACKNOWLEDGED):
        assert state is not None
        state = next_state(state, event)

    assert state is State.ADOPTED


@pytest.mark.parametrize("state", sorted(OPEN))
def test_a_redelivery_leaves_open_work_as_it_is(state: State) -> None:
    assert after_delivery(state) is state


def test_work_that_has_begun_is_worth_finishing() -> None:
    assert {row.to for row in ROWS if row.event is Event.WORK_BEGUN} & OPEN <= STARTED
    assert STARTED < OPEN


@given(st.lists(st.sampled_from(Event), max_size=40))
def test_a_message_is_settled_at_most_once_between_two_first_deliveries(
    events: list[Event],
) -> None:
    state, settled = State.DROPPED, 0
    for event in events:
        to = next_state(state, event)
        if to is None:
            continue
        settled = 0 if state is State.DROPPED else settled + (event is Event.SETTLED)
        state = to
        assert settled <= 1
