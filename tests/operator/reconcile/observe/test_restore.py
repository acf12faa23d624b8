import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detection_operator.kube.objects import timestamp
from detection_operator.kube.port import Key
from detection_operator.readers.counters import Counters
from detection_operator.readers.values import WorkerState
from detection_operator.reconcile.observe.restore import restored
from detection_operator.reconcile.report.conditions import Report
from detection_operator.reconcile.report.status import build_status
from detection_operator.scaling.cold_start import ColdStart
from detection_operator.scaling.decision import decide
from detection_operator.scaling.estimates.profile import (
    DAY,
    SLOT_S,
    UNKNOWN,
    absorb,
    messages_in,
    packed,
)
from detection_operator.scaling.estimates.state import EstimatorState
from detection_operator.scaling.memory import Memory
from detection_operator.scaling.observation import Observation
from detection_operator.spec.parse import parse_spec
from detection_testing.scenes.world import MINIMAL, World

NOON_S = 1_800_014_400.0
"""Some day, 12:00 UTC."""
MIDNIGHT_S = NOON_S - 43_200
BUDGET = {"replicaHourCost": "2", "maxPerDay": "100"}
SPEC = {**MINIMAL, "budget": BUDGET}


def queue(**status: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "video", "namespace": "n", "generation": 3},
        "spec": SPEC,
        "status": {"observedGeneration": 3, "replicas": 4, **status},
    }


def spent(at_s: float, now_s: float, today: str = "20.00") -> float:
    found = restored(
        queue(cost={"today": today}, plan={"computedAt": timestamp(at_s)}),
        parse_spec(SPEC),
        now_s,
    )
    assert found is not None
    return found.memory.estimators.replica_s / 3600 * 2


@pytest.mark.parametrize(
    ("at_s", "now_s", "expected"),
    [
        pytest.param(NOON_S, NOON_S, 20.0, id="at once"),
        pytest.param(NOON_S, NOON_S + 1800, 24.0, id="what ran meanwhile is paid for"),
        pytest.param(MIDNIGHT_S - 60, MIDNIGHT_S + 1800, 4.0, id="yesterday's is forgotten"),
        pytest.param(NOON_S + 60, NOON_S, 0.0, id="a status from the future says nothing"),
    ],
)
def test_today_s_spending_goes_on(at_s: float, now_s: float, expected: float) -> None:
    assert spent(at_s, now_s) == pytest.approx(expected)


def test_measured_times_are_kept_and_the_spec_s_own_are_not_taken_for_measured() -> None:
    times = {"samples": 50, "meanMillis": 7000, "p90Millis": 9000, "coldStartMillis": 42_000}

    found = restored(queue(service=times), parse_spec(SPEC), NOON_S)
    fresh = restored(
        queue(service={**times, "samples": 0, "coldStartMillis": 5000}), parse_spec(SPEC), NOON_S
    )
    edited = restored(queue(service=times, observedGeneration=2), parse_spec(SPEC), NOON_S)

    assert found is not None
    assert found.cold_start == ColdStart(launch_s=0.0, pull_s=0.0, start_s=42.0)
    assert found.memory.estimators.service is not None
    assert found.memory.estimators.service.mix.mean_s == 7.0
    assert fresh is not None
    assert (fresh.cold_start, fresh.memory.estimators.service) == (None, None)
    assert edited is not None
    assert (edited.cold_start, edited.memory.estimators.service) == (None, None)


def test_the_parts_of_a_cold_start_are_kept() -> None:
    parts = {"launchMillis": 60_000, "pullMillis": 0, "startMillis": 2500}

    found = restored(
        queue(service={"coldStartMillis": 62_500, "coldStart": parts}), parse_spec(SPEC), NOON_S
    )

    assert found is not None
    assert found.cold_start == ColdStart(launch_s=60.0, pull_s=0.0, start_s=2.5)


def test_the_messages_by_the_time_of_day_outlive_a_restart() -> None:
    spec, slot = parse_spec(MINIMAL), int(NOON_S // SLOT_S)
    known = UNKNOWN
    for n in range(2 * DAY):
        at_s = float((slot - 2 * DAY + n) * SLOT_S)
        known = absorb(known, at_s=at_s, count=60.0 * n, continuous=n > 0)
    seen = Observation(sampled_at_s=NOON_S - 20)
    memory = Memory(estimators=EstimatorState(profile=known))
    plan = decide(spec, seen, memory, NOON_S)
    report = Report(
        spec=spec, plan=plan, seen=seen, now_s=NOON_S, generation=3, selector="", outbox=None
    )
    status = build_status(report, {})
    status["queue"]["sampledAt"] = timestamp(NOON_S - 20)

    found = restored({**queue(), "status": status}, spec, NOON_S)

    assert status["forecast"].keys() == {"since", "yesterdayPercent", "profile"}
    assert found is not None
    profile = found.memory.estimators.profile
    before = plan.memory.estimators.profile
    assert profile.since == before.since == slot - 2 * DAY
    assert [messages_in(profile, slot - n) for n in range(2, 2 * DAY)] == [
        messages_in(before, slot - n) for n in range(2, 2 * DAY)
    ]
    assert profile.agreements[0].share == pytest.approx(before.agreements[0].share, abs=0.01)


@pytest.mark.parametrize(
    "forecast",
    [
        {"since": "soon", "profile": packed(UNKNOWN.levels)},
        {"since": timestamp(NOON_S + 600), "profile": packed(UNKNOWN.levels)},
        {"since": timestamp(NOON_S - 600), "profile": "AAAA"},
        {"since": timestamp(NOON_S - 600)},
        {"since": timestamp(NOON_S - 600), "profile": 7},
        [],
    ],
)
def test_a_profile_that_cannot_be_read_is_none(forecast: Any) -> None:
    status = {"forecast": forecast, "queue": {"sampledAt": timestamp(NOON_S)}}

    found = restored(queue(**status), parse_spec(MINIMAL), NOON_S)

    assert found is not None
    assert found.memory.estimators.profile == UNKNOWN


def test_attainment_goes_on() -> None:
    slo = {"attainmentPercent": "98.5", "messages": 2000}

    found = restored(queue(slo=slo), parse_spec(SPEC), NOON_S)

    assert found is not None
    ((_, received, late),) = found.memory.estimators.attainment.hours
    assert (received, late) == (2000, 30)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=5,
)
PARTS = ["observedGeneration", "replicas", "cost", "plan", "slo", "service"]
MEMBERS = ["today", "computedAt", "messages", "attainmentPercent", "samples", "meanMillis"]


@given(
    st.dictionaries(st.sampled_from(PARTS), JSON | st.dictionaries(st.sampled_from(MEMBERS), JSON))
)
def test_no_status_breaks_it(status: dict[str, Any]) -> None:
    found = restored(queue(**status), parse_spec(SPEC), NOON_S)

    assert found is not None
    assert found.memory.estimators.replica_s >= 0.0
    assert restored({"metadata": {}, "spec": SPEC}, parse_spec(SPEC), NOON_S) is None


def budget_world(*, job_s: float = 1e6) -> tuple[World, Key]:
    world = World()
    world.clock.wall = MIDNIGHT_S
    world.workers.service_s = job_s
    spec = copy.deepcopy(dict(SPEC))
    spec["scaling"] = {"minReplicas": 0, "maxReplicas": 20, "scaleDown": {"holdSeconds": 10}}
    spec["budget"] = {"replicaHourCost": "2", "maxPerDay": "30"}
    key = world.create_queue("video", spec)
    world.queue.visible = 10_000
    return world, key


def test_a_restart_does_not_reset_today_s_budget() -> None:
    world, key = budget_world()
    world.run(1800)
    before = float(world.status(key)["cost"]["today"])
    assert before > 5.0
    world.kill()
    world.run(30)

    world.start()
    world.run(120)

    after = float(world.status(key)["cost"]["today"])
    assert before <= after <= before + 20 * 2 * (210 / 3600)
    assert world.metrics.registry.get_sample_value(
        "detection_operator_cost_today", {"namespace": "default", "name": "video"}
    ) == pytest.approx(after, abs=1.0)


@pytest.mark.slow
def test_restarts_all_day_do_not_overspend() -> None:
    kept, restarted = budget_world(job_s=300.0), budget_world(job_s=300.0)
    for number, (world, _) in enumerate((kept, restarted)):
        for _ in range(8):
            world.run(600)
            if number:
                world.kill()
                world.start()

    spendings = [float(world.status(key)["cost"]["today"]) for world, key in (kept, restarted)]

    assert spendings[1] == pytest.approx(spendings[0], rel=0.1)


def test_messages_that_were_counted_before_a_restart_are_not_counted_again() -> None:
    counters = Counters(since_s=100.0)

    counters.absorb("old", WorkerState(busy=False, started_at_s=50.0, received=700))
    counters.absorb("new", WorkerState(busy=False, started_at_s=101.0, received=3))
    counters.absorb("old", WorkerState(busy=False, started_at_s=50.0, received=702))

    assert counters.received == 5


def test_the_longest_launch_is_still_known_and_what_waits_for_a_node_is_not_paid() -> None:
    status = {"service": {"launchMillis": 240_000}, "unschedulableReplicas": 3}
    at = {"plan": {"computedAt": timestamp(NOON_S - 3600)}, "cost": {"today": "20.00"}}

    found = restored(queue(**status, **at), parse_spec(SPEC), NOON_S)

    assert found is not None
    assert found.launch_s == 240.0
    # One of four replicas ran for an hour since.
    assert found.memory.estimators.replica_s == 10 * 3600 + 3600
