"""From the operator's own Deployments to an adopted one, and back: drained, not stranded."""

import copy
from collections.abc import Callable
from typing import Any

import pytest

from detection_operator.kube.port import Key
from detection_testing.scenes.world import MINIMAL, World

MakeWorld = Callable[[], World]
TEMPLATE = {"template": {"image": "worker:1"}}
MANUAL = {"mode": "Manual"}
REFERENCE = {"deploymentRef": {"name": "mine"}}


def working_world(
    make_world: MakeWorld, worker: dict[str, Any], *, theirs: int = 0
) -> tuple[World, Key]:
    """Return a world with six workers that always have work, and a Deployment to adopt."""
    world = make_world()
    world.workers.service_s = 20.0
    world.create_deployment("mine", replicas=theirs)
    spec = copy.deepcopy(dict(MINIMAL))
    spec["scaling"] |= {"minReplicas": 6, "maxReplicas": 6}
    spec["replicas"] = 6
    key = world.create_queue("video", {**spec, "worker": worker})
    world.queue.visible = 100_000
    world.run(40)
    return world, key


def switch(world: World, key: Key, worker: dict[str, Any]) -> None:
    world.edit_queue(key, lambda obj: obj["spec"].update(worker=worker))


def replicas(world: World) -> dict[str, int]:
    found = world.cluster.of_kind("Deployment")
    return {item["metadata"]["name"]: item["spec"]["replicas"] for item in found}


def terminated(world: World) -> float:
    metric = world.metrics.busy_terminated
    return sum(float(metric.labels(by)._value.get()) for by in ("operator", "other"))


def draining(world: World) -> int:
    return sum(worker.draining for worker in world.workers.workers.values())


def test_own_deployments_are_drained_when_another_is_referred_to(make_world: MakeWorld) -> None:
    world, key = working_world(make_world, TEMPLATE)
    assert world.replicas == 6

    switch(world, key, REFERENCE)

    assert world.run(600, until=lambda: replicas(world) == {"mine": 6})
    assert world.lost == []
    assert terminated(world) == 0.0
    assert world.run(60, until=lambda: world.status(key)["replicas"] == 6)
    assert world.status(key)["selector"] == "app=mine"


def test_own_deployments_go_on_while_the_one_referred_to_is_not_there(
    make_world: MakeWorld,
) -> None:
    world, key = working_world(make_world, TEMPLATE)

    switch(world, key, {"deploymentRef": {"name": "nobody"}})
    world.run(120)

    assert world.replicas == 6
    assert draining(world) == 0
    assert "nobody does not exist" in world.condition(key, "ConfigurationHealthy")["message"]


@pytest.mark.parametrize("after_s", [3, 15, 40])
def test_a_template_that_comes_back_in_the_middle_takes_its_workers_back(
    make_world: MakeWorld, after_s: int
) -> None:
    world, key = working_world(make_world, TEMPLATE)
    (own,) = set(replicas(world)) - {"mine"}
    switch(world, key, REFERENCE)
    world.run(after_s)

    switch(world, key, TEMPLATE)

    assert world.run(300, until=lambda: replicas(world).get(own) == 6 and draining(world) == 0)
    assert world.lost == []
    assert terminated(world) == 0.0
    assert world.condition(key, "Ready")["status"] == "True"


def test_an_own_deployment_that_is_referred_to_by_its_name_stays(make_world: MakeWorld) -> None:
    world, key = working_world(make_world, TEMPLATE)
    (own,) = set(replicas(world)) - {"mine"}

    switch(world, key, {"deploymentRef": {"name": own}})
    world.run(120)

    assert replicas(world) == {"mine": 0, own: 6}
    assert draining(world) == 0
    assert world.lost == []


def test_an_own_deployment_that_was_referred_to_still_goes_by_a_roll_out(
    make_world: MakeWorld,
) -> None:
    world, key = working_world(make_world, TEMPLATE)
    (own,) = set(replicas(world)) - {"mine"}
    switch(world, key, {"deploymentRef": {"name": own}})
    world.run(20)

    switch(world, key, {"template": {"image": "worker:2"}})

    assert world.run(300, until=lambda: own not in replicas(world))
    assert world.run(60, until=lambda: world.replicas == 6)
    assert world.lost == []


def test_a_deployment_that_is_referred_to_no_more_keeps_its_replicas_and_no_drain(
    make_world: MakeWorld,
) -> None:
    world, key = working_world(make_world, REFERENCE)
    assert replicas(world) == {"mine": 6}
    world.edit_queue(key, lambda obj: obj["spec"]["scaling"].update(MANUAL))
    world.edit_queue(key, lambda obj: obj["spec"].update(replicas=3))
    assert world.run(30, until=lambda: draining(world) == 3)

    switch(world, key, TEMPLATE)
    world.run(120)

    assert replicas(world)["mine"] in range(3, 7)
    assert draining(world) == 0
    assert world.lost == []
    assert terminated(world) == 0.0
