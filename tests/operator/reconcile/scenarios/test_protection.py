"""Busy workers are protected from eviction by autoscalers, those idle for long are released."""

import copy
import logging
from collections.abc import Callable
from typing import Any

import pytest

from detection_operator.errors import Forbidden
from detection_operator.kube.pods.protection import CLUSTER_AUTOSCALER, KARPENTER, protection_of
from detection_testing.scenes.world import MINIMAL, World

MakeWorld = Callable[[], World]
PROTECTED = {CLUSTER_AUTOSCALER: "false", KARPENTER: "true"}
RELEASED = {CLUSTER_AUTOSCALER: "true"}


def spec(workers: int = 2, **worker: Any) -> dict[str, Any]:
    made = copy.deepcopy(dict(MINIMAL))
    made["scaling"] |= {"minReplicas": workers, "maxReplicas": workers}
    made["worker"] |= worker
    return made


def annotations(world: World) -> list[dict[str, str]]:
    return [
        dict(protection_of(pod["metadata"].get("annotations") or {}))
        for pod in world.cluster.of_kind("Pod")
    ]


def test_a_worker_is_protected_from_its_creation_until_it_was_idle_for_minutes(
    make_world: MakeWorld,
) -> None:
    world = make_world()
    world.create_queue("video", spec())
    world.run(20)
    assert annotations(world) == [PROTECTED, PROTECTED]

    world.run(250)
    assert annotations(world) == [PROTECTED, PROTECTED]
    assert world.run(200, until=lambda: annotations(world) == [RELEASED, RELEASED])

    world.queue.visible = 1
    assert world.run(40, until=lambda: sorted(map(len, annotations(world))) == [1, 2])
    assert PROTECTED in annotations(world)


def test_under_steady_traffic_nothing_is_written() -> None:
    world = World()
    world.workers.service_s = 1.0
    world.create_queue("video", spec())
    world.run(30)
    before = world.cluster.writes["Pod"]

    for _ in range(120):
        world.queue.visible += 2
        world.run(10)

    assert world.cluster.writes["Pod"] == before
    assert annotations(world) == [PROTECTED, PROTECTED]


def test_a_spec_may_protect_its_workers_always(make_world: MakeWorld) -> None:
    world = make_world()
    key = world.create_queue("video", spec())
    assert world.run(600, until=lambda: annotations(world) == [RELEASED, RELEASED])

    world.edit_queue(key, lambda queue: queue["spec"]["worker"].update(protection="Always"))

    assert world.run(60, until=lambda: annotations(world) == [PROTECTED, PROTECTED])
    world.run(400)
    assert annotations(world) == [PROTECTED, PROTECTED]


def test_what_the_user_s_template_sets_is_left_alone(make_world: MakeWorld) -> None:
    world = make_world()
    theirs = {"metadata": {"annotations": {KARPENTER: "true"}}}
    template = {**MINIMAL["worker"]["template"], "podTemplate": theirs}
    world.create_queue("video", spec(template=template))

    world.run(400)

    assert annotations(world) == [{**RELEASED, KARPENTER: "true"}] * 2


def test_pods_of_an_adopted_deployment_are_protected_while_they_work(
    make_world: MakeWorld,
) -> None:
    world = make_world()
    world.create_deployment("theirs", replicas=1)
    adopting = {**spec(1), "worker": {"deploymentRef": {"name": "theirs"}}}
    world.create_queue("video", adopting)
    world.queue.visible = 1

    assert world.run(60, until=lambda: annotations(world) == [PROTECTED])
    assert world.run(500, until=lambda: annotations(world) == [RELEASED])


def test_a_right_that_is_missing_is_logged_and_stops_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    world = World()
    key = world.create_queue("video", spec())
    world.run(20)
    world.cluster.fail("annotate_pod", *[Forbidden("no", status=403)] * 2)

    with caplog.at_level(logging.WARNING):
        world.run(500)

    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert world.errors == []
    assert world.condition(key, "Ready")["status"] == "True"
    world.run(700)
    assert annotations(world) == [RELEASED, RELEASED]


def test_a_fleet_that_falls_idle_is_released_in_portions() -> None:
    world = World()
    world.create_queue("video", spec(50))
    most = 0
    for _ in range(400):
        before = world.cluster.writes["Pod"]
        world.touch()
        world.step()
        most = max(most, world.cluster.writes["Pod"] - before)

    assert most == 20
    assert annotations(world) == [RELEASED] * 50


def test_in_shadow_mode_no_pod_is_annotated() -> None:
    world = World()
    key = world.create_queue("video", spec())
    world.run(20)
    world.edit_queue(key, lambda queue: queue["spec"]["scaling"].update(mode="Shadow"))

    world.run(500)

    assert annotations(world) == [PROTECTED, PROTECTED]
