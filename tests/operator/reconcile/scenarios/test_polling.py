import statistics
from collections.abc import Callable
from typing import Any

import pytest

from detection_operator.scaling.decision import decide
from detection_operator.scaling.estimates.state import EstimatorState
from detection_operator.scaling.memory import Memory
from detection_operator.scaling.observation import Observation, ReadError
from detection_operator.spec.queue_spec import QueueSpec
from detection_testing.scenes.world import MINIMAL, World

SpecOf = Callable[..., QueueSpec]
NOW_S = 1_800_000_000.0
LONG_IDLE = Memory(estimators=EstimatorState(now_s=NOW_S - 5, idle_since_s=NOW_S - 86_400))


def read_s(spec: QueueSpec, neighbours: int = 1, **seen: Any) -> float:
    looked = Observation(**{"sampled_at_s": NOW_S, "neighbours": neighbours, **seen})
    return decide(spec, looked, LONG_IDLE, NOW_S).next_poll_s


@pytest.mark.parametrize(
    ("parts", "neighbours", "expected_s"),
    [
        pytest.param({}, 1, 5.0, id="the default objective leaves no time to lose"),
        pytest.param({"slo": {"queueWaitSeconds": 520}}, 1, 10.0, id="1/40 of the slack"),
        pytest.param({"slo": {"queueWaitSeconds": 3600}}, 1, 30.0, id="30 s at most"),
        pytest.param({}, 250, 10.0, id="many share the rate of their account"),
        pytest.param({}, 10_000, 45.0, id="never so late that readings grow stale"),
        pytest.param(
            {"queue": {**MINIMAL["queue"], "pollIntervalSeconds": 120}},
            1,
            120.0,
            id="never more often than asked for",
        ),
    ],
)
def test_an_idle_queue_is_read_as_often_as_its_objective_needs(
    spec_of: SpecOf, parts: dict[str, Any], neighbours: int, expected_s: float
) -> None:
    assert read_s(spec_of(**parts), neighbours) == pytest.approx(expected_s)


def test_queues_of_other_accounts_and_regions_share_no_rate() -> None:
    world = World()
    for number, place in enumerate(("eu-west-1/1", "eu-west-1/1", "eu-west-1/2", "us-east-1/1")):
        region, _, account = place.partition("/")
        url = f"https://sqs.{region}.amazonaws.com/{account * 12}/video"
        world.create_queue(f"video-{number}", {**MINIMAL, "queue": {"url": url}})
    world.run(10)

    newest = {record.spec.queue.url: record for record in world.records}
    counts = sorted(record.observation.neighbours for record in newest.values())

    assert counts == [1, 1, 2]


@pytest.mark.parametrize(
    ("seen", "expected_s"),
    [
        pytest.param({"visible": 1}, 1.0, id="a sighting is confirmed soon"),
        pytest.param({"visible": 100}, 5.0, id="work"),
        pytest.param({"replicas": 1, "ready": 1}, 5.0, id="workers"),
        pytest.param({"error": ReadError.THROTTLED}, 20.0, id="too many requests"),
        pytest.param({"error": ReadError.ACCESS_DENIED}, 300.0, id="what people have to fix"),
    ],
)
def test_otherwise_the_plan_says_when(
    spec_of: SpecOf, seen: dict[str, Any], expected_s: float
) -> None:
    assert read_s(spec_of(), 10_000, **seen) == expected_s


def answered_s(phase_s: float, messages: int) -> float:
    """Return how long a burst on an idle queue waits for replicas."""
    world = World()
    world.create_queue("video", MINIMAL)
    world.run(600)
    world.run(10, each_s=0.1, until=lambda: world.clock.monotonic >= 600 + phase_s)
    assert world.replicas == 0
    start_s = world.clock.monotonic
    world.queue.visible = messages
    assert world.run(20, each_s=0.1, until=lambda: world.replicas > 0)
    return world.clock.monotonic - start_s


@pytest.mark.slow
@pytest.mark.parametrize(
    ("messages", "mean_s"),
    [
        pytest.param(400, 3.0, id="a burst"),
        pytest.param(3, 4.0, id="a few messages, which are looked at twice"),
    ],
)
def test_a_burst_on_an_idle_queue_is_answered_within_a_poll(messages: int, mean_s: float) -> None:
    took_s = [answered_s(phase / 10, messages) for phase in range(60)]

    assert statistics.fmean(took_s) <= mean_s
    assert max(took_s) <= 6.1
