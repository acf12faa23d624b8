"""The workers' PodDisruptionBudget: created, restored, and another owner's left alone."""

import copy
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from detection_operator.errors import cluster_error
from detection_operator.kube.objects import owner_reference
from detection_operator.kube.port import FIELD_MANAGER, Key
from detection_operator.reconcile.act.disruption import LOOK_S
from detection_testing.scenes.world import MINIMAL, World

MakeWorld = Callable[[], World]
KIND = "PodDisruptionBudget"


def budget(name: str, **metadata: Any) -> dict[str, Any]:
    return {
        "apiVersion": "policy/v1",
        "kind": KIND,
        "metadata": {"name": name, "namespace": "default", **metadata},
        "spec": {"minAvailable": 3, "selector": {"matchLabels": {"app": "theirs"}}},
    }


def budgets(world: World) -> dict[str, dict[str, Any]]:
    return {item["metadata"]["name"]: item for item in world.cluster.of_kind(KIND)}


def slot(key: Key) -> tuple[str, str, str]:
    return (KIND, key.namespace, f"{key.name}-workers")


def message(world: World, key: Key) -> str:
    return str(world.condition(key, "ConfigurationHealthy")["message"])


def live(make_world: MakeWorld, *before: Mapping[str, Any]) -> tuple[World, Key]:
    """Return a world with a worker, where some objects were there before the operator."""
    world = make_world()
    for obj in before:
        world.cluster.create(obj)
    spec = copy.deepcopy(dict(MINIMAL))
    spec["scaling"] = {"maxReplicas": 5, "minReplicas": 1}
    key = world.create_queue("video", spec)
    world.run(20)
    return world, key


def test_the_budget_is_named_after_the_workers(make_world: MakeWorld) -> None:
    world, _ = live(make_world)

    (found,) = budgets(world).values()

    assert found["metadata"]["name"] == "video-workers"
    assert found["spec"]["maxUnavailable"] == "25%"


@pytest.mark.parametrize("name", ["video", "video-workers"])
def test_a_budget_of_somebody_else_stays_as_it_is(make_world: MakeWorld, name: str) -> None:
    world, _ = live(make_world, budget(name))

    world.run(int(3 * LOOK_S), each_s=5.0)

    theirs = budgets(world)[name]
    assert theirs["spec"] == budget(name)["spec"]
    assert "ownerReferences" not in theirs["metadata"]
    assert world.replicas == 1
    assert world.errors == []


def test_a_budget_of_somebody_else_under_our_name_is_a_finding_until_it_goes(
    make_world: MakeWorld,
) -> None:
    world, key = live(make_world, budget("video-workers"))
    assert "PodDisruptionBudget video-workers is not owned by this DetectionQueue" in message(
        world, key
    )

    world.cluster.delete(slot(key))
    world.run(int(LOOK_S), each_s=5.0)

    assert "is not owned by this DetectionQueue" not in message(world, key)
    assert budgets(world)["video-workers"]["spec"]["maxUnavailable"] == "25%"


def test_a_budget_deleted_by_hand_comes_back_and_nothing_else_is_written(
    make_world: MakeWorld,
) -> None:
    world, key = live(make_world)
    world.run(int(LOOK_S), each_s=5.0)
    writes = world.cluster.writes.copy()

    world.cluster.delete(slot(key))
    world.run(int(LOOK_S), each_s=5.0)
    back = world.cluster.writes - writes
    world.run(int(3 * LOOK_S), each_s=5.0)

    assert "video-workers" in budgets(world)
    assert back == {KIND: 1}
    assert world.cluster.writes - writes == back


def test_a_budget_edited_by_hand_is_mended(make_world: MakeWorld) -> None:
    world, key = live(make_world)

    def change(obj: dict[str, Any]) -> None:
        obj["spec"]["maxUnavailable"] = "100%"

    world.cluster.edit(slot(key), change)
    world.run(int(LOOK_S) + 60, each_s=5.0)

    assert budgets(world)["video-workers"]["spec"]["maxUnavailable"] == "25%"


def test_a_new_operator_writes_no_budget_that_is_there(make_world: MakeWorld) -> None:
    world, _ = live(make_world)
    before = world.cluster.writes[KIND]

    world.kill()
    world.start()
    world.run(60)

    assert before == 1
    assert world.cluster.writes[KIND] == before


@pytest.mark.parametrize(
    ("manager", "left"),
    [
        pytest.param(FIELD_MANAGER, {"video-workers"}, id="the operator's own goes"),
        pytest.param("kubectl", {"video", "video-workers"}, id="what nobody applied stays"),
    ],
)
def test_the_budget_that_an_earlier_version_made_is_replaced(manager: str, left: set[str]) -> None:
    world = World()
    key = world.create_queue("video", MINIMAL)
    queue = world.cluster.queue(key)
    assert queue is not None
    entry = {"manager": manager, "operation": "Apply", "fieldsV1": {}}
    owners = [owner_reference(queue)]
    world.cluster.create(budget("video", ownerReferences=owners, managedFields=[entry]))

    world.run(20)

    assert budgets(world).keys() == left


def test_a_budget_that_may_not_be_read_is_a_finding_and_stops_no_scaling() -> None:
    world = World()
    world.cluster.fail("disruption_budget", *[cluster_error(403, "cannot get") for _ in range(9)])
    key = world.create_queue("video", MINIMAL)
    world.queue.visible = 50

    assert world.run(60, until=lambda: world.replicas > 2)
    assert "PodDisruptionBudget video-workers cannot be applied: cannot get" in message(world, key)
