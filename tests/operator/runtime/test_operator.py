"""The whole process on a real API server: kopf, lease, cache, work queue, under its own role."""

import contextlib
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from detection_operator.crd.manifest import PLURAL
from detection_operator.errors import Conflict, OperatorError
from detection_operator.kube.client import QUEUES
from detection_operator.kube.rest import MERGE_PATCH, Rest, namespaced
from detection_operator.runtime.operator import Operator
from detection_operator.scaling.records import from_line, redecide
from detection_operator.settings import OperatorSettings
from detection_testing.kubernetes.apiserver import ApiServer
from detection_testing.scenes.api_nodes import ApiNodes
from detection_testing.scenes.api_scene import ApiScene
from detection_testing.scenes.fakes import FakeQueue, FakeWorkers
from detection_testing.scenes.world import MINIMAL

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

RULES: list[dict[str, Any]] = [
    {
        "apiGroups": ["detection-queue.dev"],
        "resources": ["detectionqueues"],
        "verbs": ["get", "list", "watch"],
    },
    {
        "apiGroups": ["detection-queue.dev"],
        "resources": ["detectionqueues/status"],
        "verbs": ["patch"],
    },
    {
        "apiGroups": ["apps"],
        "resources": ["deployments"],
        "verbs": ["get", "list", "watch", "create", "patch", "delete"],
    },
    {"apiGroups": ["apps"], "resources": ["deployments/scale"], "verbs": ["patch"]},
    {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch", "patch"]},
    {"apiGroups": [""], "resources": ["events"], "verbs": ["create"]},
    {
        "apiGroups": ["policy"],
        "resources": ["poddisruptionbudgets"],
        "verbs": ["get", "create", "patch", "delete"],
    },
    {
        "apiGroups": ["coordination.k8s.io"],
        "resources": ["leases"],
        "verbs": ["get", "create", "update"],
    },
]


@dataclass
class Stage:
    """A namespace with a role, a queue and workers; operators are started on it."""

    server: ApiServer
    scene: ApiScene
    folder: Path
    queue: FakeQueue = field(default_factory=FakeQueue)
    workers: FakeWorkers = field(init=False)
    nodes: ApiNodes = field(init=False)
    stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def __post_init__(self) -> None:
        self.workers = FakeWorkers(self.queue)
        self.nodes = ApiNodes(self.scene, time.time)

    def operator(self, name: str, **settings: Any) -> tuple[Operator, threading.Thread]:
        operator = Operator(
            OperatorSettings(
                namespaces=(self.scene.namespace,),
                namespace=self.scene.namespace,
                identity=name,
                host="127.0.0.1",
                port=0,
                kubeconfig=self.server.kubeconfig("operator-token"),
                **settings,
            ),
            reader=self.queue,
            workers=self.workers,
        )

        def run() -> None:
            with contextlib.suppress(OperatorError):
                operator.run()

        thread = threading.Thread(target=run, name=name)
        thread.start()
        self.stack.callback(thread.join, 20)
        self.stack.callback(operator.stop)
        return operator, thread

    def live(self, seconds: float, until: Callable[[], bool]) -> float:
        """Play the nodes until something is so; return how long it took."""
        start_s = before_s = time.monotonic()
        while not until():
            now_s = time.monotonic()
            assert now_s - start_s < seconds, "it did not come to be in time"
            self.scene.activity += 1
            self.nodes.tick()
            ready = [
                p["metadata"]["uid"]
                for p in self.scene.of_kind("Pod")
                if any(
                    c["type"] == "Ready" and c["status"] == "True"
                    for c in p["status"].get("conditions", ())
                )
            ]
            assert self.workers.follow(ready) == []
            self.workers.work(now_s - before_s)
            before_s = now_s
            time.sleep(0.05)
        return time.monotonic() - start_s

    def pass_through(self, operator: Operator, name: str, count: int) -> None:
        """Wait, without playing the nodes, until a counter has grown by ``count``."""
        reached = self.metrics_of(operator, name) + count
        end_s = time.monotonic() + 60
        while self.metrics_of(operator, name) < reached:
            assert time.monotonic() < end_s, f"{name} stands still"
            time.sleep(0.05)

    def metrics_of(self, operator: Operator, name: str) -> float:
        """Return the sum over the labels of a metric."""
        return sum(
            sample.value
            for family in operator.metrics.registry.collect()
            for sample in family.samples
            if sample.name == f"detection_operator_{name}"
        )

    @property
    def replicas(self) -> int:
        return sum(d["spec"]["replicas"] for d in self.scene.of_kind("Deployment"))


@pytest.fixture
def stage(api_server: ApiServer, tmp_path: Path) -> Iterator[Stage]:
    admin, unused = Rest(api_server.configuration()), Rest(api_server.configuration())
    scene = ApiScene(unused, admin, f"stage-{uuid.uuid4().hex[:8]}")
    group = "rbac.authorization.k8s.io/v1"
    metadata = {"name": "operator", "namespace": scene.namespace}
    role = {"apiVersion": group, "kind": "Role", "metadata": metadata, "rules": RULES}
    binding = {
        "apiVersion": group,
        "kind": "RoleBinding",
        "metadata": metadata,
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "operator"},
        "subjects": [
            {"kind": "User", "name": "operator", "apiGroup": "rbac.authorization.k8s.io"}
        ],
    }
    with contextlib.suppress(Conflict):
        admin.call("POST", namespaced(group, scene.namespace, "roles"), role)
        admin.call("POST", namespaced(group, scene.namespace, "rolebindings"), binding)
    stage = Stage(api_server, scene, tmp_path)
    with stage.stack:
        yield stage
    admin.close()
    unused.close()


def manifest(**scaling: Any) -> dict[str, Any]:
    merged = {**MINIMAL["scaling"], **scaling}
    return {**MINIMAL, "scaling": merged, "queue": {**MINIMAL["queue"], "pollIntervalSeconds": 1}}


def test_a_queue_gets_workers_and_loses_them_under_a_role_of_least_privilege(
    stage: Stage,
) -> None:
    decisions = stage.folder / "decisions.jsonl"
    operator, thread = stage.operator("one", decisions=decisions)
    stage.workers.service_s = 0.5
    idle = {"policy": "Fixed", "fixedSeconds": 1}
    key = stage.scene.create_queue(
        "video", manifest(idle=idle, scaleDown={"holdSeconds": 2, "maxPercent": 100})
    )
    stage.live(20, lambda: bool(stage.scene.of_kind("Deployment")))

    stage.queue.visible = 60
    took_s = stage.live(15, lambda: stage.replicas > 0)
    stage.live(60, lambda: stage.replicas == 0 and stage.queue.visible == 0)
    stage.live(20, lambda: not stage.scene.of_kind("Pod"))

    assert took_s < 8
    queue = stage.scene.queue(key)
    assert queue is not None
    assert "finalizers" not in queue["metadata"]
    assert not queue["metadata"].get("annotations")
    assert stage.metrics_of(operator, "busy_terminated_total") == 0.0
    operator.stop()
    thread.join(20)
    assert not thread.is_alive()
    lines = decisions.read_text(encoding="utf-8").splitlines()
    assert len(lines) > 10
    for line in lines:
        record = from_line(line)
        assert redecide(record) == record.plan


def test_nothing_is_written_at_rest_and_deleting_needs_no_operator(stage: Stage) -> None:
    operator, thread = stage.operator("one", leader_election=False)
    key = stage.scene.create_queue("video", manifest())
    stage.live(20, lambda: bool(stage.scene.of_kind("PodDisruptionBudget")))
    stage.pass_through(operator, "reconciles_total", 5)
    before = stage.metrics_of(operator, "api_writes_total")

    stage.pass_through(operator, "reconciles_total", 10)

    assert stage.metrics_of(operator, "api_writes_total") == before
    with urllib.request.urlopen(f"http://127.0.0.1:{operator.port}/healthz") as answer:
        assert answer.status == 200
    operator.stop()
    thread.join(20)
    start_s = time.monotonic()
    path = namespaced(QUEUES, key.namespace, PLURAL, key.name)
    stage.scene.admin.call("DELETE", path)
    assert stage.scene.queue(key) is None
    assert time.monotonic() - start_s < 5


def test_of_two_operators_one_leads_and_the_other_takes_over(stage: Stage) -> None:
    first, first_thread = stage.operator("one")
    stage.live(15, first.leading.is_set)
    second, _ = stage.operator("two")
    stage.pass_through(second, "api_requests_total", 3)
    assert not second.leading.is_set()
    key = stage.scene.create_queue("video", manifest(mode="Manual") | {"replicas": 2})
    stage.live(20, lambda: stage.replicas == 2)

    first.stop()
    first_thread.join(20)
    took_s = stage.live(20, second.leading.is_set)
    path = namespaced(QUEUES, key.namespace, PLURAL, key.name, "scale")
    body = {"spec": {"replicas": 3}}
    stage.scene.admin.call("PATCH", path, body, content_type=MERGE_PATCH)
    stage.live(20, lambda: stage.replicas == 3)

    assert took_s < 5


def test_a_leader_that_loses_its_lease_ends(stage: Stage) -> None:
    operator, thread = stage.operator("one")
    stage.live(15, operator.leading.is_set)

    path = namespaced(
        "coordination.k8s.io/v1", stage.scene.namespace, "leases", "detection-queue-operator"
    )
    body = {"spec": {"holderIdentity": "another", "leaseDurationSeconds": 60}}
    stage.scene.admin.call("PATCH", path, body, content_type=MERGE_PATCH)
    thread.join(20)

    assert not thread.is_alive()
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"http://127.0.0.1:{operator.port}/healthz", timeout=2)
