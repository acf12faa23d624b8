"""A namespace of a real API server, a queue, workers, and operators that are real processes."""

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from detection_contract.environment import ANNOTATION_CONTROL_PORT
from detection_operator.crd.manifest import PLURAL
from detection_operator.errors import ClusterError
from detection_operator.kube.client import QUEUES
from detection_operator.kube.objects import condition
from detection_operator.kube.port import Key
from detection_operator.kube.rest import MERGE_PATCH, Rest, namespaced
from detection_testing.kubernetes.apiserver import ApiServer, free_ports
from detection_testing.kubernetes.service import Service
from detection_testing.scenes.api_nodes import ApiNodes
from detection_testing.scenes.api_scene import ApiScene
from detection_testing.scenes.endpoints import SqsEndpoint, WorkerEndpoint, served
from detection_testing.scenes.fakes import FakeQueue, FakeWorkers
from detection_testing.scenes.world import MINIMAL

LOOPBACK: Final = "127.1"
TICK_S: Final = 0.1
ENVIRON: Final = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_EC2_METADATA_DISABLED": "true",
    "LOG_FORMAT": "json",
}


@dataclass(slots=True)
class OperatorProcess:
    """``detection-operator run``.

    Attributes:
        service: The process.
        port: Port of its health and metrics endpoints.
        decisions: Its record.
    """

    service: Service
    port: int
    decisions: Path

    def decided(self) -> int:
        """Return how many decisions it wrote down."""
        if not self.decisions.exists():
            return 0
        return self.decisions.read_bytes().count(b"\n")


@dataclass(slots=True)
class Site:
    """Time passes as it does; ``live`` plays nodes and workers meanwhile.

    Attributes:
        server: The API server.
        scene: Hands in its namespace.
        folder: For files of operators.
        sqs: The queue over HTTP.
        control: The workers over HTTP.
        queue: The queue.
        workers: Behind the ready pods.
        nodes: Nodes of the cluster.
        lost: Uids of pods that were removed while busy.
    """

    server: ApiServer
    scene: ApiScene
    folder: Path
    sqs: SqsEndpoint
    control: WorkerEndpoint
    queue: FakeQueue
    workers: FakeWorkers
    nodes: ApiNodes = field(init=False)
    lost: list[str] = field(default_factory=list)
    _stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    _started: int = 0

    def __post_init__(self) -> None:
        self.nodes = ApiNodes(self.scene, time.time, network=LOOPBACK)

    def close(self) -> None:
        """End all operators."""
        self._stack.close()

    def operator(
        self, *arguments: str, identity: str = "one", by_way_of: str | None = None
    ) -> OperatorProcess:
        """Start an operator.

        Args:
            arguments: Further ones of the command.
            identity: For the lease; the same for a container that is started again in its pod.
            by_way_of: URL of a proxy; None means straight to the API server.
        """
        self._started += 1
        (port,) = free_ports(1)
        decisions = self.folder / f"decisions-{self._started}.jsonl"
        namespace = self.scene.namespace
        command = [
            *(sys.executable, "-m", "detection_operator", "run"),
            *("--namespace", namespace),
            *("--kubeconfig", str(self.server.kubeconfig(url=by_way_of))),
            *("--host", "127.0.0.1", "--port", str(port)),
            *("--decisions", str(decisions)),
            *arguments,
        ]
        own = {**ENVIRON, "POD_NAME": identity, "POD_NAMESPACE": namespace}
        log = self.folder / f"operator-{self._started}.log"
        service = Service(command, log, {**os.environ, **own})
        service.start()
        self._stack.callback(service.stop)
        return OperatorProcess(service, port, decisions)

    def create_queue(
        self, name: str = "video", *, manual: int | None = None, **scaling: Any
    ) -> Key:
        """Create a DetectionQueue on the queue, polled each second.

        Args:
            name: Name of the DetectionQueue.
            manual: Replicas in Manual mode; None means Auto.
            scaling: ``spec.scaling``.
        """
        base = f"http://127.0.0.1:{self.sqs.port}"
        queue = {
            "url": f"{base}/123456789012/{name}",
            "endpointURL": base,
            "region": "eu-west-1",
            "pollIntervalSeconds": 1,
        }
        control = {ANNOTATION_CONTROL_PORT: str(self.control.port)}
        template = {
            "image": "worker:1",
            "podTemplate": {"metadata": {"annotations": control}},
        }
        spec: Mapping[str, Any] = {
            **MINIMAL,
            "queue": queue,
            "scaling": {
                "maxReplicas": 20,
                "scaleDown": {"holdSeconds": 2, "maxPercent": 100},
                "idle": {"policy": "Fixed", "fixedSeconds": 1},
                **scaling,
            },
            "worker": {"template": template},
        }
        if manual is not None:
            by_hand = {**spec["scaling"], "mode": "Manual"}
            spec = {**spec, "replicas": manual, "scaling": by_hand}
        return self.scene.create_queue(name, spec)

    def edit_queue(self, key: Key, spec: Mapping[str, Any]) -> None:
        """Merge into the spec of a DetectionQueue."""
        path = namespaced(QUEUES, key.namespace, PLURAL, key.name)
        self.scene.admin.call("PATCH", path, {"spec": spec}, content_type=MERGE_PATCH)

    def live(self, seconds: float, until: Callable[[], bool] = lambda: False) -> bool:
        """Play nodes and workers until something is so; say whether it came to be in time.

        An API server that is away stands still for the nodes too.
        """
        start_s = before_s = time.monotonic()
        while not until():
            now_s = time.monotonic()
            if now_s - start_s > seconds:
                return False
            with contextlib.suppress(ClusterError, TimeoutError):
                self._play()
            with self.control.lock:
                self.workers.work(now_s - before_s)
            before_s = now_s
            time.sleep(TICK_S)
        return True

    def _play(self) -> None:
        self.scene.activity += 1
        self.nodes.tick()
        ready = {
            pod["status"]["podIP"]: pod["metadata"]["uid"]
            for pod in self.scene.of_kind("Pod")
            if (condition(pod, "Ready") or {}).get("status") == "True"
        }
        with self.control.lock:
            self.lost += self.workers.follow(list(ready.values()))
            self.control.places = ready

    @property
    def replicas(self) -> int:
        """Replicas of all Deployments together."""
        return sum(item["spec"]["replicas"] for item in self.scene.of_kind("Deployment"))


@contextlib.contextmanager
def site(server: ApiServer, namespace: str, folder: Path) -> Iterator[Site]:
    """Make a site on an API server; end its operators with it."""
    queue = FakeQueue()
    workers = FakeWorkers(queue)
    unused, admin = Rest(server.configuration()), Rest(server.configuration())
    with (
        contextlib.closing(unused),
        contextlib.closing(admin),
        served(queue, workers) as (sqs, control),
    ):
        made = Site(
            server=server,
            scene=ApiScene(unused, admin, namespace),
            folder=folder,
            sqs=sqs,
            control=control,
            queue=queue,
            workers=workers,
        )
        with contextlib.closing(made):
            yield made
