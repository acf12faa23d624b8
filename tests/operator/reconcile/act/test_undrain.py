"""Workers that were drained are given back when nobody is going to remove them."""

import copy
from collections.abc import Callable
from typing import Any

import pytest

from detection_contract.environment import ANNOTATION_DELETION_COST, ANNOTATION_DRAIN
from detection_operator.kube.port import Key
from detection_testing.kubernetes.cluster import slot_of
from detection_testing.scenes.world import MINIMAL, World

MakeWorld = Callable[[], World]
Edit = Callable[[dict[str, Any]], None]
BAD_CRON = {"name": "n", "cron": "99 0 * * *", "durationSeconds": 60, "minReplicas": 1}


def invalidate(obj: dict[str, Any]) -> None:
    obj["spec"]["scaling"]["schedules"] = [BAD_CRON]


EDITS = [
    pytest.param(lambda obj: obj["spec"].update(paused=True), id="paused"),
    pytest.param(lambda obj: obj["spec"]["scaling"].update(mode="Shadow"), id="shadow"),
    pytest.param(invalidate, id="an invalid spec"),
]


def adopt(world: World) -> dict[str, Any]:
    world.create_deployment("mine", replicas=0)
    return {"deploymentRef": {"name": "mine"}}


def draining_world(make_world: MakeWorld, *, adopted: bool = False) -> tuple[World, Key]:
    """Return a world with four workers, three of which were asked to drain while they work."""
    world = make_world()
    world.workers.service_s = 60.0
    spec = copy.deepcopy(dict(MINIMAL))
    spec["scaling"]["mode"] = "Manual"
    spec["replicas"] = 4
    if adopted:
        spec["worker"] = adopt(world)
    key = world.create_queue("video", spec)
    world.queue.visible = 1000
    world.run(10)
    world.edit_queue(key, lambda obj: obj["spec"].update(replicas=1))
    assert world.run(30, until=lambda: draining(world) == 3)
    return world, key


def draining(world: World) -> int:
    return sum(worker.draining for worker in world.workers.workers.values())


def marked(world: World) -> int:
    marks = {ANNOTATION_DRAIN, ANNOTATION_DELETION_COST}
    pods = world.cluster.of_kind("Pod")
    return sum(bool(marks & pod["metadata"].get("annotations", {}).keys()) for pod in pods)


def resumed(world: World) -> float:
    return float(world.metrics.drains.labels("resumed")._value.get())


@pytest.mark.parametrize("adopted", [False, True], ids=["own", "adopted"])
@pytest.mark.parametrize("edit", EDITS)
def test_who_was_drained_works_again_when_scaling_stops(
    make_world: MakeWorld, edit: Edit, *, adopted: bool
) -> None:
    world, key = draining_world(make_world, adopted=adopted)

    world.edit_queue(key, edit)
    world.run(90)

    assert (draining(world), marked(world)) == (0, 0)
    assert resumed(world) == 3.0
    assert world.replicas == 4
    assert sum(w.left_s is not None for w in world.workers.workers.values()) == 4


@pytest.mark.parametrize("edit", EDITS)
def test_an_operator_that_comes_later_gives_them_back_too(edit: Edit) -> None:
    world, key = draining_world(World, adopted=True)
    world.kill()
    world.edit_queue(key, edit)

    world.start()
    world.run(30)

    assert (draining(world), marked(world)) == (0, 0)


@pytest.mark.parametrize("edit", EDITS)
def test_who_does_not_answer_is_given_back_when_it_does(edit: Edit) -> None:
    world, key = draining_world(World)
    for worker in world.workers.workers.values():
        worker.silent = True
    world.edit_queue(key, edit)
    world.run(30)
    assert draining(world) == 3
    for worker in world.workers.workers.values():
        worker.silent = False

    world.run(30)

    assert (draining(world), marked(world)) == (0, 0)


@pytest.mark.parametrize("edit", EDITS)
def test_who_was_drained_by_hand_stays_so_while_nothing_is_scaled(edit: Edit) -> None:
    world, key = draining_world(World)
    world.edit_queue(key, edit)
    world.run(30)
    one = next(iter(world.workers.workers.values()))
    one.draining = True

    world.run(700)

    assert one.draining
    assert resumed(world) == 3.0


def test_an_adopted_deployment_is_not_left_half_drained_by_a_queue_that_goes(
    make_world: MakeWorld,
) -> None:
    world, _ = draining_world(make_world, adopted=True)
    (queue,) = world.cluster.of_kind("DetectionQueue")

    world.cluster.delete(slot_of(queue))
    world.touch()
    world.run(5)

    assert (draining(world), marked(world)) == (0, 0)
    assert world.replicas == 4


def test_a_younger_queue_on_the_same_deployment_ends_no_drain_of_the_older(
    make_world: MakeWorld,
) -> None:
    world, _ = draining_world(make_world, adopted=True)
    world.clock.advance(10)
    spec = {**copy.deepcopy(dict(MINIMAL)), "worker": {"deploymentRef": {"name": "mine"}}}
    younger = world.create_queue("video-too", spec)

    assert world.run(200, until=lambda: world.replicas == 1)

    assert world.condition(younger, "ScalingActive")["reason"] == "Conflict"
    assert resumed(world) == 0.0
    assert world.lost == []
