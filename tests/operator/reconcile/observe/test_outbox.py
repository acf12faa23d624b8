"""The outbox of a queue: its depth, and whether anything sends it while there are no workers."""

import copy
from typing import Any

import pytest

from detection_operator.kube.port import Key
from detection_operator.reconcile.report.diagnostics import OUTBOX_S
from detection_testing.scenes.world import MINIMAL, World

OUTBOX = f"{MINIMAL['queue']['url']}-outbox"


def spec(**results: Any) -> dict[str, Any]:
    made = copy.deepcopy(dict(MINIMAL))
    made["worker"]["template"]["results"] = results
    return made


def metric(world: World, key: Key, name: str = "outbox_messages") -> float | None:
    labels = {"namespace": key.namespace, "name": key.name}
    return world.metrics.registry.get_sample_value(f"detection_operator_{name}", labels)


def test_its_depth_is_shown_while_the_spec_names_one() -> None:
    world = World()
    world.queue.outbox, world.queue.outbox_due = 7, 2
    key = world.create_queue("video", spec(outboxURL=OUTBOX))

    world.run(90)

    assert world.status(key)["queue"]["outbox"] == 7
    assert (metric(world, key), metric(world, key, "outbox_due_messages")) == (7, 2)
    world.edit_queue(key, lambda made: made["spec"]["worker"]["template"].pop("results"))
    world.run(90)
    assert "outbox" not in world.status(key)["queue"]
    assert metric(world, key) is metric(world, key, "outbox_due_messages") is None


@pytest.mark.parametrize(
    ("idle_s", "workers", "status"),
    [
        pytest.param(OUTBOX_S, 0, "False", id="nothing sends it"),
        pytest.param(OUTBOX_S - 1, 0, "True", id="a sender may be starting"),
        pytest.param(OUTBOX_S, 1, "True", id="a worker will send it"),
        pytest.param(0.0, 0, "True", id="something sends it, or nothing is due"),
    ],
)
def test_callbacks_that_nothing_sends_are_a_finding(
    idle_s: float, workers: int, status: str
) -> None:
    world = World()
    world.queue.outbox, world.queue.outbox_idle_s = 3, idle_s
    made = spec(outboxURL=OUTBOX)
    made["scaling"]["minReplicas"] = workers
    key = world.create_queue("video", made)

    world.run(90)

    sound = world.condition(key, "ConfigurationHealthy")
    assert (world.replicas, sound["status"]) == (workers, status)
    assert ("detection-worker deliver" in sound["message"]) is (status == "False")
