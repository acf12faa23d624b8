"""Scheduler and kubelets for a namespace of a real API server; its controllers are real."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from detection_operator.errors import NotFound
from detection_operator.kube.objects import condition, replicas_of, timestamp
from detection_operator.kube.rest import MERGE_PATCH, namespaced
from detection_operator.kube.selectors import matches, selector_text
from detection_testing.kubernetes.controllers import GPU
from detection_testing.scenes.api_scene import ApiScene

SETTLE_S: Final = 60.0
"""Real seconds that the controllers may take on a busy machine."""
_AT_ONCE: Final = {"gracePeriodSeconds": 0, "propagationPolicy": "Background"}


@dataclass(slots=True)
class ApiNodes:
    """Scheduler and kubelets for a scene; the controllers are the real ones.

    Attributes:
        scene: Whose pods.
        clock: Seconds since the epoch, for the times of conditions.
        slots: Pods that find a node; None: no limit.
        ready_after_s: From a node to ready; None: never.
        waiting: Reason of containers that never start.
        network: First half of the pods' addresses.
        host: Node of the pods; none of its name need exist.
        removed: Names of removed pods, oldest first.
        unfinished: Some pod waits for time to pass.
    """

    scene: ApiScene
    clock: Callable[[], float]
    slots: int | None = None
    ready_after_s: float | None = 0.0
    waiting: str | None = None
    network: str = "10.1"
    host: str = "node-1"
    removed: list[str] = field(default_factory=list)
    unfinished: bool = True
    _bound: dict[str, float] = field(default_factory=dict)
    _numbers: dict[str, int] = field(default_factory=dict)
    _seen: tuple[object, ...] = ()

    def tick(self) -> None:
        """Wait until the controllers have caught up, then let pods start and end."""
        state = (self.scene.activity, self.slots, self.waiting, self.ready_after_s)
        if state == self._seen and not self.unfinished:
            return
        pods = self._settled()
        running = [self._run(pod) for pod in sorted(pods, key=_name)]
        self._seen, self.unfinished = state, not all(running)

    def answers(self, pod: Mapping[str, Any]) -> bool:
        """Say whether the worker in a pod answers: when it is ready."""
        return (condition(pod, "Ready") or {}).get("status") == "True"

    def _settled(self) -> list[dict[str, Any]]:
        end_s = time.monotonic() + SETTLE_S
        while True:
            deployments, pods = self.scene.of_kind("Deployment"), self.scene.of_kind("Pod")
            for pod in [p for p in pods if p["metadata"].get("deletionTimestamp")]:
                self._end(pod)
                pods.remove(pod)
            if all(_caught_up(item, pods) for item in deployments):
                return pods
            if time.monotonic() > end_s:
                raise TimeoutError("the controllers did not catch up")
            # A roll-out goes on only when pods become ready.
            for pod in pods:
                self._run(pod)
            time.sleep(0.02)

    def _end(self, pod: Mapping[str, Any]) -> None:
        name = _name(pod)
        try:
            path = namespaced("v1", self.scene.namespace, "pods", name)
            self.scene.admin.call("DELETE", path, _AT_ONCE)
        except NotFound:
            return
        self.removed.append(name)

    def _run(self, pod: dict[str, Any]) -> bool:
        """Bring a pod as far as it goes now; say whether no time is needed for more."""
        name = _name(pod)
        if not pod["spec"].get("nodeName"):
            names = {_name(item) for item in self.scene.of_kind("Pod")}
            used = sum(other in names for other in self._bound)
            if self.slots is not None and used >= self.slots:
                self._refuse(pod)
                return False
            self._bind(name)
        if self.waiting is not None:
            state = {"waiting": {"reason": self.waiting}}
            self._status(pod, _container(started=False, state=state))
            return True
        after_s = self.ready_after_s
        ready = after_s is not None and self.clock() - self._bound[name] >= after_s
        if (condition(pod, "Ready") or {}).get("status") == "True":
            return True
        if ready:
            state = {"running": {}}
            self._status(pod, _container(started=True, state=state), ready=True)
        else:
            self._status(pod, _container(started=False, state={"running": {}}))
        return ready

    def _bind(self, name: str) -> None:
        body = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": name},
            "target": {"apiVersion": "v1", "kind": "Node", "name": self.host},
        }
        path = namespaced("v1", self.scene.namespace, "pods", name, "binding")
        self.scene.admin.call("POST", path, body)
        self._bound[name] = self.clock()
        self._numbers[name] = len(self._numbers) + 1

    def _refuse(self, pod: Mapping[str, Any]) -> None:
        if condition(pod, "PodScheduled") is not None:
            return
        self._patch(
            _name(pod),
            [
                {
                    "type": "PodScheduled",
                    "status": "False",
                    "reason": "Unschedulable",
                    "message": f"0/3 nodes are available: 3 Insufficient {GPU}.",
                    "lastTransitionTime": timestamp(self.clock()),
                }
            ],
        )

    def _status(
        self, pod: Mapping[str, Any], container: dict[str, Any], *, ready: bool = False
    ) -> None:
        name = _name(pod)
        number = self._numbers[name]
        word, at = ("True" if ready else "False"), timestamp(self.clock())
        self._patch(
            name,
            [
                {"type": "PodScheduled", "status": "True", "lastTransitionTime": at},
                {"type": "Ready", "status": word, "lastTransitionTime": at},
            ],
            phase="Running",
            podIP=f"{self.network}.{number // 256}.{number % 256}",
            podIPs=[{"ip": f"{self.network}.{number // 256}.{number % 256}"}],
            containerStatuses=[container],
        )

    def _patch(self, name: str, conditions: list[dict[str, Any]], **status: Any) -> None:
        path = namespaced("v1", self.scene.namespace, "pods", name, "status")
        body = {"status": {"conditions": conditions, **status}}
        self.scene.admin.call("PATCH", path, body, content_type=MERGE_PATCH)


def _container(*, started: bool, state: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": "worker",
        "image": "",
        "imageID": "",
        "ready": started,
        "restartCount": 0,
        "started": started,
        "state": state,
    }


def _caught_up(deployment: Mapping[str, Any], pods: list[dict[str, Any]]) -> bool:
    status, replicas = deployment.get("status", {}), replicas_of(deployment)
    selector = selector_text(deployment["spec"]["selector"])
    count = sum(matches(selector, pod["metadata"].get("labels", {})) for pod in pods)
    current = status.get("observedGeneration") == deployment["metadata"]["generation"]
    failed = (condition(deployment, "ReplicaFailure") or {}).get("status") == "True"
    complete = bool(count == replicas == status.get("updatedReplicas", 0))
    return current and (failed or complete)


def _name(pod: Mapping[str, Any]) -> str:
    return str(pod["metadata"]["name"])
