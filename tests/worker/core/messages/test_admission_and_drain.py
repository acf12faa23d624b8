"""How much to hold, and what to hand back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detection_contract.media_types import MediaKind
from detection_worker.core.messages.admission import Admission, HoldLimits, room
from detection_worker.core.messages.drain import Held, to_release
from detection_worker.core.messages.load import ServiceTimes

LIMITS = HoldLimits(messages=64, seconds=10)


@pytest.mark.parametrize(
    ("held", "held_s", "mean_s", "expected"),
    [
        pytest.param(0, 0.0, 0.01, 10, id="an idle worker with cheap work asks for a full batch"),
        pytest.param(0, 0.0, 60.0, 1, id="an idle worker always takes one"),
        pytest.param(1, 60.0, 60.0, 0, id="a minute of work in hand is enough"),
        pytest.param(50, 0.5, 0.01, 10, id="a half full worker takes a full batch"),
        pytest.param(60, 0.6, 0.01, 0, id="or waits for the room"),
        pytest.param(31, 0.3, 0.01, 10, id="a worker with little to do takes what it gets"),
        pytest.param(64, 0.0, 0.01, 0, id="full is full"),
        pytest.param(5, 9.0, 0.5, 0, id="nearly enough seconds are enough"),
        pytest.param(2, 6.0, 3.0, 1, id="long work comes one by one"),
        pytest.param(8, 6.4, 0.8, 0, id="what may hold twelve waits for room for half of them"),
        pytest.param(6, 4.8, 0.8, 6, id="and then takes it"),
    ],
)
def test_room_is_bounded_by_count_and_by_seconds(
    held: int, held_s: float, mean_s: float, expected: int
) -> None:
    assert room(held_messages=held, held_seconds=held_s, mean_s=mean_s, limits=LIMITS) == expected


@given(
    held=st.integers(0, 200),
    held_s=st.floats(0, 1e4),
    mean_s=st.floats(0, 1e3),
    messages=st.integers(1, 500),
    seconds=st.floats(0.1, 1e3),
)
def test_room_is_never_negative_nor_more_than_one_batch(
    held: int, held_s: float, mean_s: float, messages: int, seconds: float
) -> None:
    limits = HoldLimits(messages=messages, seconds=seconds)
    count = room(held_messages=held, held_seconds=held_s, mean_s=mean_s, limits=limits)

    assert 0 <= count <= 10
    assert held + count <= max(messages, held)


@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(["expect", "done", "forget"]),
            st.integers(0, 3),
            st.integers(0, 2),
            st.floats(0, 1e4),
        )
    )
)
def test_the_held_seconds_are_those_of_what_is_counted(
    steps: list[tuple[str, int, int, float]],
) -> None:
    admission = Admission(LIMITS)
    counted: dict[int, dict[int, float]] = {}
    for what, message, index, seconds in steps:
        jobs = counted.setdefault(message, {})
        if what == "expect":
            admission.expect(message, index, seconds)
            jobs[index] = seconds
        elif what == "done":
            assert admission.done(message, index) == (index in jobs)
            jobs.pop(index, None)
        else:
            admission.forget(message)
            jobs.clear()

        held_s = sum(sum(each.values()) for each in counted.values())
        assert admission.held_s == pytest.approx(held_s, abs=1e-6)
        assert admission.remaining_s(message) == pytest.approx(sum(jobs.values()), abs=1e-6)


def test_service_times_follow_what_is_measured() -> None:
    times = ServiceTimes()
    prior_s = times.predict(MediaKind.VIDEO)
    for _ in range(60):
        times.observe(MediaKind.VIDEO, 4.0)
        times.observe(MediaKind.IMAGE, 0.02)

    assert prior_s == 1.0
    assert times.predict(MediaKind.VIDEO) == pytest.approx(4.0)
    assert times.predict(None) == pytest.approx(2.01)
    assert set(times.measured()) == {MediaKind.VIDEO, MediaKind.IMAGE}
    served = times.served()[MediaKind.VIDEO]
    assert (served.messages, served.seconds, served.squares) == (60, 240.0, 960.0)


def held(name: str, *, started: bool, remaining_s: float) -> Held:
    return Held(message_id=name, started=started, remaining_s=remaining_s)


def test_unstarted_messages_go_back_and_started_ones_that_fit_stay() -> None:
    messages = [
        held("short", started=True, remaining_s=2),
        held("too long", started=True, remaining_s=60),
        held("also fits", started=True, remaining_s=3),
        held("waiting", started=False, remaining_s=1),
    ]

    assert to_release(messages, time_left_s=10) == ["too long", "waiting"]


def test_without_time_everything_goes_back() -> None:
    messages = [held("a", started=True, remaining_s=0), held("b", started=False, remaining_s=0)]

    assert to_release(messages, time_left_s=-1) == ["a", "b"]
