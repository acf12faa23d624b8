"""A node on this machine: runs each pod's worker as a process."""

import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from detection_contract.environment import ANNOTATION_CONTROL_PORT, CONTAINER_WORKER
from detection_operator.kube.objects import condition, timestamp
from detection_operator.kube.port import Object
from detection_testing.operator_demo.container import (
    LOOPBACK,
    WORKER,
    Answer,
    Container,
    free_port,
)
from detection_testing.operator_demo.ports import Pods

END_S: Final = 20.0
"""For all workers together, when the demonstration ends early."""


@dataclass(slots=True)
class PodCounts:
    """What became of the pods.

    Attributes:
        started: Pods that ran.
        most: Most at a time.
        first_ready_s: Monotonic seconds at which the first was ready; None before.
        removed: Pods that were deleted and ended.
        drained: Removed pods whose worker had drained before SIGTERM.
        busy: Removed pods that still held work at SIGTERM.
        unclean: Removed pods that were killed or ended with an error.
        crashed: Name and exit code of each that ended without SIGTERM.
    """

    started: int = 0
    most: int = 0
    first_ready_s: float | None = None
    removed: int = 0
    drained: int = 0
    busy: int = 0
    unclean: int = 0
    crashed: list[tuple[str, int]] = field(default_factory=list)


class Node:
    """Scheduler and kubelet for every pod there is.

    Args:
        pods: Pods of the cluster.
        folder: For the folders of the pods.
        say: Called with a human-readable line for each event.
        command: Command of the containers.

    Attributes:
        counts: What became of the pods.
    """

    def __init__(
        self,
        pods: Pods,
        folder: Path,
        say: Callable[[str], None],
        *,
        command: Sequence[str] = WORKER,
    ) -> None:
        self._pods = pods
        self._command = command
        self._folder = folder
        self._say = say
        self._containers: dict[str, Container] = {}
        self.counts = PodCounts()

    @property
    def running(self) -> int:
        """Processes that have not ended."""
        return sum(item.exit_code is None for item in self._containers.values())

    @property
    def ready(self) -> int:
        """Processes that are ready and have had no SIGTERM."""
        return sum(
            item.ready and item.exit_code is None and item.stopping_s is None
            for item in self._containers.values()
        )

    def tick(self) -> None:
        """Bring processes and pods in line.

        Raises:
            ClusterError: The API server refused or did not answer.
        """
        pods = {str(pod["metadata"]["uid"]): pod for pod in self._pods.pods()}
        for uid, pod in pods.items():
            self._follow(uid, pod)
        for uid in self._containers.keys() - pods.keys():
            # An object that is deleted without a grace period leaves no time for more than this.
            self._end(uid, None)
        self.counts.most = max(self.counts.most, self.running)

    def close(self) -> None:
        """End every process: by SIGTERM, and those that take too long by SIGKILL."""
        for container in self._containers.values():
            container.terminate()
        end_s = time.monotonic() + END_S
        while self.running and time.monotonic() < end_s:
            time.sleep(0.05)
        for container in self._containers.values():
            if container.exit_code is None:
                container.kill()

    def _follow(self, uid: str, pod: Object) -> None:
        container = self._containers.get(uid)
        if pod["metadata"].get("deletionTimestamp"):
            self._end(uid, pod)
        elif container is None:
            self._start(uid, pod)
        elif container.exit_code is not None:
            self._crashed(container, pod)
        elif not container.ready and container.is_ready():
            self._ready(container, pod)

    def _start(self, uid: str, pod: Object) -> None:
        if not pod["spec"].get("nodeName"):
            self._pods.bind(pod)
        container = Container(
            pod,
            self._folder / str(pod["metadata"]["name"]),
            port=free_port([item.port for item in self._containers.values()]),
            command=self._command,
        )
        self._containers[uid] = container
        self.counts.started += 1
        self._pods.annotate(pod, {ANNOTATION_CONTROL_PORT: str(container.port)})
        self._pods.set_status(pod, _status(pod, {"running": {}}))
        self._say(
            f"pod {container.name} starts: `detection-worker consume`, process {container.pid},"
            f" {LOOPBACK}:{container.port}"
        )

    def _ready(self, container: Container, pod: Object) -> None:
        container.ready = True
        now_s = time.monotonic()
        if self.counts.first_ready_s is None:
            self.counts.first_ready_s = now_s
        self._pods.set_status(pod, _status(pod, {"running": {}}, ready=True))
        self._say(f"pod {container.name} is ready after {now_s - container.started_s:.1f} s")

    def _crashed(self, container: Container, pod: Object) -> None:
        code = container.exit_code or 0
        if (container.name, code) in self.counts.crashed:
            return
        self.counts.crashed.append((container.name, code))
        self._pods.set_status(pod, _status(pod, {"waiting": {"reason": "CrashLoopBackOff"}}))
        self._say(f"pod {container.name} CRASHED with exit code {code}")

    def _end(self, uid: str, pod: Object | None) -> None:
        container = self._containers.get(uid)
        if container is not None and container.stopping_s is None:
            self._terminate(container)
        if container is not None and container.exit_code is None:
            self._hurry(container, pod)
            return
        if container is not None:
            self._note_end(container)
            del self._containers[uid]
        if pod is not None:
            self._pods.remove(pod)

    def _terminate(self, container: Container) -> None:
        if container.exit_code is None:
            answer = container.ask()
            if answer is None:
                # Silence is innocent only before the worker begins to receive.
                answer = Answer(busy=container.ready, drained=False)
            self.counts.busy += answer.busy
            self.counts.drained += answer.drained
            how = "BUSY" if answer.busy else "drained" if answer.drained else "idle"
            self._say(f"pod {container.name} is deleted, {how}: it gets SIGTERM")
        container.terminate()

    def _hurry(self, container: Container, pod: Object | None) -> None:
        grace_s = 30.0 if pod is None else pod["spec"].get("terminationGracePeriodSeconds", 30)
        asked_s = container.stopping_s
        if asked_s is not None and time.monotonic() - asked_s > grace_s:
            container.kill()

    def _note_end(self, container: Container) -> None:
        code = container.exit_code
        self.counts.removed += 1
        # SIGTERM during Python's start-up ends the process by the signal itself.
        early = not container.ready and code == -signal.SIGTERM
        self.counts.unclean += code != 0 and not early
        asked_s = container.stopping_s or 0.0
        self._say(
            f"pod {container.name} has ended with exit code {code}"
            f" {time.monotonic() - asked_s:.1f} s later"
        )


def _status(pod: Object, state: Mapping[str, Any], *, ready: bool = False) -> dict[str, Any]:
    now = timestamp(time.time())
    values = {"PodScheduled": True, "Initialized": True, "ContainersReady": ready, "Ready": ready}
    conditions = []
    for name, value in values.items():
        word = str(value)
        before = condition(pod, name) or {}
        same = before.get("status") == word
        since = before.get("lastTransitionTime") if same else None
        conditions.append({"type": name, "status": word, "lastTransitionTime": since or now})
    container = {
        "name": CONTAINER_WORKER,
        "image": pod["spec"]["containers"][0].get("image", ""),
        "imageID": "",
        "ready": ready,
        "started": ready,
        "restartCount": 0,
        "state": dict(state),
    }
    return {
        "phase": "Running",
        "conditions": conditions,
        "hostIP": LOOPBACK,
        "podIP": LOOPBACK,
        "podIPs": [{"ip": LOOPBACK}],
        "containerStatuses": [container],
    }
