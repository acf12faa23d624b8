"""KEDA from its own binaries beside a test's API server: operator, metrics server and the HPA.

The binaries are found by environment variables and never shipped. kube-controller-manager's HPA
controller asks for external metrics through a proxy, which sends those requests to KEDA's metrics
server: the API server of tests runs without the aggregation layer.
"""

import contextlib
import http.client
import os
import ssl
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from detection_operator.errors import ClusterError, Conflict
from detection_operator.kube.rest import Rest
from detection_testing.http.proxy import Proxy
from detection_testing.kubernetes.apiserver import (
    ADMIN,
    CONTROLLER_MANAGER,
    ApiServer,
    assets,
    free_ports,
)
from detection_testing.kubernetes.service import Service

OPERATOR: Final = "KEDA_OPERATOR"
METRICS: Final = "KEDA_METRICS_APISERVER"
CRDS: Final = "KEDA_CRDS"
EXTERNAL: Final = "/apis/external.metrics.k8s.io/"
NAMESPACE: Final = "keda"


class NoKeda(Exception):  # noqa: N818 - says what is the matter
    """KEDA's parts are not there; the message names what to set."""


@dataclass(frozen=True, slots=True)
class Binaries:
    """KEDA's own files.

    Attributes:
        operator: Executable of the operator.
        metrics: Executable of the metrics server ("adapter").
        crds: Folder with the manifests of its CustomResourceDefinitions.
    """

    operator: Path
    metrics: Path
    crds: Path


def binaries(environ: Mapping[str, str]) -> Binaries:
    """Return where KEDA's files are.

    Raises:
        NoKeda: A variable is missing or names nothing.
    """
    found = {name: Path(environ.get(name, "")) for name in (OPERATOR, METRICS, CRDS)}
    missing = [name for name, path in found.items() if not environ.get(name) or not path.exists()]
    if missing:
        raise NoKeda(f"set {', '.join(missing)} to KEDA's executables and its folder of CRDs")
    return Binaries(found[OPERATOR], found[METRICS], found[CRDS])


class Router(Proxy):
    """Sends requests for external metrics to KEDA, all others to the API server.

    Args:
        server: The API server.
        metrics_port: Where KEDA's metrics server listens on loopback.
    """

    def __init__(self, server: ApiServer, metrics_port: int) -> None:
        self._metrics = f"127.0.0.1:{metrics_port}"
        super().__init__(server.url, server.ca_file)
        # Clients in Go send no token without TLS.
        self.added = {"Authorization": f"Bearer {ADMIN}"}

    def connect(self, path: str) -> http.client.HTTPSConnection:
        """Return a new connection to who answers a path."""
        if not path.startswith(EXTERNAL):
            return super().connect(path)
        context = ssl.create_default_context()
        # Its certificate was made a moment ago for this machine only.
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection = http.client.HTTPSConnection(self._metrics, context=context)
        connection.connect()
        return connection


@dataclass(frozen=True, slots=True)
class Keda:
    """KEDA while it runs.

    Attributes:
        operator: Its operator.
        metrics: Its metrics server.
        hpa: kube-controller-manager with the HPA controller alone.
        proxy: Between all three and the API server.
    """

    operator: Service
    metrics: Service
    hpa: Service
    proxy: Proxy


@contextlib.contextmanager
def running(
    server: ApiServer, found: Binaries, folder: Path, environ: Mapping[str, str]
) -> Iterator[Keda]:
    """Install KEDA's CRDs and run its processes; stop them at the end.

    Args:
        server: The API server.
        found: KEDA's files.
        folder: For certificates and logs.
        environ: Further environment of its operator, such as AWS credentials.

    Raises:
        RuntimeError: A process ended at once; the message has its last words.
    """
    install(server, found.crds)
    grpc, secure, health, metrics, probe = free_ports(5)
    certificates = _certificates(folder / "keda-certs")
    with contextlib.closing(Router(server, secure)) as proxy, contextlib.ExitStack() as stack:
        config = str(server.kubeconfig(url=proxy.url))
        own = {
            **os.environ,
            **environ,
            "KUBECONFIG": config,
            "POD_NAMESPACE": NAMESPACE,
            "POD_NAME": "keda-0",
            "WATCH_NAMESPACE": "",
            "KEDA_CLUSTER_OBJECT_NAMESPACE": NAMESPACE,
        }

        def start(name: str, *command: str) -> Service:
            service = Service(command, folder / f"{name}.log", own)
            service.start()
            stack.callback(service.stop)
            return service

        yield Keda(
            start(
                "keda-operator",
                str(found.operator),
                f"--metrics-service-bind-address=127.0.0.1:{grpc}",
                f"--health-probe-bind-address=127.0.0.1:{probe}",
                f"--metrics-bind-address=127.0.0.1:{metrics}",
                f"--cert-dir={certificates}",
                "--enable-webhook-patching=false",
                "--enable-apiservice-patching=false",
            ),
            start(
                "keda-metrics",
                str(found.metrics),
                f"--secure-port={secure}",
                f"--cert-dir={certificates}",
                f"--tls-cert-file={certificates / 'tls.crt'}",
                f"--tls-private-key-file={certificates / 'tls.key'}",
                f"--metrics-service-address=127.0.0.1:{grpc}",
                f"--port={health}",
                f"--lister-kubeconfig={config}",
                f"--authentication-kubeconfig={config}",
                f"--authorization-kubeconfig={config}",
                "--authentication-skip-lookup=true",
            ),
            start(
                "hpa",
                str(assets() / CONTROLLER_MANAGER),
                f"--kubeconfig={config}",
                "--controllers=horizontal-pod-autoscaler-controller",
                "--leader-elect=false",
                "--bind-address=127.0.0.1",
                f"--secure-port={free_ports(1)[0]}",
                f"--cert-dir={folder / 'hpa-certs'}",
            ),
            proxy,
        )


def install(server: ApiServer, crds: Path) -> None:
    """Create KEDA's CustomResourceDefinitions and its namespace; keep what is there.

    Raises:
        ClusterError: The API server refused one.
    """
    with contextlib.closing(Rest(server.configuration())) as admin:
        definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
        for path in sorted(crds.glob("*.yaml")):
            _create(admin, definitions, yaml.safe_load(path.read_text(encoding="utf-8")))
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
        _create(admin, "/api/v1/namespaces", body)
    server.wait_for("/apis/keda.sh/v1alpha1/scaledobjects")


def _create(admin: Rest, path: str, body: Any) -> None:
    with contextlib.suppress(Conflict):
        try:
            admin.call("POST", path, body)
        except ClusterError as exc:
            name = body.get("metadata", {}).get("name") if isinstance(body, dict) else None
            exc.add_note(f"while {name} was created")
            raise


def _certificates(folder: Path) -> Path:
    """Make a certificate for loopback that is its own authority, for both ends of gRPC."""
    folder.mkdir()
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    command += ["-subj", "/CN=keda", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"]
    command += ["-keyout", str(folder / "tls.key"), "-out", str(folder / "tls.crt")]
    subprocess.run(command, check=True, capture_output=True)  # noqa: S603 - our own
    (folder / "ca.crt").write_bytes((folder / "tls.crt").read_bytes())
    return folder
