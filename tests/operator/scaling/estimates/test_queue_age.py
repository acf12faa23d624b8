"""How long the oldest message has waited, as far as it is known."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import pytest

from detection_operator.reconcile.report.conditions import Report, conditions
from detection_operator.scaling.decision import decide
from detection_operator.scaling.memory import Memory
from detection_operator.scaling.observation import Observation
from detection_operator.scaling.plan import Plan
from detection_operator.spec.queue_spec import QueueSpec

NOON_S = 1_767_268_800.0
TEN_SECONDS = {"priors": [{"mediaType": "video", "seconds": 10}]}
DAY_S = 86_400


def see(**what: Any) -> Observation:
    return Observation(sampled_at_s=None, **what)


def looks(
    spec: QueueSpec, seen: Iterable[Observation], *, step_s: float = 5.0
) -> list[tuple[Plan, Report]]:
    """Decide on each observation in turn, ``step_s`` apart."""
    memory, now_s = Memory(), NOON_S
    made = []
    for what in seen:
        sampled = replace(what, sampled_at_s=now_s)
        plan = decide(spec, sampled, memory, now_s)
        made.append((plan, Report(spec=spec, seen=sampled, plan=plan, generation=1, now_s=now_s)))
        memory = plan.memory
        now_s += step_s
    return made


def ages(made: Iterable[tuple[Plan, Report]]) -> list[float]:
    return [plan.estimates.age_s or 0.0 for plan, _ in made]


def late(report: Report) -> bool:
    return any(item.reason == "Late" for item in conditions(report))


def test_long_jobs_make_no_message_late(spec_of: Callable[..., QueueSpec]) -> None:
    # Jobs of 100 s in step: for 40 s of each nobody has received anything within a minute.
    working = [
        see(
            visible=5,
            in_flight=10,
            replicas=10,
            ready=10,
            busy=10,
            oldest_age_s=50.0 if second % 100 <= 60 else None,
        )
        for second in range(0, 3600, 5)
    ]

    made = looks(spec_of(), working)

    assert set(ages(made)) == {50.0}
    assert not any(late(report) for _, report in made)


@pytest.mark.parametrize("ready", [1, 4])
def test_workers_that_do_not_answer_make_no_message_late(
    spec_of: Callable[..., QueueSpec], ready: int
) -> None:
    seen = see(visible=5, in_flight=ready, replicas=ready, ready=ready, silent=ready)

    made = looks(spec_of(serviceTime=TEN_SECONDS), [seen] * (5 * DAY_S // 60), step_s=60.0)

    assert max(ages(made)) <= 120.0


def test_a_backlog_is_late_even_if_silent_workers_worked_all_the_time(
    spec_of: Callable[..., QueueSpec],
) -> None:
    seen = see(visible=5000, in_flight=2, replicas=2, ready=2, silent=2)

    made = looks(spec_of(serviceTime=TEN_SECONDS), [seen] * 360)

    assert ages(made)[-1] == 359 * 5.0
    assert [late(report) for _, report in made].index(True) == 25


def test_workers_that_are_ready_but_take_nothing_are_found_out(
    spec_of: Callable[..., QueueSpec],
) -> None:
    well = see(visible=5, replicas=2, ready=2, busy=2, in_flight=2, oldest_age_s=50.0)
    stuck = see(visible=5, replicas=2, ready=2)

    made = looks(spec_of(), [*[well] * 100, *[stuck] * 100])

    assert [late(report) for _, report in made].index(True) == 99 + 120 // 5 + 1
    assert ages(made)[-1] == 500.0


def test_workers_that_never_took_anything_are_found_out(
    spec_of: Callable[..., QueueSpec],
) -> None:
    made = looks(spec_of(), [see(visible=5, replicas=2, ready=2)] * 100)

    assert ages(made)[-1] == 495.0
    assert late(made[-1][1])


def test_a_queue_that_stays_late_is_late_between_two_long_jobs_too(
    spec_of: Callable[..., QueueSpec],
) -> None:
    working = [
        see(
            visible=900,
            replicas=2,
            ready=2,
            busy=2,
            in_flight=2,
            oldest_age_s=2000.0 if second % 300 <= 60 else None,
        )
        for second in range(0, 3600, 5)
    ]

    made = looks(spec_of(), working)

    assert set(ages(made)) == {2000.0}
    assert all(late(report) for _, report in made)


def test_an_empty_queue_forgets_how_long_its_messages_waited(
    spec_of: Callable[..., QueueSpec],
) -> None:
    busy = {"replicas": 2, "ready": 2, "busy": 2, "in_flight": 2}
    old = see(visible=5, oldest_age_s=900.0, **busy)

    made = looks(spec_of(), [old, old, see(**busy), see(visible=1, **busy)])

    assert ages(made) == [900.0, 900.0, 0.0, 0.0]


def test_ages_survive_a_clock_that_jumps(spec_of: Callable[..., QueueSpec]) -> None:
    seen = see(visible=5, replicas=2, ready=2)
    memory = looks(spec_of(), [seen] * 10)[-1][0].memory
    later_s = NOON_S + 1e6

    plan = decide(spec_of(), replace(seen, sampled_at_s=later_s), memory, later_s)

    assert plan.estimates.age_s == 45.0
