"""The chart's binaries, its renderings, and a real API server where its binaries are found."""

import json
import os
import re
import shutil
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry

from detection_operator.kube.manifests.deployment import deployment
from detection_operator.kube.rest import Rest
from detection_operator.metrics import Metrics as OperatorMetrics
from detection_operator.spec.parse import parse_spec
from detection_testing.kubernetes.apiserver import ApiServer, NoBinaries, assets, running
from detection_worker.metrics import Metrics as WorkerMetrics

CHART = Path(__file__).parents[2] / "charts" / "detection-queue"
CRD = "detectionqueues.detection-queue.dev"
CRDS = (CRD, "workerpools.detection-queue.dev")
RELEASE = "detection-queue"
MONITORING_KINDS = {
    "ServiceMonitor": "servicemonitors",
    "PodMonitor": "podmonitors",
    "PrometheusRule": "prometheusrules",
}
SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",)}


def labels_of(registry: CollectorRegistry) -> dict[str, set[str]]:
    """Return each series that a registry can export with the names of its labels."""
    found: dict[str, set[str]] = {}
    for collector in list(registry._collector_to_names):
        for metric in collector.collect():
            names = set(getattr(collector, "_labelnames", ()))
            for suffix in SUFFIXES[metric.type]:
                found[metric.name + suffix] = names | ({"le"} if suffix == "_bucket" else set())
    return found


@pytest.fixture(scope="session")
def series() -> dict[str, set[str]]:
    """Every series of operator and worker with the names of its labels."""
    return labels_of(OperatorMetrics().registry) | labels_of(WorkerMetrics().registry)


@pytest.fixture(scope="session")
def chart() -> Path:
    return CHART


@pytest.fixture(scope="session")
def helm() -> str:
    found = os.environ.get("HELM") or shutil.which("helm")
    if found is None:
        pytest.skip("NOT TESTED: the chart, because there is no helm (PATH or HELM)")
    return found


@pytest.fixture(scope="session")
def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("NOT TESTED: alerts and dashboard, because there is no promtool on the PATH")
    return found


@dataclass(frozen=True, slots=True)
class Helm:
    """Runs helm, with a kubeconfig where it needs a cluster."""

    binary: str
    home: Path
    kubeconfig: Path | None = None

    def run(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        environ = {"PATH": os.environ["PATH"], "HOME": str(self.home)}
        if self.kubeconfig is not None:
            environ["KUBECONFIG"] = str(self.kubeconfig)
        done = subprocess.run(  # noqa: PLW1510 - whether it must succeed is the caller's choice
            [self.binary, *arguments], env=environ, capture_output=True, text=True, timeout=120
        )
        assert not check or done.returncode == 0, done.stderr
        return done


@pytest.fixture(scope="session")
def run_helm(
    helm: str, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., subprocess.CompletedProcess[str]]:
    return Helm(helm, tmp_path_factory.mktemp("helm")).run


@pytest.fixture(scope="session")
def render(
    run_helm: Callable[..., subprocess.CompletedProcess[str]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[..., list[dict[str, Any]]]:
    """Objects of the chart for some values, hooks too."""
    path = tmp_path_factory.mktemp("values") / "values.json"

    @cache
    def text(values: str) -> str:
        path.write_text(values)
        return run_helm(
            "template", "detection-queue", str(CHART), "--namespace", "detection",
            "--values", str(path), "--api-versions", "monitoring.coreos.com/v1",
        ).stdout  # fmt: skip

    @cache
    def parsed(document: str) -> str:
        return json.dumps(yaml.safe_load(document))

    def objects(values: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        # Most documents, the large CRDs among them, are the same for all values.
        documents = re.split(r"^---$", text(json.dumps(dict(values or {}))), flags=re.MULTILINE)
        return [item for one in documents if (item := json.loads(parsed(one)))]

    return objects


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """A real API server, with the binaries that people use on it.

    Attributes:
        server: The API server.
        kubectl: The binary.
        helm: As the administrator.
    """

    server: ApiServer
    kubectl: str
    helm: Callable[..., "subprocess.CompletedProcess[str]"]

    def run(
        self, *arguments: str, stdin: str | None = None, check: bool = True
    ) -> "subprocess.CompletedProcess[str]":
        """Run kubectl as the administrator."""
        environ = {
            "KUBECONFIG": str(self.server.kubeconfig()),
            "HOME": str(self.server.folder),
        }
        done = subprocess.run(
            [self.kubectl, *arguments], env=environ, capture_output=True, text=True,
            input=stdin, timeout=60, check=False,
        )  # fmt: skip
        assert not check or done.returncode == 0, done.stderr
        return done

    def wait_until_ready(self) -> None:
        """Wait for what helm and kubectl need beyond resources, such as the schemas of OpenAPI."""
        end_s = time.monotonic() + 60
        while self.run("get", "--raw", "/readyz", check=False).returncode:
            assert time.monotonic() < end_s, "the API server does not become ready"
            time.sleep(0.1)

    def get(self, *arguments: str) -> dict[str, Any]:
        """Return an object or a list."""
        found: dict[str, Any] = json.loads(self.run("get", *arguments, "-o", "json").stdout)
        return found

    def namespace(self, name: str) -> str:
        """Make a namespace."""
        self.run("create", "namespace", name)
        return name

    def token(self, namespace: str, account: str) -> str:
        """Return a token of a service account."""
        return self.run("-n", namespace, "create", "token", account).stdout.strip()


@pytest.fixture(scope="session")
def cluster(helm: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    try:
        folder = assets()
    except NoBinaries as exc:
        pytest.skip(f"NOT TESTED: the chart in a cluster. {exc}")
    kubectl = shutil.which("kubectl") or shutil.which("kubectl", path=str(folder))
    if kubectl is None:
        pytest.skip(f"NOT TESTED: the chart in a cluster: no kubectl on the PATH or in {folder}")
    with running() as server:
        runner = Helm(helm, tmp_path_factory.mktemp("helm"), server.kubeconfig())
        found = Cluster(server=server, kubectl=kubectl, helm=runner.run)
        found.wait_until_ready()
        yield found


@pytest.fixture
def operator_rest(cluster: Cluster) -> Iterator[Callable[[str, str], Rest]]:
    """Requests to the API server as a service account."""
    opened: list[Rest] = []

    def connect(namespace: str, account: str) -> Rest:
        token = cluster.token(namespace, account)
        opened.append(Rest(cluster.server.configuration(token)))
        return opened[-1]

    yield connect
    for rest in opened:
        rest.close()


@pytest.fixture(scope="session")
def worker_deployment() -> Callable[..., dict[str, Any]]:
    """What the operator applies for a DetectionQueue."""

    def build(queue: Mapping[str, Any], *, replicas: int) -> dict[str, Any]:
        spec = parse_spec(queue["spec"])
        assert spec.worker.template is not None
        manifest = deployment(queue, spec, spec.worker.template)
        manifest["spec"]["replicas"] = replicas
        return manifest

    return build


@pytest.fixture
def installed(cluster: Cluster) -> Iterator[Callable[..., str]]:
    """Install the chart into a new namespace with settings as of ``--set``; tidy up afterwards."""
    namespaces: list[str] = []

    def install(*settings: str) -> str:
        namespace = cluster.namespace(f"chart-{uuid.uuid4().hex[:6]}")
        flags = [part for item in settings for part in ("--set", item)]
        cluster.helm("install", RELEASE, str(CHART), "--namespace", namespace, *flags)
        namespaces.append(namespace)
        cluster.run("wait", "--for=condition=Established", f"crd/{CRD}")
        return namespace

    yield install
    for namespace in namespaces:
        cluster.helm("uninstall", RELEASE, "--namespace", namespace, check=False)
    cluster.run("delete", "crd", *CRDS, "--ignore-not-found")


@pytest.fixture(scope="session")
def monitoring_kinds(cluster: Cluster) -> None:
    """Kinds of the Prometheus operator, without their schemas."""
    for kind, plural in MONITORING_KINDS.items():
        name = f"{plural}.monitoring.coreos.com"
        schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
        version = {
            "name": "v1",
            "served": True,
            "storage": True,
            "schema": {"openAPIV3Schema": schema},
        }
        crd = {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": name},
            "spec": {
                "group": "monitoring.coreos.com",
                "scope": "Namespaced",
                "names": {"kind": kind, "plural": plural, "singular": kind.lower()},
                "versions": [version],
            },
        }
        cluster.run("apply", "-f", "-", stdin=json.dumps(crd))
        cluster.run("wait", "--for=condition=Established", f"crd/{name}")


@cache
def recorded() -> dict[str, set[str]]:
    """Return each series that the chart's rules record with the names of its labels."""
    groups = yaml.safe_load((CHART / "files" / "alerts.yaml").read_text())["groups"]
    rules = [rule for group in groups for rule in group["rules"] if "record" in rule]
    labels = {
        "detection_queue": {"namespace", "name"},
        "detection_worker": {"namespace", "queue", "kind", "model", "version", "le"},
    }
    return {rule["record"]: labels[rule["record"].partition(":")[0]] for rule in rules}


@pytest.fixture(scope="session")
def query_problems(series: Mapping[str, set[str]]) -> Callable[[str], list[str]]:
    """What a query names that does not exist: series, and labels in matchers and groupings."""
    known = {**series, **recorded()}
    # Of targets, and ``cluster`` where several clusters are joined.
    of_targets = {"cluster", "namespace", "pod", "queue", "job"}

    def problems(query: str) -> list[str]:
        named = re.findall(r"\b(detection_[\w:]+)(?:\{([^}]*)\})?", query)
        unknown = [name for name, _ in named if name not in known]
        labels = of_targets.union(*(known.get(name, set()) for name, _ in named))
        wrong = [
            label
            for name, matchers in named
            for label in re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers)
            if label not in known.get(name, set()) | of_targets
        ]
        groupings = re.findall(r"\b(?:by|on|ignoring|without) \(([^)]*)\)", query)
        grouped = [label for some in groupings for label in re.split(r",\s*", some)]
        return [*unknown, *wrong, *(label for label in grouped if label not in labels)]

    return problems
