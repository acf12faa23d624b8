"""The rule for messages that come at the same time of the day."""

from collections.abc import Callable
from typing import Any

import pytest

from detection_operator.scaling.decision import decide
from detection_operator.scaling.estimates.profile import DAY, SLOT_S, Profile, level
from detection_operator.scaling.estimates.state import EstimatorState, Failures
from detection_operator.scaling.memory import Memory
from detection_operator.scaling.observation import Observation
from detection_operator.scaling.plan import Plan
from detection_operator.simulation import oracle
from detection_operator.simulation.policies import Ours
from detection_operator.simulation.simulator import EPOCH_S, Simulator, World
from detection_operator.simulation.workload import LEAD_S, with_services
from detection_operator.spec.queue_spec import QueueSpec

NOON_S = 1_767_268_800.0
NOON = int(NOON_S // SLOT_S)
FIVE_SECONDS = {"priors": [{"mediaType": "video", "seconds": 5}], "coldStartSeconds": 120}
SAID = "11 kept ready for 1.56 messages/s, as at this time yesterday"


def kept(messages: float = 473.0, days_ago: int = 1) -> Profile:
    """Return a profile with messages in the slot that began at noon some days ago."""
    levels = bytearray(Profile().levels)
    levels[(NOON - days_ago * DAY) % len(levels)] = level(messages)
    return Profile(levels=bytes(levels), since=NOON - days_ago * DAY - 1)


def plan(spec: QueueSpec, profile: Profile, now_s: float, **more: Any) -> Plan:
    memory = Memory(estimators=EstimatorState(profile=profile, **more))
    return decide(spec, Observation(sampled_at_s=now_s), memory, now_s)


def test_replicas_are_ready_a_minute_before_the_messages(
    spec_of: Callable[..., QueueSpec],
) -> None:
    spec = spec_of(serviceTime=FIVE_SECONDS)

    early = plan(spec, kept(), NOON_S - 181)
    ready = plan(spec, kept(), NOON_S - 180)

    assert early.desired == 0
    assert (ready.desired, ready.binding, ready.message) == (11, "Forecast", SAID)
    week = plan(spec, kept(days_ago=7), NOON_S - 60)
    assert week.message.endswith("as at this time last week")


@pytest.mark.parametrize(
    "parts",
    [
        {"scaling": {"forecast": "Off"}},
        {"scaling": {"policy": "Backlog", "backlogPerReplica": 5}},
        {"serviceTime": {**FIVE_SECONDS, "coldStartSeconds": 60}},
    ],
    ids=["off", "a backlog rule", "replicas that start fast"],
)
def test_nothing_is_forecast_for(parts: dict[str, Any], spec_of: Callable[..., QueueSpec]) -> None:
    spec = spec_of(**{"serviceTime": FIVE_SECONDS, **parts})

    assert plan(spec, kept(), NOON_S - 60).desired == 0


def test_maxima_and_manual_numbers_stand_above_the_forecast(
    spec_of: Callable[..., QueueSpec],
) -> None:
    capped = spec_of(serviceTime=FIVE_SECONDS, scaling={"maxReplicas": 4})
    manual = spec_of(serviceTime=FIVE_SECONDS, scaling={"mode": "Manual"}, replicas=2)

    assert plan(capped, kept(), NOON_S - 60).desired == 4
    assert plan(manual, kept(), NOON_S - 60).desired == 2


def test_messages_that_die_are_not_forecast(spec_of: Callable[..., QueueSpec]) -> None:
    storm = Failures(failed=60.0, dead=20.0, served=0.0, seen=(0, 0, 0))

    made = plan(spec_of(serviceTime=FIVE_SECONDS), kept(), NOON_S - 60, failures=storm)

    assert made.desired == 0


def test_off_forgets_and_a_plan_learns(spec_of: Callable[..., QueueSpec]) -> None:
    off = spec_of(serviceTime=FIVE_SECONDS, scaling={"forecast": "Off"})

    assert plan(off, kept(), NOON_S).memory.estimators.profile == Profile()
    learned = plan(spec_of(), Profile(), NOON_S).memory.estimators.profile
    assert learned.opened is not None
    assert learned.opened.slot == NOON


def test_a_clock_that_jumps_breaks_the_series_and_keeps_the_days(
    spec_of: Callable[..., QueueSpec],
) -> None:
    spec = spec_of(serviceTime=FIVE_SECONDS)
    before = plan(spec, kept(), NOON_S - 2000).memory
    later_s = NOON_S + 7200

    after = decide(spec, Observation(sampled_at_s=later_s), before, later_s).memory

    assert after.estimators.profile.levels == kept().levels
    assert after.estimators.profile.opened is not None
    assert after.estimators.profile.opened.first == int(later_s // SLOT_S)


class Experienced(Ours):
    """The decision with the memory of a day."""

    def __init__(self, spec: QueueSpec, profile: Profile) -> None:
        super().__init__(spec)
        self._memory = Memory(estimators=EstimatorState(profile=profile))


def test_a_burst_as_yesterday_is_in_time_and_one_that_does_not_come_costs_minutes(
    spec_of: Callable[..., QueueSpec],
) -> None:
    levels = bytearray(Profile().levels)
    yesterday = int(EPOCH_S // SLOT_S) - DAY
    for slot in range(yesterday + 6, yesterday + 10):
        levels[slot % len(levels)] = level(600.0)
    known = Profile(levels=bytes(levels), since=yesterday)

    def run(start_s: float, forecast: str) -> tuple[float, float]:
        spec = spec_of(serviceTime=FIVE_SECONDS, scaling={"forecast": forecast})
        burst = [start_s - LEAD_S + 0.5 * n for n in range(2400)]
        work = with_services("burst", burst, mean_s=5.0, cv=0.5, seed=3)
        made = Simulator(work, World(), Experienced(spec, known)).run()
        return oracle.attainment(made, 120.0), made.replica_s

    same, same_off = run(1800.0, "Daily"), run(1800.0, "Off")
    later, later_off = run(5400.0, "Daily"), run(5400.0, "Off")

    assert same[0] > 0.995 > same_off[0]
    assert same[1] < 1.1 * same_off[1]
    assert later[0] >= later_off[0]
    assert later[1] - later_off[1] < 15 * (120 + 60 + SLOT_S + 120)
