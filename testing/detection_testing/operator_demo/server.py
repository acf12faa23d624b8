"""A real API server with the whole operator on it, as ``run`` starts it."""

import contextlib
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from detection_operator.crd.kinds import KINDS, POOL, QUEUE, Kind
from detection_operator.crd.manifest import manifest
from detection_operator.errors import ClusterError, NotFound
from detection_operator.kube.client import QUEUES, KubernetesCluster
from detection_operator.kube.objects import API_VERSION, replicas_of
from detection_operator.kube.port import Key, Object
from detection_operator.kube.rest import MERGE_PATCH, Rest, namespaced
from detection_operator.runtime.operator import Operator
from detection_operator.settings import OperatorSettings
from detection_testing.kubernetes.apiserver import (
    CONTROLLER_MANAGER,
    ApiServer,
    NoBinaries,
    assets,
)
from detection_testing.kubernetes.apiserver import running as running_server
from detection_testing.operator_demo.ports import NAMESPACE, NODE, QUEUE_NAME, OperatorEnded

CRD_PATH: Final = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
SERVED_S: Final = 20.0
STOP_S: Final = 15.0
_AT_ONCE: Final = {"gracePeriodSeconds": 0}


class ServerKubernetes:
    """Implements ``Kubernetes`` on an API server that runs.

    Args:
        server: With its controllers.
        decisions: File for the operator's decision records.

    Raises:
        ClusterError: The API server refused the CRD or the namespace.
    """

    def __init__(self, server: ApiServer, decisions: Path) -> None:
        self._version = server.version
        self._rest = Rest(server.configuration())
        self._cluster = KubernetesCluster(self._rest, (NAMESPACE,))
        self._failure = ""
        self._install()
        settings = OperatorSettings(
            namespaces=(NAMESPACE,),
            namespace=NAMESPACE,
            host="127.0.0.1",
            port=0,
            kubeconfig=server.kubeconfig(),
            decisions=decisions,
        )
        self._operator = Operator(settings)
        self._thread = threading.Thread(target=self._run, name="operator", daemon=True)

    @property
    def description(self) -> str:
        """Human-readable description."""
        return f"a real kube-apiserver {self._version} with etcd and kube-controller-manager"

    def start(self) -> None:
        """Start the operator."""
        self._thread.start()

    def close(self) -> None:
        """End the operator."""
        self._operator.stop()
        self._thread.join(STOP_S)
        self._rest.close()

    def create_queue(self, spec: Mapping[str, Any], name: str = QUEUE_NAME) -> None:
        """Create a DetectionQueue."""
        self._create(QUEUE, name, spec)

    def create_pool(self, spec: Mapping[str, Any], name: str) -> None:
        """Create a WorkerPool."""
        self._create(POOL, name, spec)

    def _create(self, kind: Kind, name: str, spec: Mapping[str, Any]) -> None:
        body = {
            "apiVersion": API_VERSION,
            "kind": kind.name,
            "metadata": {"name": name},
            "spec": spec,
        }
        self._rest.call("POST", namespaced(QUEUES, NAMESPACE, kind.plural), body)

    def status(self, name: str = QUEUE_NAME) -> Object:
        """Return the status of a DetectionQueue."""
        return _status(self._cluster.queue(Key(NAMESPACE, name)))

    def pool_status(self, name: str) -> Object:
        """Return the status of a WorkerPool."""
        return _status(self._cluster.pool(Key(NAMESPACE, name, POOL.name)))

    def replicas(self, name: str = QUEUE_NAME) -> int:
        """Return what the Deployments of a DetectionQueue ask for."""
        return sum(map(replicas_of, self._cluster.deployments(Key(NAMESPACE, name))))

    def control(self) -> None:
        """See to it that the operator runs; the controllers are a process of their own."""
        if not self._thread.is_alive():
            raise OperatorEnded(self._failure or "the operator has ended")

    def pods(self) -> list[Object]:
        """Return all pods."""
        return self._cluster.pods(NAMESPACE, "")

    def bind(self, pod: Object) -> None:
        """Give a pod to this machine."""
        name = pod["metadata"]["name"]
        body = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": name},
            "target": {"apiVersion": "v1", "kind": "Node", "name": NODE},
        }
        self._rest.call("POST", namespaced("v1", NAMESPACE, "pods", name, "binding"), body)

    def annotate(self, pod: Object, annotations: Mapping[str, str]) -> None:
        """Set annotations of a pod."""
        self._patch(pod, {"metadata": {"annotations": dict(annotations)}})

    def set_status(self, pod: Object, status: Mapping[str, Any]) -> None:
        """Set members of the status of a pod."""
        self._patch(pod, {"status": dict(status)}, "status")

    def remove(self, pod: Object) -> None:
        """Remove a pod that has ended."""
        with contextlib.suppress(NotFound):
            path = namespaced("v1", NAMESPACE, "pods", pod["metadata"]["name"])
            self._rest.call("DELETE", path, _AT_ONCE)

    def _patch(self, pod: Object, body: Mapping[str, Any], *subresource: str) -> None:
        path = namespaced("v1", NAMESPACE, "pods", pod["metadata"]["name"], *subresource)
        with contextlib.suppress(NotFound):
            self._rest.call("PATCH", path, body, content_type=MERGE_PATCH)

    def _install(self) -> None:
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
        self._rest.call("POST", "/api/v1/namespaces", body)
        for kind in KINDS:
            self._rest.call("POST", CRD_PATH, manifest(kind))
        end_s = time.monotonic() + SERVED_S
        while True:
            try:
                self._cluster.queues()
                self._cluster.pools()
            except ClusterError:
                if time.monotonic() > end_s:
                    raise
                time.sleep(0.1)
            else:
                return

    def _run(self) -> None:
        try:
            self._operator.run()
        except Exception as exc:  # noqa: BLE001 - raised again where the operator is awaited
            self._failure = f"the operator has ended: {exc}"


def _status(obj: Object | None) -> Object:
    status: Object = (obj or {}).get("status", {})
    return status


def reason_against() -> str:
    """Return why no API server can be started here; empty if one can."""
    try:
        folder = assets()
    except NoBinaries as exc:
        return str(exc)
    if not (folder / CONTROLLER_MANAGER).exists():
        return f"{CONTROLLER_MANAGER} not found in {folder}"
    return ""


@contextlib.contextmanager
def running(decisions: Path) -> Iterator[ServerKubernetes]:
    """Start an API server with controllers and the operator, stop them at the end.

    Args:
        decisions: File for the operator's decision records.

    Raises:
        NoBinaries: The binaries are not there.
        RuntimeError: A process ended or did not become ready.
        ClusterError: The API server refused the CRD or the namespace.
    """
    with running_server() as server:
        cluster = ServerKubernetes(server, decisions)
        cluster.start()
        try:
            yield cluster
        finally:
            cluster.close()
