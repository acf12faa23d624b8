"""Sets of values, queues of the release, upgrades and neighbours on a real API server."""

import json
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(300)]

Objects = list[dict[str, Any]]
HERE = Path(__file__).parent
SETS: dict[str, dict[str, Any]] = yaml.safe_load((HERE / "value_sets.yaml").read_text())
RELEASE = "detection-queue"
CRDS = ("detectionqueues.detection-queue.dev", "workerpools.detection-queue.dev")
URL = "https://sqs.eu-west-1.amazonaws.com/123456789012/"
QUEUES = {
    "queues": [
        {
            "name": "media",
            "spec": {
                "queue": {"url": f"{URL}media"},
                "scaling": {"maxReplicas": 4, "pool": {"name": "shared"}},
            },
        }
    ],
    "pools": [
        {"name": "shared", "spec": {"capacity": {"resource": {"name": "cpu", "quantity": 64}}}}
    ],
}


@pytest.fixture
def namespace(cluster: Any) -> Iterator[str]:
    """A namespace; releases and CRDs are removed afterwards."""
    found: str = cluster.namespace(f"values-{uuid.uuid4().hex[:6]}")
    yield found
    cluster.helm("uninstall", RELEASE, "--namespace", found, check=False)
    cluster.run("delete", "crd", *CRDS, "--ignore-not-found")


def test_the_api_server_takes_every_object_of_every_set(
    cluster: Any,
    chart: Path,
    namespace: str,
    render: Callable[..., Objects],
    monitoring_kinds: None,
) -> None:
    cluster.helm("install", RELEASE, str(chart), "--namespace", namespace)
    cluster.run("wait", "--for=condition=Established", *(f"crd/{name}" for name in CRDS))
    for name in ("detection", "a", "b", "other", "monitoring"):
        cluster.run("create", "namespace", name, check=False)
    offered = sorted((chart / "examples" / "values").glob("*.yaml"))
    values = [*SETS.values(), *(yaml.safe_load(path.read_text()) for path in offered)]
    objects = {json.dumps(item): None for one in values for item in render(one)}

    # Strict validation refuses fields that Kubernetes does not know.
    done = cluster.run(
        "apply", "--dry-run=server", "--validate=strict", "--server-side", "--force-conflicts",
        "--warnings-as-errors", "-f", "-", stdin="\n---\n".join(objects),
    )  # fmt: skip

    assert len(done.stdout.splitlines()) == len(objects) > 200


# -- queues of the release ------------------------------------------------------------------------


def job_of(cluster: Any, namespace: str, running: "Future[Any]") -> str:
    """Wait for the Job that waits for the CRDs."""
    while not (found := cluster.get("-n", namespace, "jobs")["items"]):
        assert not running.done(), running.result()
        time.sleep(0.2)
    [job] = found
    name: str = job["metadata"]["name"]
    return name


def wait_until_not_served(cluster: Any) -> None:
    """Wait until the API server has forgotten the kinds of earlier tests."""
    end_s = time.monotonic() + 60
    while "detection-queue.dev" in cluster.run("get", "--raw", "/apis").stdout:
        assert time.monotonic() < end_s, "the group is still served"
        time.sleep(0.2)


def complete(cluster: Any, namespace: str, name: str) -> None:
    """Say that a Job is done, as its controller would; no node runs it here."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    conditions = [
        {"type": kind, "status": "True", "lastProbeTime": now, "lastTransitionTime": now}
        for kind in ("SuccessCriteriaMet", "Complete")
    ]
    status = {
        "startTime": now,
        "completionTime": now,
        "succeeded": 1,
        "conditions": conditions,
    }
    cluster.run(
        "-n", namespace, "patch", "job", name, "--subresource=status", "--type=merge",
        "-p", json.dumps({"status": status}),
    )  # fmt: skip


def installed_with_queues(
    cluster: Any, chart: Path, namespace: str, path: Path
) -> "subprocess.CompletedProcess[str]":
    wait_until_not_served(cluster)
    # That of the cluster is written again for each command of kubectl, also while helm reads it.
    kubeconfig = path.with_name("kubeconfig")
    shutil.copy(cluster.server.kubeconfig(), kubeconfig)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(
            cluster.helm,
            "install",
            RELEASE,
            str(chart),
            "-n",
            namespace,
            "-f",
            str(path),
            "--kubeconfig",
            str(kubeconfig),
        )
        job = job_of(cluster, namespace, running)
        cluster.run("wait", "--for=condition=Established", *(f"crd/{name}" for name in CRDS))
        assert cluster.get("-n", namespace, "dq")["items"] == [], "they wait for the Job"
        complete(cluster, namespace, job)
        done: subprocess.CompletedProcess[str] = running.result()
    return done


def test_one_release_brings_the_operator_its_queues_and_pools(
    cluster: Any, chart: Path, namespace: str, tmp_path: Path
) -> None:
    """The API server knows neither kind before; upgrades change them, and nothing deletes them."""
    path = tmp_path / "values.json"
    path.write_text(json.dumps(QUEUES))

    installed_with_queues(cluster, chart, namespace, path)
    first = cluster.get("-n", namespace, "dq", "media")
    jobs = cluster.get("-n", namespace, "jobs")["items"]
    changed = json.loads(json.dumps(QUEUES))
    changed["queues"][0]["spec"]["scaling"]["maxReplicas"] = 8
    path.write_text(json.dumps(changed))
    upgrade = ("upgrade", RELEASE, str(chart), "-n", namespace)
    cluster.helm(*upgrade, "-f", str(path))
    second = cluster.get("-n", namespace, "dq", "media")
    cluster.helm(*upgrade)
    without = cluster.get("-n", namespace, "dq", "media")
    cluster.helm(*upgrade, "-f", str(path))
    cluster.helm("uninstall", RELEASE, "-n", namespace)
    left = cluster.get("-n", namespace, "dq", "media")

    assert first["spec"]["worker"]["template"]["serviceAccountName"] == "detection-queue-worker"
    assert jobs == []
    assert (first["spec"]["scaling"]["maxReplicas"], second["spec"]["scaling"]["maxReplicas"]) == (
        4,
        8,
    )
    assert len({item["metadata"]["uid"] for item in (first, second, without, left)}) == 1
    assert cluster.get("-n", namespace, "workerpool", "shared")


def test_the_job_waits_until_both_kinds_are_served(
    cluster: Any, chart: Path, namespace: str, tmp_path: Path, render: Callable[..., Objects]
) -> None:
    """What its pod runs, with the token and the rights of the operator's account."""
    [job] = [item for item in render(QUEUES) if item["kind"] == "Job"]
    [container] = job["spec"]["template"]["spec"]["containers"]
    [code] = container["args"]
    account = "/var/run/secrets/kubernetes.io/serviceaccount"
    assert account in code
    cluster.run("-n", namespace, "create", "serviceaccount", "detection-queue-operator")
    (tmp_path / "token").write_text(cluster.token(namespace, "detection-queue-operator"))
    shutil.copy(cluster.server.ca_file, tmp_path / "ca.crt")
    host, _, port = cluster.server.url.removeprefix("https://").partition(":")
    environ = {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port}

    with subprocess.Popen(
        [sys.executable, "-c", code.replace(account, str(tmp_path))],
        env=environ, stdout=subprocess.PIPE, text=True,
    ) as waiting:  # fmt: skip
        assert waiting.stdout is not None
        early = waiting.stdout.readline()
        for name in ("detectionqueues", "workerpools"):
            cluster.run("create", "-f", str(chart / "files" / f"{name}.yaml"))
        code_of_exit = waiting.wait(60)

    assert "404" in early
    assert code_of_exit == 0


# -- upgrades and neighbours ----------------------------------------------------------------------


def test_a_release_of_before_is_upgraded_in_place(
    cluster: Any, chart: Path, namespace: str, tmp_path: Path
) -> None:
    """Selectors are immutable: one that changed would stop the upgrade."""
    before = tmp_path / "before"
    (before / "templates").mkdir(parents=True)
    (before / "Chart.yaml").write_text((chart / "Chart.yaml").read_text())
    manifest = (HERE / "installed_before.yaml").read_text()
    manifest = manifest.replace('"detection"', f'"{namespace}"').replace(
        "value: detection\n", f"value: {namespace}\n"
    )
    (before / "templates" / "objects.yaml").write_text(manifest)
    cluster.helm("install", RELEASE, str(before), "--namespace", namespace)
    kinds = "deployment,service,serviceaccount,role,rolebinding,pdb"

    def uids() -> dict[tuple[str, str], str]:
        found = cluster.get("-n", namespace, kinds, "-l", "helm.sh/chart")["items"]
        return {
            (item["kind"], item["metadata"]["name"]): item["metadata"]["uid"] for item in found
        }

    old = uids()
    cluster.helm("upgrade", RELEASE, str(chart), "--namespace", namespace)

    assert len(old) == 9
    assert uids() == old, "changed in place"


def test_two_releases_serve_two_namespaces(
    cluster: Any, chart: Path, namespace: str, monitoring_kinds: None
) -> None:
    """They have one name, and their monitors one place."""
    second = cluster.namespace(f"values-{uuid.uuid4().hex[:6]}")
    shared = cluster.namespace(f"monitoring-{uuid.uuid4().hex[:6]}")
    flags = [
        part
        for name in ("serviceMonitor", "podMonitor", "prometheusRule", "dashboard")
        for part in (
            "--set", f"monitoring.{name}.enabled=true,monitoring.{name}.namespace={shared}",
        )
    ]  # fmt: skip
    flags += ["--set", "nodes.enabled=true,rbac.aggregateToUserRoles=true"]

    cluster.helm("install", RELEASE, str(chart), "-n", namespace, *flags)
    try:
        cluster.helm(
            "install", RELEASE, str(chart), "-n", second, *flags, "--set", "crds.enabled=false"
        )
        monitors = cluster.get("-n", shared, "servicemonitors,podmonitors,prometheusrules")
        watched = {
            name: next(
                item["value"]
                for item in cluster.get("-n", name, "deployment", "detection-queue-operator")[
                    "spec"
                ]["template"]["spec"]["containers"][0]["env"]
                if item["name"] == "DETECTION_OPERATOR_NAMESPACES"
            )
            for name in (namespace, second)
        }
    finally:
        cluster.helm("uninstall", RELEASE, "-n", second, check=False)

    assert watched == {namespace: namespace, second: second}
    assert len(monitors["items"]) == 6


def test_a_long_release_name_is_cut_where_kubernetes_cuts(
    cluster: Any, chart: Path, namespace: str
) -> None:
    name = "x" * 53
    queue = f"{URL}outbox"
    flags = (
        "deliver.enabled=true", f"deliver.outboxes[0].name={'o' * 52}",
        f"deliver.outboxes[0].queueURL={queue}", "networkPolicy.enabled=true",
    )  # fmt: skip
    cluster.helm(
        "install", name, str(chart), "-n", namespace, *(p for f in flags for p in ("--set", f))
    )
    try:
        found = cluster.get("-n", namespace, "deployment,service")["items"]
    finally:
        cluster.helm("uninstall", name, "-n", namespace)

    assert len(found) == 3
