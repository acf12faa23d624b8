"""The Kubernetes files of the page on a real API server; without one, against schemas."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "charts" / "detection-queue" / "examples" / "eks"
FILLED = {
    "ACCOUNT_ID": "123456789012",
    "BUCKET_NAME": "deepfake-acme",
    "NAMESPACE": "acme",
    "QUEUE_URL": "https://sqs.us-east-1.amazonaws.com/123456789012/acme-media",
    "REGISTRY": "registry.example",
}
NO_MONITORS = [
    f"--set=monitoring.{name}.enabled=false"
    for name in ("serviceMonitor", "podMonitor", "prometheusRule")
]
"""An API server alone knows no kinds of the Prometheus operator."""


def filled(name: str) -> str:
    text = (FOLDER / name).read_text()
    for word, value in FILLED.items():
        text = text.replace(word, value)
    return text


def test_what_a_tenant_gets_is_valid() -> None:
    items = list(yaml.safe_load_all(filled("tenant.yaml")))

    assert len(items) == 5
    for item in items:
        kubernetes_validate.validate(item, "1.36", strict=True)


@pytest.fixture
def installed(cluster: Any) -> Iterator[str]:
    """The chart with the values of the page, and a tenant."""
    cluster.run("apply", "-f", "-", stdin=filled("tenant.yaml").partition("---")[0])
    values = cluster.server.folder / "values.yaml"
    values.write_text(filled("values.yaml"))
    cluster.helm(
        "upgrade", "--install", "detection-queue", str(ROOT / "charts/detection-queue"),
        "--namespace", "detection", "--create-namespace", "--values", str(values), *NO_MONITORS,
        "--set", "watchNamespaces={detection,acme}",
    )  # fmt: skip
    yield "acme"
    cluster.helm("uninstall", "detection-queue", "--namespace", "detection", check=False)
    crds = ("detectionqueues.detection-queue.dev", "workerpools.detection-queue.dev")
    cluster.run("delete", "crd", *crds, "--ignore-not-found")


def count_for(cluster: Any, namespace: str) -> None:
    """Do what the controller of quotas does, which an API server alone has not."""
    hard = cluster.get("-n", namespace, "resourcequota", "workers")["spec"]["hard"]
    status = {"status": {"hard": hard, "used": dict.fromkeys(hard, "0")}}
    cluster.run(
        "-n", namespace, "patch", "resourcequota", "workers", "--subresource=status",
        "--type=merge", "-p", json.dumps(status),
    )  # fmt: skip


@pytest.mark.cluster
@pytest.mark.slow
def test_a_tenant_s_queue_runs_workers_under_the_tenant_s_rules(
    cluster: Any, installed: str, worker_deployment: Callable[..., dict[str, Any]]
) -> None:
    """Namespace, quota, policy and rights are applied; the workers' pod is admitted there."""
    cluster.run("apply", "-f", "-", stdin=filled("tenant.yaml"))
    count_for(cluster, installed)
    for name in ("detectionqueue.yaml", "detectionqueue-gpu.yaml"):
        cluster.run("-n", installed, "apply", "-f", "-", stdin=filled(name))
        queue = cluster.get("-n", installed, "dq", "media")
        pod = worker_deployment(queue, replicas=1)["spec"]["template"]
        pod |= {"apiVersion": "v1", "kind": "Pod"}
        pod["metadata"] |= {"name": "worker", "namespace": installed}
        admitted = cluster.run(
            "create", "--dry-run=server", "--validate=strict", "-o", "yaml", "-f", "-",
            stdin=yaml.safe_dump(pod),
        )  # fmt: skip
        assert yaml.safe_load(admitted.stdout)["metadata"]["namespace"] == installed

    def may(verb: str, what: str, namespace: str) -> bool:
        asked = ("auth", "can-i", verb, what, "-n", namespace)
        as_team = ("--as", "anna", "--as-group", "team-acme")
        return bool(cluster.run(*asked, *as_team, check=False).stdout.strip() == "yes")

    dq = "detectionqueues.detection-queue.dev"
    assert may("create", dq, installed)
    assert not may("create", dq, "detection")
    assert not may("get", "secrets", installed)
