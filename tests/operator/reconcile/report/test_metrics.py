"""What alerts and dashboards are told of a DetectionQueue."""

import copy
from collections.abc import Mapping
from typing import Any

import pytest

from detection_operator.kube.objects import timestamp
from detection_operator.kube.port import Key
from detection_testing.kubernetes.cluster import InMemoryCluster
from detection_testing.kubernetes.controllers import Nodes
from detection_testing.scenes.world import MINIMAL, World


class Staying(Nodes):
    """Kubelets whose pods with a node have the status ``status``."""

    status: Mapping[str, Any] = {}

    def _run(self, pod: dict[str, Any]) -> None:
        if "nodeName" in pod["spec"]:
            pod["status"] |= self.status


def value(world: World, key: Key, name: str) -> float | None:
    labels = {"namespace": key.namespace, "name": key.name}
    return world.metrics.registry.get_sample_value(f"detection_operator_{name}", labels)


def made(**parts: Any) -> tuple[World, Key]:
    world = World()
    return world, world.create_queue("video", {**copy.deepcopy(dict(MINIMAL)), **parts})


def staying(status: Mapping[str, Any]) -> tuple[World, Key]:
    world, key = made()
    assert isinstance(world.cluster, InMemoryCluster)
    world.nodes = Staying(world.cluster)
    world.nodes.status = status
    world.queue.visible = 50
    return world, key


def test_workers_whose_image_cannot_be_pulled_are_counted() -> None:
    state = {"waiting": {"reason": "ImagePullBackOff", "message": "no such tag"}}
    world, key = staying({"containerStatuses": [{"name": "worker", "state": state}]})
    assert isinstance(world.nodes, Staying)

    world.run(20)

    assert value(world, key, "image_pull_failed_replicas") == world.replicas > 0
    assert value(world, key, "crash_looping_replicas") == 0
    world.nodes.status = {"containerStatuses": [{"name": "worker", "state": {"running": {}}}]}
    world.run(20)
    assert value(world, key, "image_pull_failed_replicas") == 0


def test_a_crash_loop_lasts_while_the_container_runs_again_and_ends_after_ten_minutes() -> None:
    world, key = staying({})
    assert isinstance(world.nodes, Staying)
    world.run(20)
    over = {"terminated": {"exitCode": 1, "finishedAt": timestamp(world.clock.wall)}}
    running = {"name": "worker", "restartCount": 2, "state": {"running": {}}, "lastState": over}
    world.nodes.status = {"phase": "Running", "containerStatuses": [running]}

    world.run(20)

    assert value(world, key, "crash_looping_replicas") == world.replicas > 0
    assert value(world, key, "image_pull_failed_replicas") == 0
    world.run(600, each_s=10.0)
    assert value(world, key, "crash_looping_replicas") == 0


@pytest.mark.parametrize(
    ("budget", "hour", "day"),
    [
        pytest.param({"replicaHourCost": "1.006", "maxPerDay": "40.5"}, None, 40.5, id="a day"),
        pytest.param({"replicaHourCost": "1", "maxPerHour": "20"}, 20.0, None, id="an hour"),
    ],
)
def test_the_limits_of_a_budget_are_shown_as_long_as_it_is_set(
    budget: dict[str, str], hour: float | None, day: float | None
) -> None:
    world, key = made(budget=budget)
    world.run(5)
    assert (value(world, key, "budget_per_hour"), value(world, key, "budget_per_day")) == (
        hour,
        day,
    )

    world.edit_queue(key, lambda queue: queue["spec"].pop("budget"))
    world.run(20)

    assert value(world, key, "budget_per_hour") is value(world, key, "budget_per_day") is None


def totals(world: World, key: Key) -> tuple[float | None, float | None]:
    received, late = "received_messages_total", "late_messages_total"
    return value(world, key, received), value(world, key, late)


def test_messages_in_time_and_late_are_counted_over_restarts_of_workers() -> None:
    world, key = made()
    world.run(5)
    assert totals(world, key) == (0, 0)
    world.queue.visible = 40
    world.run(300)
    counters = world.reconciler._states[key].observed.counters if world.reconciler else None
    assert counters is not None
    assert totals(world, key) == (40, 0)

    counters.received_late += 3
    world.run(30)
    assert totals(world, key) == (40, 3)
    # As after a deletion: the next DetectionQueue of that name counts from zero.
    counters.received, counters.received_late = 2, 1
    world.run(30)

    assert totals(world, key) == (42, 4)
    world.metrics.forget(key.namespace, key.name)
    assert totals(world, key) == (None, None)


def test_the_rule_that_set_the_number_is_one_at_a_time() -> None:
    world, key = made()

    def bindings() -> set[str]:
        name = "detection_operator_plan_binding"
        [family] = [each for each in world.metrics.registry.collect() if each.name == name]
        assert all(sample.value == 1 for sample in family.samples)
        return {sample.labels["term"] for sample in family.samples}

    world.run(5)
    assert bindings() == {"Empty"}
    world.queue.visible = 40
    world.run(30)
    [busy] = bindings()
    assert busy != "Empty"

    world.edit_queue(key, lambda queue: queue["spec"].update(paused=True))
    world.run(20)
    assert bindings() == {"Paused"}
    world.metrics.forget(key.namespace, key.name)

    assert bindings() == set()
    assert value(world, key, "outdated_replicas") is None
