"""A kubelet that rejects every pod, under the real controllers, which replace each at once."""

import contextlib
import time
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from detection_operator.errors import Conflict, NotFound
from detection_operator.kube.port import Key
from detection_operator.kube.rest import MERGE_PATCH, Rest, namespaced
from detection_testing.kubernetes.apiserver import ApiServer
from detection_testing.scenes.api_nodes import ApiNodes
from detection_testing.scenes.api_scene import ApiScene
from detection_testing.scenes.world import MINIMAL, World

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(300)]

REJECTED = {
    "phase": "Failed",
    "reason": "UnexpectedAdmissionError",
    "message": "Pod was rejected: Allocate failed due to no healthy devices present",
}


class Rejecting(ApiNodes):
    """Binds each pod to a node whose kubelet rejects it."""

    def tick(self) -> None:
        """Reject what there is."""
        for pod in self.scene.of_kind("Pod"):
            # The controllers may have deleted it, or be about to, since it was listed.
            with contextlib.suppress(NotFound, Conflict):
                self._reject(pod)

    def _reject(self, pod: Mapping[str, Any]) -> None:
        name, gone = pod["metadata"]["name"], pod["metadata"].get("deletionTimestamp")
        if gone or pod["status"].get("phase") == "Failed":
            return
        if not pod["spec"].get("nodeName"):
            self._bind(name)
        path = namespaced("v1", self.scene.namespace, "pods", name, "status")
        self.scene.admin.call("PATCH", path, {"status": REJECTED}, content_type=MERGE_PATCH)


@pytest.fixture
def stormy(api_server: ApiServer) -> Iterator[tuple[World, Key]]:
    if not api_server.controllers:
        pytest.skip("NO CONTROLLERS: kube-controller-manager not found beside kube-apiserver")
    operator, admin = Rest(api_server.configuration()), Rest(api_server.configuration())
    scene = ApiScene(operator, admin, f"storm-{uuid.uuid4().hex[:8]}")
    world = World(cluster=scene)
    world.nodes = Rejecting(scene, world.clock.wall_s)
    key = world.create_queue("video", MINIMAL)
    world.queue.visible = 60
    yield world, key
    operator.close()
    admin.close()


def test_the_real_controllers_make_few_pods_that_are_rejected(stormy: tuple[World, Key]) -> None:
    world, key = stormy

    def live(steps: int) -> int:
        for _ in range(steps):
            # A watch tells the operator of each pod that fails.
            world.touch()
            world.step()
            time.sleep(0.2)
        return len(world.cluster.of_kind("Pod"))

    made = live(60)
    assert 4 <= made <= 120
    told = world.condition(key, "CapacityAvailable")
    assert told["reason"] == "NotStarting"
    assert "UnexpectedAdmissionError: Pod was rejected" in told["message"]

    assert live(60) <= made + 10
    assert world.replicas <= 1
