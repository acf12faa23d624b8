"""A simulated system in one thread: cluster, nodes, queue, workers and the operator's core."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from detection_operator.errors import ClusterError
from detection_operator.kube.objects import condition
from detection_operator.kube.port import Cluster, Key, Object
from detection_operator.metrics import Metrics
from detection_operator.readers.ports import QueueReader, Workers
from detection_operator.reconcile.observe.gather import Sources
from detection_operator.reconcile.reconciler import Reconciler
from detection_operator.scaling.records import Record
from detection_testing.kubernetes.cluster import InMemoryCluster
from detection_testing.kubernetes.controllers import Nodes
from detection_testing.scenes.api_nodes import ApiNodes
from detection_testing.scenes.api_scene import ApiScene
from detection_testing.scenes.fakes import FakeClock, FakeQueue, FakeWorkers

MINIMAL: Mapping[str, Any] = {
    "queue": {"url": "https://sqs.eu-west-1.amazonaws.com/123456789012/video"},
    "scaling": {"maxReplicas": 20, "scaleDown": {"holdSeconds": 10}},
    "serviceTime": {"coldStartSeconds": 5, "priors": [{"mediaType": "video", "seconds": 10}]},
    "worker": {"template": {"image": "worker:1"}},
}


@dataclass(slots=True)
class World:
    """Time passes in steps of a second; the operator reconciles what is due.

    Attributes:
        clock: Clock of every part.
        cluster: In memory, unless a scene of a real API server is given.
        nodes: Its controllers.
        queue: The SQS queue.
        workers: Behind the ready pods.
        records: Decisions, oldest first.
        lost: Uids of pods that were removed while busy.
        errors: API errors that reconciles met.
        reconciler: Reconciler of the running operator; None while none runs.
        keys: DetectionQueues and WorkerPools that were created.
    """

    clock: FakeClock = field(default_factory=FakeClock)
    queue: FakeQueue = field(default_factory=FakeQueue)
    cluster: InMemoryCluster | ApiScene = None  # type: ignore[assignment]  # set below
    nodes: Nodes | ApiNodes = field(init=False)
    workers: FakeWorkers = field(init=False)
    metrics: Metrics = field(default_factory=Metrics)
    records: list[Record] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    errors: list[ClusterError] = field(default_factory=list)
    reconciler: Reconciler | None = field(init=False)
    keys: list[Key] = field(default_factory=list)
    _due: dict[Key, float] = field(default_factory=dict)
    _settled: int = -1

    def __post_init__(self) -> None:
        if isinstance(self.cluster, ApiScene):
            # Its server stamps objects with the time of this machine.
            self.clock.wall = time.time()
            self.nodes = ApiNodes(self.cluster, self.clock.wall_s)
        else:
            self.cluster = InMemoryCluster(self.clock.wall_s)
            self.nodes = Nodes(self.cluster)
        self.workers = FakeWorkers(self.queue, now_s=self.clock.wall)
        self.start()

    def operator(self) -> Reconciler:
        """Return a new operator, which knows nothing yet."""
        return self.reconciler_of(self.cluster)

    def reconciler_of(self, cluster: Cluster) -> Reconciler:
        """Return a new reconciler that sees and changes a cluster."""
        reader, workers = self.ports()
        sources = Sources(cluster=cluster, reader=reader, workers=workers, clock=self.clock)
        return Reconciler(sources=sources, metrics=self.metrics, record=self.records.append)

    def ports(self) -> tuple[QueueReader, Workers]:
        """Return what operators read queues and reach workers by."""
        return self.queue, self.workers

    def start(self) -> None:
        """Start the operator, after a kill as if nothing had been."""
        self.reconciler = self.operator()
        self.reconciler.pools.ledger.wake = self._wake
        self._due.clear()

    def kill(self) -> None:
        """End the operator without a goodbye."""
        self.reconciler = None

    def run(
        self, seconds: int, *, until: Callable[[], bool] = lambda: False, each_s: float = 1.0
    ) -> bool:
        """Let time pass, in steps; say whether ``until`` came true."""
        for _ in range(int(seconds / each_s)):
            self.step(each_s)
            if until():
                return True
        return False

    def step(self, seconds: float = 1.0) -> None:
        """Let the cluster, the workers and the operator do what is due, then let time pass."""
        self.settle()
        self.work(0.0)
        self.reconcile_due()
        self.settle()
        self.clock.advance(seconds)
        self.work(seconds)

    def work(self, seconds: float) -> None:
        """Let the workers work for a while."""
        self.workers.work(seconds)

    def reconcile_due(self) -> None:
        """Reconcile what is due, once."""
        for key in self.keys if self.reconciler is not None else ():
            if self._due.get(key, float("-inf")) <= self.clock.monotonic:
                self._reconcile(key)

    def settle(self) -> None:
        """Let controllers and kubelets catch up, and workers follow their pods."""
        before, waited = self._settled, isinstance(self.nodes, ApiNodes) and self.nodes.unfinished
        self.nodes.tick()
        if isinstance(self.nodes, ApiNodes):
            self._settled = self.nodes.scene.activity
            # What was waited for may have come with this tick.
            if before == self._settled and not (waited or self.nodes.unfinished):
                return
        self.follow(self.cluster.of_kind("Pod"))

    def follow(self, pods: Sequence[dict[str, Any]]) -> None:
        """Let workers start and end with their pods."""
        ready = [
            pod["metadata"]["uid"]
            for pod in pods
            if (condition(pod, "Ready") or {}).get("status") == "True"
        ]
        self.lost += self.workers.follow(ready)

    def touch(self) -> None:
        """Let everything be due, as events of the cluster do."""
        self._due.clear()

    def _wake(self, key: Key, after_s: float) -> None:
        """Let a key be due, as the work queue does."""
        due_s = self.clock.monotonic + after_s
        self._due[key] = min(due_s, self._due.get(key, due_s))

    def _reconcile(self, key: Key) -> None:
        if self.reconciler is None:
            return
        try:
            wait_s = self.reconciler.reconcile(key)
        except ClusterError as exc:
            self.errors.append(exc)
            wait_s = 1.0
        self._due[key] = self.clock.monotonic + (wait_s if wait_s is not None else 1e9)

    def create_queue(self, name: str, spec: Mapping[str, Any]) -> Key:
        """Create a DetectionQueue, which the operator then follows."""
        key = self.cluster.create_queue(name, spec)
        self.keys.append(key)
        return key

    def create_pool(self, name: str, capacity: Mapping[str, Any], **spec: Any) -> Key:
        """Create a WorkerPool, which the operator then follows."""
        key = self.cluster.create_pool(name, {"capacity": dict(capacity), **spec})
        self.keys.append(key)
        self._due.clear()
        return key

    def create_deployment(self, name: str, *, replicas: int) -> None:
        """Create a Deployment that a user wrote, for a DetectionQueue to refer to."""
        labels = {"app": name}
        container = {"name": "worker", "image": "theirs:1"}
        self.cluster.create(
            {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": {"name": name, "namespace": "default", "labels": labels},
                "spec": {
                    "replicas": replicas,
                    "selector": {"matchLabels": labels},
                    "template": {
                        "metadata": {"labels": labels},
                        "spec": {"containers": [container]},
                    },
                },
            }
        )

    def edit_queue(self, key: Key, change: Callable[[dict[str, Any]], None]) -> None:
        """Change a DetectionQueue or WorkerPool by hand; the operator hears of it."""
        self.cluster.edit((key.kind, key.namespace, key.name), change)
        self._due.clear()

    def status(self, key: Key) -> dict[str, Any]:
        """Return the status of a DetectionQueue or WorkerPool."""
        queues = self.cluster.of_kind(key.kind)
        found = next(q for q in queues if q["metadata"]["name"] == key.name)
        status: dict[str, Any] = found.get("status", {})
        return status

    def condition(self, key: Key, name: str) -> Object:
        """Return a condition of a DetectionQueue or WorkerPool."""
        return condition({"status": self.status(key)}, name) or {}

    @property
    def loads(self) -> list[tuple[FakeQueue, FakeWorkers]]:
        """Each queue with its workers."""
        return [(self.queue, self.workers)]

    @property
    def replicas(self) -> int:
        """Replicas of all Deployments together."""
        deployments = self.cluster.of_kind("Deployment")
        return sum(item["spec"]["replicas"] for item in deployments)
