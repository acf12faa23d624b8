"""Pods without a node on a real control plane: what its scheduler writes is what is told."""

import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from detection_operator.kube.objects import condition, micro_timestamp
from detection_operator.kube.pods.events import by_pod
from detection_operator.kube.port import Key
from detection_operator.kube.rest import MERGE_PATCH, Rest, namespaced
from detection_testing.kubernetes.apiserver import ApiServer, NoBinaries, scheduling
from detection_testing.kubernetes.controllers import GPU
from detection_testing.scenes.api_nodes import ApiNodes
from detection_testing.scenes.api_scene import ApiScene
from detection_testing.scenes.node_pool import TRIGGERED, pod_event
from detection_testing.scenes.world import MINIMAL, World

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(300)]

PATIENCE_S = 60.0
NODES = "/api/v1/nodes"


class Unattended(ApiNodes):
    """No scheduler but the real one, and no kubelets."""

    def tick(self) -> None:
        """Leave everything to the real processes."""


def add_node(admin: Rest, name: str, gpus: int) -> None:
    """Register a node as its kubelet would."""
    admin.call("POST", NODES, {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}})
    resources = {"cpu": "8", "memory": "32Gi", "pods": "110", GPU: str(gpus)}
    ready = {
        "type": "Ready",
        "status": "True",
        "reason": "KubeletReady",
        "message": "posts ready",
        "lastHeartbeatTime": micro_timestamp(time.time())[:19] + "Z",
        "lastTransitionTime": micro_timestamp(time.time())[:19] + "Z",
    }
    status = {"capacity": resources, "allocatable": resources, "conditions": [ready]}
    admin.call("PATCH", f"{NODES}/{name}/status", {"status": status}, content_type=MERGE_PATCH)
    # A new node is tainted until its conditions were seen by a controller that does not run here.
    admin.call("PATCH", f"{NODES}/{name}", {"spec": {"taints": None}}, content_type=MERGE_PATCH)


@pytest.fixture
def stage(api_server: ApiServer) -> Iterator[tuple[World, Key, Rest]]:
    """A queue with work for workers with a GPU each, on a cluster of one node without any."""
    if not api_server.controllers:
        pytest.skip("NO CONTROLLERS: kube-controller-manager not found beside kube-apiserver")
    operator, admin = Rest(api_server.configuration()), Rest(api_server.configuration())
    scene = ApiScene(operator, admin, f"scheduler-{uuid.uuid4().hex[:8]}")
    world = World(cluster=scene)
    world.nodes = Unattended(scene, world.clock.wall_s)
    try:
        with scheduling(api_server):
            add_node(admin, "plain", 0)
            template = {"image": "worker:1", "resources": {"limits": {GPU: "1"}}}
            key = world.create_queue("video", {**MINIMAL, "worker": {"template": template}})
            world.queue.visible = 60
            yield world, key, admin
    except NoBinaries as exc:
        pytest.skip(str(exc))
    finally:
        for node in admin.call("GET", NODES)["items"]:
            admin.call("DELETE", f"{NODES}/{node['metadata']['name']}")
        operator.close()
        admin.close()


def live(world: World, until: Callable[[], bool]) -> None:
    """Let real and simulated time pass."""
    end_s = time.monotonic() + PATIENCE_S
    while not until():
        assert time.monotonic() < end_s, "not in time"
        world.step(0.5)
        time.sleep(0.2)


def without_node(world: World) -> list[dict[str, Any]]:
    return [
        pod
        for pod in world.cluster.of_kind("Pod")
        if (condition(pod, "PodScheduled") or {}).get("reason") == "Unschedulable"
    ]


def test_the_words_of_a_real_scheduler_are_told(stage: tuple[World, Key, Rest]) -> None:
    world, key, admin = stage
    scene = world.cluster
    assert isinstance(scene, ApiScene)
    live(world, lambda: len(without_node(world)) >= 5)
    live(world, lambda: world.status(key)["unschedulableReplicas"] >= 5)
    waiting = world.condition(key, "CapacityAvailable")
    assert waiting["reason"] == "Waiting"
    assert f"wait for a node ({GPU}), for" in waiting["message"]
    assert f"0/1 nodes are available: 1 Insufficient {GPU}" in waiting["message"]

    pods = without_node(world)
    events = by_pod(scene.pod_events(scene.namespace))
    told = [events[pod["metadata"]["uid"]] for pod in pods]
    assert {some[0].reason for some in told} == {"FailedScheduling"}
    assert all(some[0].sign is None and "Insufficient" in some[0].message for some in told)

    # Half an hour without a node, and the pods are still there.
    world.clock.advance(1800.0)
    world.touch()
    world.step()
    blocked = world.condition(key, "CapacityAvailable")
    assert (blocked["status"], blocked["reason"]) == ("False", "Unschedulable")
    assert f"1 Insufficient {GPU}" in blocked["message"]
    assert {p["metadata"]["uid"] for p in pods} <= {
        p["metadata"]["uid"] for p in world.cluster.of_kind("Pod")
    }

    for pod in without_node(world):
        event = pod_event(pod, "TriggeredScaleUp", TRIGGERED, world.clock.wall)
        admin.call("POST", namespaced("v1", scene.namespace, "events"), event)
    live(world, lambda: world.condition(key, "CapacityAvailable")["reason"] == "Waiting")
    assert TRIGGERED in world.condition(key, "CapacityAvailable")["message"]

    before = len(without_node(world))
    add_node(admin, "gpu-1", 2)
    live(world, lambda: len(without_node(world)) == before - 2)
    live(world, lambda: world.status(key)["unschedulableReplicas"] == before - 2)
    assert world.status(key)["service"]["launchMillis"] > 0


def test_a_selector_that_no_node_has_is_told(stage: tuple[World, Key, Rest]) -> None:
    world, key, _ = stage
    world.edit_queue(
        key, lambda q: q["spec"]["worker"]["template"].update(nodeSelector={"gpu": "none-has-it"})
    )

    live(world, lambda: len(without_node(world)) >= 1)
    live(world, lambda: bool(world.status(key).get("unschedulableReplicas")))

    told = world.condition(key, "CapacityAvailable")["message"]
    assert "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector" in told
