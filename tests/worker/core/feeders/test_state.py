from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detection_worker.core.feeders.state import (
    NO_COUNTS,
    checks_of,
    counts_of,
    ended,
    merged,
    service_seconds,
)

STAGES = {"download": {"waiting": 1, "busy": 2}, "inference": {"waiting": 0, "busy": 1}}


def state(**changes: Any) -> dict[str, Any]:
    """Return the state of an idle feeder, with some values changed."""
    return {
        "busy": False,
        "since": "2026-01-01T00:00:00.000Z",
        "busy_expires_at": None,
        "in_flight": 0,
        "held_seconds": 0.0,
        "draining": False,
        "drained": False,
        "polling": 1,
        "service_seconds": {},
        "served": {},
        "received": 0,
        "received_late": 0,
        "stages": STAGES,
        "statistics": {"processed": 0, "failed": 0, "retried": 0},
        "last_error": None,
        **changes,
    }


def merge(*states: Mapping[str, Any], feeders: int = 2, runtime_s: float = 10.0) -> dict[str, Any]:
    return merged(
        states, counts=counts_of(states), feeders=feeders, age_s=1.5, runtime_s=runtime_s
    )


def test_a_worker_is_busy_since_the_first_of_its_busy_feeders() -> None:
    found = merge(
        state(busy=True, since="2026-01-01T00:00:09.000Z", busy_expires_at="2026-01-01T00:01Z"),
        state(busy=True, since="2026-01-01T00:00:07.000Z", busy_expires_at="2026-01-01T00:02Z"),
        state(since="2026-01-01T00:00:01.000Z"),
    )

    assert found["busy"] is True
    assert found["since"] == "2026-01-01T00:00:07.000Z"
    assert found["busy_expires_at"] == "2026-01-01T00:02Z"


def test_a_worker_is_idle_since_the_last_of_its_feeders() -> None:
    found = merge(state(since="2026-01-01T00:00:09.000Z"), state(since="2026-01-01T00:00:07.000Z"))

    assert (found["busy"], found["busy_expires_at"]) == (False, None)
    assert found["since"] == "2026-01-01T00:00:09.000Z"


@pytest.mark.parametrize("name", ["draining", "drained"])
def test_a_worker_is_drained_when_all_its_feeders_are(name: str) -> None:
    assert merge(state(**{name: True}), state())[name] is False
    assert merge(state(**{name: True}), state(**{name: True}))[name] is True


def test_what_is_held_adds_up_and_the_slowest_feeder_says_how_long_a_drain_takes() -> None:
    found = merge(
        state(in_flight=3, held_seconds=1.0), state(in_flight=2, held_seconds=4.0, polling=0)
    )

    assert (found["in_flight"], found["held_seconds"], found["polling"]) == (5, 4.0, 1)
    assert found["stages"] == {
        "download": {"waiting": 2, "busy": 4},
        "inference": {"waiting": 0, "busy": 2},
    }


def test_feeders_that_need_a_second_each_finish_one_message_every_half_second() -> None:
    served = {"image": {"messages": 4, "seconds": 4.0, "squares": 6.0}}
    both = state(service_seconds={"image": 1.0}, served=served)

    found = merge(both, both)

    assert found["service_seconds"] == {"image": 0.5}
    assert found["sustainable_messages_per_second"] == {"image": 2.0}
    assert found["served"] == {"image": {"messages": 8, "seconds": 4.0, "squares": 3.0}}


def test_a_feeder_that_has_seen_none_of_a_kind_counts_as_fast_as_the_others() -> None:
    found = merge(state(service_seconds={"video": 2.0}), state(), state(), feeders=4)

    assert found["service_seconds"] == {"video": 0.5}


@given(st.lists(st.floats(0.0, 100.0), min_size=1, max_size=5), st.integers(1, 8))
def test_rates_add_up(seconds: list[float], feeders: int) -> None:
    found = service_seconds([{"image": s} for s in seconds], feeders=feeders)

    rates = [1 / max(s, 1e-6) for s in seconds]
    assert 1 / found["image"] == pytest.approx(sum(rates) / len(rates) * feeders)


def test_the_counts_of_those_that_have_died_stay() -> None:
    gone = counts_of(
        [
            NO_COUNTS,
            state(
                received=5,
                received_late=1,
                served={"audio": {"messages": 1, "seconds": 2.0, "squares": 4.0}},
                statistics={"processed": 3, "failed": 1, "retried": 1},
            ),
        ]
    )
    lives = state(received=2, served={"image": {"messages": 2, "seconds": 1.0, "squares": 0.5}})

    found = merged([lives], counts=counts_of([gone, lives]), feeders=1, age_s=None, runtime_s=3.0)

    assert (found["received"], found["received_late"]) == (7, 1)
    assert found["received_message_age_s"] is None
    assert found["served"] == {
        "audio": {"messages": 1, "seconds": 2.0, "squares": 4.0},
        "image": {"messages": 2, "seconds": 1.0, "squares": 0.5},
    }
    assert found["statistics"] == {
        "processed": 3, "failed": 1, "retried": 1, "runtime_s": 3.0, "rate_per_s": 1.0,
    }  # fmt: skip


def test_a_feeder_that_has_died_holds_and_counts_nothing() -> None:
    last = state(
        busy=True,
        in_flight=3,
        held_seconds=9.0,
        service_seconds={"image": 1.0},
        received=7,
        last_error="no route",
    )

    gone = ended(last, at="2026-01-01T00:00:05.000Z")

    found = merge(gone, state(service_seconds={"image": 4.0}, received=1))
    assert gone.keys() == last.keys()
    assert (found["busy"], found["since"]) == (False, "2026-01-01T00:00:05.000Z")
    assert (found["in_flight"], found["held_seconds"], found["received"]) == (0, 0.0, 1)
    assert found["service_seconds"] == {"image": 2.0}
    assert found["stages"] == STAGES
    assert found["last_error"] is None
    assert merge(gone, state(draining=True, drained=True))["drained"] is True


def test_the_first_error_is_shown() -> None:
    assert merge(state(), state(last_error="no route"))["last_error"] == "no route"
    assert merge(state(), state())["last_error"] is None


def test_one_bad_answer_makes_a_check_bad() -> None:
    found = checks_of(
        [{"polling": True, "outbox": True}, {"polling": False}, {"downloads": "denied"}]
    )

    assert found == {"polling": False, "outbox": True, "downloads": "denied"}
