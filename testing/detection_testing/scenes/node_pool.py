"""A node pool with slow launches: one node for each pod that does not fit."""

import copy
import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from detection_operator.kube.objects import timestamp
from detection_testing.kubernetes.cluster import InMemoryCluster
from detection_testing.kubernetes.controllers import GPU, Nodes, condition_set
from detection_testing.scenes.world import MINIMAL, World

NO_ROOM = f"0/3 nodes are available: 3 Insufficient {GPU}. preemption: 0/3 nodes are available."
NOT_TRIGGERED = "pod didn't trigger scale-up: 1 max node group size reached"
TRIGGERED = "pod triggered scale-up: [{gpu-nodes 0->1 (max: 8)}]"
COMPONENT = "cluster-autoscaler"


@dataclass(slots=True)
class NodePool(Nodes):
    """A node for each pod; one that was ordered comes even if its pod was withdrawn meanwhile.

    Attributes:
        launch_s: From an order to the node.
        empty_s: Seconds after which a node without pods is removed.
        most: Nodes that can ever be there at a time; None: no limit.
        failing_until_s: Orders before this time (seconds since the epoch) come to nothing.
        posts_events: The autoscaler posts events, as the Cluster Autoscaler does.
        launched: Nodes that came.
        node_s: Seconds of all nodes so far.
    """

    launch_s: float = 200.0
    empty_s: float = 30.0
    most: int | None = None
    failing_until_s: float = 0.0
    posts_events: bool = False
    launched: int = 0
    node_s: float = 0.0
    _coming: list[tuple[float, bool]] = field(default_factory=list)
    _idle_since: dict[str, float] = field(default_factory=dict)
    _posted: dict[str, str] = field(default_factory=dict)
    _ticked_s: float | None = None
    _event_numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    def _schedule(self) -> None:
        now_s = self.cluster.clock()
        self.node_s += len(self._idle_since) * (now_s - (self._ticked_s or now_s))
        self._ticked_s = now_s
        self._arrive(now_s)
        pods = self.cluster.of_kind("Pod")
        used = {pod["spec"]["nodeName"] for pod in pods if "nodeName" in pod["spec"]}
        homeless = []
        for pod in [pod for pod in pods if "nodeName" not in pod["spec"]]:
            free = next((name for name in self._idle_since if name not in used), None)
            if free is None:
                condition_set(
                    pod, "PodScheduled", "False", now_s, reason="Unschedulable", message=NO_ROOM
                )
                homeless.append(pod)
                continue
            used.add(free)
            pod["spec"]["nodeName"] = free
            condition_set(pod, "PodScheduled", "True", now_s)
        self._order(homeless, now_s)
        self._remove_empty(used, now_s)

    def _arrive(self, now_s: float) -> None:
        due = [order for order in self._coming if order[0] <= now_s]
        self._coming = [order for order in self._coming if order[0] > now_s]
        for _ in [order for order in due if order[1]]:
            self.launched += 1
            self._idle_since[f"auto-{self.launched}"] = now_s

    def _order(self, homeless: list[dict[str, Any]], now_s: float) -> None:
        for place, pod in enumerate(homeless):
            if place >= len(self._coming):
                there = len(self._idle_since) + len(self._coming)
                if self.most is not None and there >= self.most:
                    self._tell(pod, "NotTriggerScaleUp", NOT_TRIGGERED)
                    continue
                self._coming.append((now_s + self.launch_s, now_s >= self.failing_until_s))
            self._tell(pod, "TriggeredScaleUp", TRIGGERED)

    def _tell(self, pod: dict[str, Any], reason: str, message: str) -> None:
        metadata = pod["metadata"]
        if not self.posts_events or self._posted.get(metadata["uid"]) == reason:
            return
        self._posted[metadata["uid"]] = reason
        self.cluster.create(
            pod_event(pod, reason, message, self.cluster.clock(), number=next(self._event_numbers))
        )

    def _remove_empty(self, used: set[str], now_s: float) -> None:
        for node, since_s in list(self._idle_since.items()):
            if node in used:
                self._idle_since[node] = now_s
            elif now_s - since_s >= self.empty_s:
                del self._idle_since[node]


def pod_event(
    pod: Mapping[str, Any],
    reason: str,
    message: str,
    at_s: float,
    *,
    number: int = 1,
    component: str = COMPONENT,
    kind: str = "Normal",
) -> dict[str, Any]:
    """Return an event about a pod, as the older API of events has it."""
    metadata = pod["metadata"]
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{metadata['name']}.{number}", "namespace": metadata["namespace"]},
        "involvedObject": {
            "kind": "Pod",
            "namespace": metadata["namespace"],
            "name": metadata["name"],
            "uid": metadata["uid"],
        },
        "type": kind,
        "reason": reason,
        "message": message,
        "lastTimestamp": timestamp(at_s),
        "source": {"component": component},
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of a backlog.

    Attributes:
        done_s: When the last message was finished; None: not in time.
        launched: Nodes that came.
        node_hours: That they were there.
    """

    done_s: int | None
    launched: int
    node_hours: float


BACKLOG = 300
SERVICE_S = 10
NODES = 8
WORK_S = BACKLOG * SERVICE_S / NODES
"""Seconds that all workers together need."""


def backlog_world(capacity: Mapping[str, Any] | None = None, **pool: Any) -> World:
    """Return a world with a backlog, an objective of ten minutes and nodes that take time."""
    world = World()
    world.workers.service_s = SERVICE_S
    world.nodes = NodePool(pool_cluster(world), **pool)
    spec = copy.deepcopy(dict(MINIMAL))
    spec["scaling"] = {**spec["scaling"], "maxReplicas": NODES}
    spec["serviceTime"] = {
        "coldStartSeconds": 60,
        "priors": [{"mediaType": "video", "seconds": SERVICE_S}],
    }
    spec["slo"] = {"queueWaitSeconds": 600, "objectivePercent": 99}
    if capacity:
        spec["capacity"] = dict(capacity)
    world.create_queue("video", spec)
    world.queue.visible = BACKLOG
    return world


def clear_backlog(world: World, *, within_s: int = 3 * 3600) -> Outcome:
    """Let the backlog be worked off."""
    queue, begun_s = world.queue, world.clock.monotonic
    done = world.run(within_s, until=lambda: not queue.visible and not queue.in_flight)
    pool = pool_of(world)
    return Outcome(
        done_s=round(world.clock.monotonic - begun_s) if done else None,
        launched=pool.launched,
        node_hours=pool.node_s / 3600,
    )


def pool_of(world: World) -> NodePool:
    """Return the pool of a world that has one.

    Raises:
        TypeError: It has other nodes.
    """
    if not isinstance(world.nodes, NodePool):
        raise TypeError("the world has no node pool")
    return world.nodes


def pool_cluster(world: World) -> InMemoryCluster:
    """Return the cluster of a world in memory.

    Raises:
        TypeError: It is a real API server, whose nodes are real too.
    """
    if not isinstance(world.cluster, InMemoryCluster):
        raise TypeError("node pools are for worlds in memory")
    return world.cluster
