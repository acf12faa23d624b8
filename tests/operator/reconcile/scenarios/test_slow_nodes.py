"""Nodes that take minutes to come, some of them, or none: nothing that waits is given up."""

from collections.abc import Mapping
from typing import Any

import pytest

from detection_operator.errors import Forbidden
from detection_operator.kube.objects import condition
from detection_testing.scenes.node_pool import (
    BACKLOG,
    COMPONENT,
    NO_ROOM,
    NODES,
    NOT_TRIGGERED,
    SERVICE_S,
    WORK_S,
    backlog_world,
    clear_backlog,
    pod_event,
    pool_of,
)
from detection_testing.scenes.world import World

GPU_YAML = {"unschedulableSeconds": 300, "probeReplicas": 2, "maxBackoffSeconds": 3600}
DEFAULT: Mapping[str, Any] = {}


def capacity_of(world: World) -> Mapping[str, Any]:
    return world.condition(world.keys[0], "CapacityAvailable")


@pytest.mark.slow
@pytest.mark.parametrize("capacity", [DEFAULT, GPU_YAML], ids=["default", "gpu.yaml"])
@pytest.mark.parametrize("empty_s", [30.0, 600.0])
@pytest.mark.parametrize("launch_s", [60.0, 120.0, 200.0, 240.0, 300.0, 480.0, 720.0, 1200.0])
def test_a_backlog_is_done_within_a_launch_and_one_and_a_half_times_the_work(
    launch_s: float, empty_s: float, capacity: Mapping[str, Any]
) -> None:
    outcome = clear_backlog(backlog_world(capacity, launch_s=launch_s, empty_s=empty_s))

    assert outcome.done_s is not None
    assert outcome.done_s <= launch_s + 1.5 * WORK_S
    assert outcome.launched <= NODES


def test_a_node_that_takes_four_minutes_finds_its_pod() -> None:
    outcome = clear_backlog(backlog_world(launch_s=240.0))

    assert outcome.done_s is not None
    assert outcome.done_s <= 240.0 + 1.5 * WORK_S
    assert outcome.launched <= NODES


@pytest.mark.slow
@pytest.mark.parametrize("posts_events", [False, True], ids=["silent", "autoscaler posts events"])
@pytest.mark.parametrize("launch_s", [240.0, 1200.0])
def test_what_part_of_the_nodes_can_do_is_done(launch_s: float, *, posts_events: bool) -> None:
    world = backlog_world(launch_s=launch_s, most=3, posts_events=posts_events)
    outcome = clear_backlog(world)

    assert outcome.done_s is not None
    assert outcome.done_s <= launch_s + 1.5 * BACKLOG * SERVICE_S / 3
    assert outcome.launched == 3


@pytest.mark.slow
@pytest.mark.parametrize("failing_s", [600.0, 3600.0])
def test_launches_that_fail_for_a_while_cost_no_more_than_that_while(failing_s: float) -> None:
    world = backlog_world(launch_s=240.0)
    pool_of(world).failing_until_s = world.clock.wall + failing_s
    outcome = clear_backlog(world)

    assert outcome.done_s is not None
    assert outcome.done_s <= failing_s + 2 * 240.0 + 1.5 * WORK_S


def test_a_node_for_one_of_several_pods_serves_and_the_others_wait_on() -> None:
    world = backlog_world(launch_s=240.0, most=1)
    world.run(400)

    ready = [p for p in world.cluster.of_kind("Pod") if (condition(p, "Ready") or {})]
    assert len(ready) == 1
    assert world.replicas >= 5
    said = capacity_of(world)
    assert (said["status"], said["reason"]) == ("False", "Unschedulable")
    assert NO_ROOM in said["message"]
    assert "no capacity for 7m, the slowest recent launch took 4m" in said["message"]


def test_after_a_launch_was_seen_as_long_a_wait_is_none_too_long() -> None:
    world = backlog_world(launch_s=400.0, empty_s=30.0)
    assert clear_backlog(world).done_s is not None
    world.run(1500)
    assert world.replicas == 0

    world.kill()
    world.start()
    world.queue.visible = BACKLOG
    world.run(390)

    assert capacity_of(world)["reason"] == "Waiting"
    assert "the slowest recent launch took 7m" in capacity_of(world)["message"]


def test_pods_that_no_node_will_cure_stay_few_and_the_condition_tells_why() -> None:
    world = backlog_world(launch_s=240.0, most=0, posts_events=True)
    world.queue.visible = 30
    world.run(60)
    asked = world.replicas
    assert 1 <= asked < NODES
    said = capacity_of(world)
    assert (said["status"], said["reason"]) == ("False", "Unschedulable")
    assert NO_ROOM in said["message"]
    assert f"NotTriggerScaleUp: {NOT_TRIGGERED}" in said["message"]

    world.queue.visible = 10 * BACKLOG
    world.run(100)

    assert world.replicas == asked


def test_while_an_autoscaler_adds_nodes_new_demand_is_asked_for() -> None:
    world = backlog_world({"unschedulableSeconds": 30}, launch_s=600.0, posts_events=True)
    world.queue.visible = 100
    world.run(200)
    asked = world.replicas
    assert asked < NODES
    said = capacity_of(world)
    assert (said["status"], said["reason"]) == ("True", "Waiting")
    assert "nodes are being launched for" in said["message"]

    world.queue.visible = 10 * BACKLOG
    world.run(60)

    assert world.replicas == NODES


def test_a_node_that_an_autoscaler_promised_and_never_came_is_missed() -> None:
    world = backlog_world(launch_s=1e6, posts_events=True)
    world.run(800)
    assert capacity_of(world)["reason"] == "Waiting"

    world.run(200)

    assert "8 pods unschedulable" in capacity_of(world)["message"]
    assert capacity_of(world)["reason"] == "Unschedulable"


@pytest.mark.parametrize(
    ("component", "reason"),
    [
        pytest.param("karpenter", "Nominated", id="karpenter nominates a node"),
        pytest.param(COMPONENT, "TriggeredScaleUp", id="the cluster autoscaler adds one"),
    ],
)
def test_the_newest_word_about_a_pod_counts(component: str, reason: str) -> None:
    world = backlog_world(launch_s=1e6, most=0)
    world.queue.visible = 1
    world.run(20)
    (pod,) = world.cluster.of_kind("Pod")
    now_s = world.clock.wall
    world.cluster.create(
        pod_event(pod, "FailedScheduling", "no nodepool fits", now_s - 5, component="karpenter")
    )
    world.run(20)
    assert capacity_of(world)["reason"] == "Unschedulable"
    assert "no nodepool fits" in capacity_of(world)["message"]

    word = pod_event(pod, reason, "soon", world.clock.wall, number=2, component=component)
    world.cluster.create(word)
    world.run(20)

    assert capacity_of(world)["reason"] == "Waiting"


def test_without_the_right_to_read_events_pods_wait_as_well() -> None:
    world = backlog_world(launch_s=240.0)
    refusals = [Forbidden("events is forbidden", status=403)] * 100
    world.cluster.fail("pod_events", *refusals)
    outcome = clear_backlog(world)

    assert outcome.done_s is not None
    assert outcome.done_s <= 240.0 + 1.5 * WORK_S
    assert world.errors == []


def test_pods_that_wait_go_when_they_are_not_needed_any_more_and_what_is_known_stays() -> None:
    world = backlog_world({"unschedulableSeconds": 60}, most=0)
    world.run(120)
    assert world.replicas >= 7

    world.queue.visible = 0
    assert world.run(900, until=lambda: world.replicas == 0)
    said = capacity_of(world)
    assert (said["status"], said["reason"]) == ("False", "Unschedulable")
    assert NO_ROOM in said["message"]
    assert "0 pods" not in said["message"]


@pytest.mark.parametrize("budget", [None, {"replicaHourCost": "1", "maxPerHour": "5"}])
def test_a_bound_that_is_reached_is_no_lack_of_room(budget: dict[str, str] | None) -> None:
    world = backlog_world(launch_s=300)
    if budget is not None:
        world.edit_queue(world.keys[0], lambda queue: queue["spec"].update(budget=budget))
    world.queue.visible = 10_000
    world.run(200)
    assert capacity_of(world)["reason"] == "Unschedulable"

    world.run(1400)

    assert all("nodeName" in pod["spec"] for pod in world.cluster.of_kind("Pod"))
    assert capacity_of(world)["status"] == "True"


def test_pods_that_wait_for_a_node_cost_nothing() -> None:
    world = backlog_world(most=0)
    key = world.keys[0]
    world.edit_queue(
        key, lambda q: q["spec"].update(budget={"replicaHourCost": "4", "maxPerDay": "100"})
    )
    world.run(3600)

    assert world.replicas >= 7
    cost = world.status(key)["cost"]
    assert cost["perHour"] == "0.00"
    assert float(cost["today"]) < 0.1


def test_an_operator_that_starts_anew_gives_up_no_launch() -> None:
    world = backlog_world(launch_s=1200.0)
    world.run(600)

    world.kill()
    world.start()
    outcome = clear_backlog(world)

    assert outcome.done_s is not None
    assert 600 + outcome.done_s <= 1200.0 + 1.5 * WORK_S
