"""Pods that have a node and never work: told in the cluster's words, and not asked for again."""

from collections.abc import Mapping
from typing import Any

import pytest

from detection_operator.kube.objects import condition, timestamp
from detection_operator.kube.port import Key
from detection_testing.kubernetes.cluster import InMemoryCluster
from detection_testing.kubernetes.controllers import Nodes
from detection_testing.scenes.node_pool import pod_event
from detection_testing.scenes.world import MINIMAL, World

Pod = dict[str, Any]


class Hanging(Nodes):
    """Kubelets whose pods stay as ``status`` has them.

    Attributes:
        status: Status of every pod that has a node.
    """

    status: Mapping[str, Any] = {}

    def _run(self, pod: Pod) -> None:
        if "nodeName" in pod["spec"]:
            pod["status"] |= self.status


class Rejecting(Nodes):
    """Kubelets that reject pods as long as ``reason`` is set.

    Attributes:
        reason: Why, in a word; None: they take them.
        most: Pods that they take anyway.
    """

    reason: str | None = "UnexpectedAdmissionError"
    most = 0

    def _run(self, pod: Pod) -> None:
        status = pod["status"]
        if "nodeName" not in pod["spec"] or status["phase"] == "Failed":
            return
        running = sum(p["status"]["phase"] == "Running" for p in self.cluster.of_kind("Pod"))
        if self.reason is None or status["phase"] == "Running" or running < self.most:
            super()._run(pod)
            return
        status |= {"phase": "Failed", "reason": self.reason, "message": "Pod was rejected: no"}


def world_with(nodes: type[Nodes], **parts: Any) -> tuple[World, Key]:
    world = World()
    assert isinstance(world.cluster, InMemoryCluster)
    world.nodes = nodes(world.cluster)
    merged = {name: {**MINIMAL.get(name, {}), **part} for name, part in parts.items()}
    key = world.create_queue("video", {**MINIMAL, **merged})
    world.queue.visible = 50
    return world, key


def failed(world: World) -> int:
    return sum(pod["status"]["phase"] == "Failed" for pod in world.cluster.of_kind("Pod"))


def waiting(reason: str, **words: str) -> dict[str, Any]:
    state = {"waiting": {"reason": reason, **words}}
    return {"containerStatuses": [{"name": "worker", "started": False, "state": state}]}


RUNNING = {
    "phase": "Running",
    "containerStatuses": [{"name": "worker", "started": False, "state": {"running": {}}}],
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("status", "words"),
    [
        pytest.param(waiting("ContainerCreating"), "ContainerCreating", id="creating"),
        pytest.param(RUNNING, "running but not ready", id="running"),
        pytest.param({"startTime": timestamp(1.0)}, "Pending", id="taken in and no more"),
        pytest.param({}, "no kubelet has taken it in", id="not even taken in"),
        pytest.param(
            {
                "initContainerStatuses": [
                    {"name": "fetch", "state": {"running": {}}},
                    {"name": "check", "state": {"waiting": {"reason": "PodInitializing"}}},
                ],
                **waiting("PodInitializing"),
            },
            "PodInitializing; init container check",
            id="an init container that never ends",
        ),
    ],
)
def test_pods_that_hang_for_an_hour_are_told_of_and_one_is_kept(
    status: dict[str, Any], words: str
) -> None:
    world, key = world_with(Hanging)
    assert isinstance(world.nodes, Hanging)
    world.nodes.status = status
    world.run(400, each_s=5.0)
    asked = world.replicas
    for name in ("CapacityAvailable", "Ready", "ConfigurationHealthy"):
        assert world.condition(key, name)["status"] == "False", name
        assert words in world.condition(key, name)["message"]
    assert world.condition(key, "CapacityAvailable")["reason"] == "NotStarting"
    assert asked > 5

    world.run(3600, each_s=10.0)

    assert 1 <= world.replicas <= 2
    assert world.status(key)["plan"]["binding"] == "Starts"


def test_the_words_of_events_are_told_where_the_status_has_none() -> None:
    world, key = world_with(Hanging)
    assert isinstance(world.nodes, Hanging)
    world.nodes.status = waiting("ContainerCreating")
    world.run(10)
    said = 'MountVolume.SetUp failed for volume "models": object "models" not found'
    for number, pod in enumerate(world.cluster.of_kind("Pod")):
        world.cluster.create(
            pod_event(
                pod,
                "FailedMount",
                said,
                world.clock.wall,
                number=number,
                component="kubelet",
                kind="Warning",
            )
        )
    world.run(400, each_s=5.0)

    assert f"FailedMount: {said}" in world.condition(key, "ConfigurationHealthy")["message"]
    assert f"FailedMount: {said}" in world.condition(key, "CapacityAvailable")["message"]


@pytest.mark.parametrize(
    "reason",
    ["ImagePullBackOff", "SignatureValidationFailed", "ImageInspectError", "PostStartHookError"],
)
def test_a_complaint_of_the_kubelet_is_told_at_once_whatever_it_is_called(reason: str) -> None:
    world, key = world_with(Hanging)
    assert isinstance(world.nodes, Hanging)
    world.nodes.status = waiting(reason, message="back-off 5m0s of container")
    world.run(20)
    told = world.condition(key, "ConfigurationHealthy")["message"]
    assert f"worker pod(s) cannot start: {reason}: back-off 5m0s of container" in told

    world.run(600, each_s=5.0)

    assert world.replicas <= 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("reason", "least"), [("UnexpectedAdmissionError", 0), ("OutOfcpu", 6), ("AnyOtherWord", 0)]
)
def test_a_storm_of_rejected_pods_is_bounded(reason: str, least: int) -> None:
    world, key = world_with(Rejecting, scaling={"maxReplicas": 20, "minReplicas": least})
    assert isinstance(world.nodes, Rejecting)
    world.nodes.reason = reason
    world.run(60)
    world.run(600, each_s=5.0)
    early = failed(world)
    assert early < 100
    for name in ("CapacityAvailable", "Ready", "ConfigurationHealthy"):
        assert f"{reason}: Pod was rejected: no" in world.condition(key, name)["message"]
    world.run(3000, each_s=10.0)
    assert failed(world) < early + 30

    world.nodes.reason = None
    world.queue.visible = 100
    assert world.run(1900, until=lambda: world.replicas >= 8, each_s=5.0)
    assert world.condition(key, "Ready")["status"] == "True"


def test_pods_that_start_stay_while_others_are_rejected() -> None:
    world, _ = world_with(Rejecting)
    assert isinstance(world.nodes, Rejecting)
    world.nodes.most = 4
    world.workers.service_s = 1000.0
    world.run(60)
    world.run(600, each_s=5.0)

    assert failed(world) < 100
    assert 4 <= world.replicas <= 5
    assert world.lost == []
    running = [p for p in world.cluster.of_kind("Pod") if p["status"]["phase"] == "Running"]
    assert len(running) == 4


def test_a_few_failed_pods_are_told_of_and_cost_no_replica() -> None:
    world, key = world_with(Nodes, scaling={"maxReplicas": 20, "minReplicas": 6})
    world.workers.service_s = 1000.0
    world.run(60)
    before = world.replicas
    for pod in world.cluster.of_kind("Pod")[:2]:
        pod["status"] |= {"phase": "Failed", "reason": "Evicted", "message": "low on memory"}
        (condition(pod, "Ready") or {}).update(  # type: ignore[attr-defined]  # a real dict
            status="False", lastTransitionTime=timestamp(world.clock.wall + 60)
        )
    world.run(30)

    assert world.replicas >= before
    told = world.condition(key, "ConfigurationHealthy")
    assert "2 worker pod(s) failed in the last 15m: Evicted: low on memory" in told["message"]
    assert world.condition(key, "CapacityAvailable")["status"] == "True"
    world.run(1200, each_s=10.0)
    assert world.condition(key, "ConfigurationHealthy")["status"] == "True"


def test_pods_that_do_not_end_are_told_of() -> None:
    world, key = world_with(Nodes)
    world.run(30)
    for pod in world.cluster.of_kind("Pod")[:3]:
        pod["metadata"]["deletionTimestamp"] = timestamp(world.clock.wall)
    world.run(60)
    assert world.condition(key, "ConfigurationHealthy")["status"] == "True"

    world.run(120)

    told = world.condition(key, "ConfigurationHealthy")["message"]
    assert "3 worker pod(s) should have terminated" in told


@pytest.mark.slow
def test_pods_that_start_after_twenty_minutes_serve() -> None:
    world, key = world_with(Nodes)
    world.queue.visible = 200
    world.nodes.ready_after_s = 1200.0
    world.run(1300, each_s=5.0)

    assert world.condition(key, "CapacityAvailable")["status"] == "True"
    ready = [p for p in world.cluster.of_kind("Pod") if condition(p, "Ready")]
    assert len(ready) >= 8


def test_what_was_mended_is_told_while_more_is_needed_than_allowed() -> None:
    world, key = world_with(Nodes)
    world.nodes.waiting = "ImagePullBackOff"
    world.queue.visible = 10_000
    world.run(900)
    assert world.condition(key, "CapacityAvailable")["reason"] == "NotStarting"

    world.nodes.waiting = None
    world.run(900)

    assert world.replicas == 20
    assert world.condition(key, "CapacityAvailable")["status"] == "True"


def test_workers_that_were_ready_are_not_withdrawn_when_all_fail_their_probe_for_an_hour() -> None:
    world, key = world_with(Nodes, scaling={"maxReplicas": 20, "minReplicas": 6})
    world.run(120)
    now = timestamp(world.clock.wall)
    for pod in world.cluster.of_kind("Pod"):
        ready = condition(pod, "Ready")
        assert isinstance(ready, dict)
        ready.update(status="False", lastTransitionTime=now)
        pod["status"]["containerStatuses"] = [{"started": False, "state": {"running": {}}}]
    world.nodes.ready_after_s = None
    world.run(3600, each_s=10.0)

    assert world.replicas >= 6
    assert "running but not ready" in world.condition(key, "CapacityAvailable")["message"]
