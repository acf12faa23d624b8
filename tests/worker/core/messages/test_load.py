"""Room for messages, predicted work, and since when the worker is busy."""

import pytest

from detection_contract.media_types import MediaKind
from detection_worker.core.messages.admission import Admission, HoldLimits
from detection_worker.core.messages.load import BusyClock, ServiceTimes


def admission(*, messages: int = 4, seconds: float = 100.0) -> Admission:
    return Admission(HoldLimits(messages=messages, seconds=seconds))


def test_what_a_poll_asks_for_counts_as_held_until_it_is_answered() -> None:
    room = admission()

    first = room.ask(held_messages=0, mean_s=0.1, at_most=1)
    second = room.ask(held_messages=0, mean_s=0.1, at_most=10)
    third = room.ask(held_messages=0, mean_s=0.1, at_most=10)
    room.answered(first)
    fourth = room.ask(held_messages=0, mean_s=0.1, at_most=10)
    room.answered(second)
    fifth = room.ask(held_messages=0, mean_s=0.1, at_most=10)

    assert (first, second, third) == (1, 3, 0)
    assert fourth == 0  # more than half full, one more is not worth a poll
    assert fifth == 4


def test_unanswered_polls_count_in_seconds_too() -> None:
    room = admission(messages=64, seconds=1.0)

    assert room.ask(held_messages=0, mean_s=0.5, at_most=10) == 2
    assert room.ask(held_messages=0, mean_s=0.5, at_most=10) == 0


def test_predicted_work_is_counted_by_message_and_job() -> None:
    room, first, second = admission(), object(), object()
    room.expect(first, 0, 2.0)
    room.expect(first, 1, 3.0)
    room.expect(second, 0, 4.0)

    room.done(first, 0)

    assert room.held_s == pytest.approx(7.0)
    assert (room.remaining_s(first), room.remaining_s(second)) == (3.0, 4.0)


def test_work_that_is_done_or_forgotten_counts_no_more_and_never_below_nothing() -> None:
    room, message = admission(), object()
    room.expect(message, 0, 2.0)
    room.done(message, 0)
    room.done(message, 0)
    room.forget(message)

    assert room.held_s == 0.0
    assert room.remaining_s(message) == 0.0


def test_before_any_measurement_a_message_of_unknown_kind_counts_as_an_image() -> None:
    times = ServiceTimes()

    assert times.predict(None) == times.predict(MediaKind.IMAGE) == 0.1


def test_the_busy_clock_starts_anew_only_when_busy_and_idle_change_places() -> None:
    clock = BusyClock(changed_s=100.0, progress_s=0.0)
    seen = []
    for messages, wall_s in [(0, 110.0), (3, 120.0), (1, 130.0), (0, 140.0), (0, 150.0)]:
        clock.note(messages, wall_s=wall_s)
        seen.append((clock.busy, clock.changed_s))

    assert seen == [(False, 100.0), (True, 120.0), (True, 120.0), (False, 140.0), (False, 140.0)]
