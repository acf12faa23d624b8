"""Nodes that come and go under the workers of a world: one worker on each."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from detection_operator.kube.nodes import NODE, node_view
from detection_operator.kube.objects import timestamp
from detection_operator.kube.port import Object
from detection_testing.kubernetes.cluster import InMemoryCluster
from detection_testing.kubernetes.controllers import GPU, Nodes, condition_set
from detection_testing.scenes.api_nodes import ApiNodes
from detection_testing.scenes.api_scene import ApiScene
from detection_testing.scenes.world import World

NO_ROOM: Final = f"0/9 nodes are available: 9 Insufficient {GPU}."
DISRUPTED: Final = "karpenter.sh/disrupted"
INTERRUPTED: Final = "aws-node-termination-handler/spot-itn"
Change = Callable[[dict[str, Any]], None]


@dataclass(slots=True)
class HostNodes(Nodes):
    """Controllers in memory that bind each pod to a node of its own."""

    def _schedule(self) -> None:
        pods, now_s = self.cluster.of_kind("Pod"), self.cluster.clock()
        free = _free(self.cluster.of_kind(NODE), pods)
        for pod in pods:
            if "nodeName" in pod["spec"]:
                continue
            host = next(free, None)
            if host is None:
                why = {"reason": "Unschedulable", "message": NO_ROOM}
                condition_set(pod, "PodScheduled", "False", now_s, **why)
                continue
            pod["spec"]["nodeName"] = host
            condition_set(pod, "PodScheduled", "True", now_s)


@dataclass(slots=True)
class HostApiNodes(ApiNodes):
    """Scheduler and kubelets of a real API server that bind each pod to a node of its own."""

    def _run(self, pod: dict[str, Any]) -> bool:
        if not pod["spec"].get("nodeName"):
            host = next(_free(self.scene.nodes_made(), self.scene.of_kind("Pod")), None)
            if host is None:
                self._refuse(pod)
                return False
            self.host = host
        return super(HostApiNodes, self)._run(pod)


@dataclass(frozen=True, slots=True)
class Hosts:
    """The nodes of a world.

    Args:
        world: The world; its nodes are replaced by these.
        count: How many there are.
    """

    world: World
    count: int

    def __post_init__(self) -> None:
        world = self.world
        if isinstance(world.cluster, ApiScene):
            world.nodes = HostApiNodes(world.cluster, world.clock.wall_s)
        else:
            world.nodes = HostNodes(world.cluster)
        for number in range(self.count):
            self.add(f"host-{number}")

    def add(self, name: str) -> None:
        """Add a node."""
        metadata = {"name": name, "labels": {"pool": "gpu"}}
        status = {"allocatable": {GPU: "1"}}
        node = {"apiVersion": "v1", "kind": NODE, "metadata": metadata, "status": status}
        if isinstance(self.world.cluster, ApiScene):
            self.world.cluster.create_node(node)
        else:
            self.world.cluster.create(node)

    def cordon(self, *names: str, cordoned: bool = True) -> None:
        """Cordon nodes, as ``kubectl cordon`` does, or uncordon them."""
        self._edit(names, lambda node: node["spec"].update(unschedulable=cordoned))

    def taint(self, key: str, *names: str) -> None:
        """Taint nodes."""
        taint = {"key": key, "effect": "NoSchedule"}
        self._edit(names, lambda node: node["spec"].setdefault("taints", []).append(taint))

    def end(self, name: str) -> None:
        """End a node as a spot interruption does: it and its pods are gone at once."""
        cluster = self.world.cluster
        for pod in cluster.of_kind("Pod"):
            if pod["spec"].get("nodeName") == self._name(name):
                metadata = pod["metadata"]
                if isinstance(cluster, InMemoryCluster):
                    metadata["deletionTimestamp"] = timestamp(cluster.clock())
                cluster.delete(("Pod", metadata["namespace"], metadata["name"]))
        if isinstance(cluster, ApiScene):
            cluster.delete_node(name)
        else:
            cluster.delete((NODE, "", name))
        self.world.touch()

    def of(self, pod: Object) -> str:
        """Return the node of a pod; empty while it has none."""
        return str(pod["spec"].get("nodeName") or "").removeprefix(self._name(""))

    def busy(self) -> list[str]:
        """Return the nodes whose worker holds a message."""
        workers = self.world.workers.workers
        return [
            self.of(pod)
            for pod in self.world.cluster.of_kind("Pod")
            if (worker := workers.get(pod["metadata"]["uid"])) and worker.held
        ]

    def used(self) -> set[str]:
        """Return the nodes that have a pod."""
        return {self.of(pod) for pod in self.world.cluster.of_kind("Pod")} - {""}

    def _name(self, name: str) -> str:
        cluster = self.world.cluster
        return cluster.node_name(name) if isinstance(cluster, ApiScene) else name

    def _edit(self, names: tuple[str, ...], change: Change) -> None:
        cluster = self.world.cluster
        for name in names:
            if isinstance(cluster, ApiScene):
                cluster.edit_node(name, change)
            else:
                cluster.edit((NODE, "", name), _with_spec(change))
        # A watch tells the operator.
        self.world.touch()


def _with_spec(change: Change) -> Change:
    def changed(node: dict[str, Any]) -> None:
        node.setdefault("spec", {})
        change(node)

    return changed


def _free(nodes: list[dict[str, Any]], pods: list[dict[str, Any]]) -> Iterator[str]:
    """Yield the nodes that take a pod."""
    used = {pod["spec"].get("nodeName") for pod in pods}
    names = [node["metadata"]["name"] for node in nodes if not node_view(node).leaving]
    return (name for name in sorted(names, key=_number) if name not in used)


def _number(name: str) -> int:
    return int(name.rpartition("-")[2])
