"""The chart on a real API server: install, upgrade, uninstall, rights, examples."""

import base64
import json
import shutil
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from detection_operator.clock import SystemClock
from detection_operator.crd.manifest import KIND
from detection_operator.kube.client import KubernetesCluster
from detection_operator.kube.lease import Elector
from detection_operator.kube.objects import API_VERSION
from detection_operator.kube.port import Key
from detection_operator.kube.rest import Rest

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(300)]

CRD = "detectionqueues.detection-queue.dev"
POOL_CRD = "workerpools.detection-queue.dev"
RELEASE = "detection-queue"
OPERATOR = "detection-queue-operator"
PATIENCE_S = 20.0
MIB = 1_048_576
SPEC = {
    "queue": {"url": "https://sqs.eu-west-1.amazonaws.com/123456789012/video"},
    "worker": {"template": {"image": "detection-worker:1"}},
}
SETS: dict[str, tuple[str, ...]] = {
    "defaults": (),
    "cluster-wide": ("clusterWide=true",),
    "all on": (
        "monitoring.serviceMonitor.enabled=true",
        "monitoring.podMonitor.enabled=true",
        "monitoring.prometheusRule.enabled=true",
        "monitoring.dashboard.enabled=true",
        "networkPolicy.enabled=true",
        "rbac.aggregateToUserRoles=true",
    ),
    "environment and placement": (
        "operator.replicas=1",
        "operator.env[0].name=HTTPS_PROXY",
        "operator.env[0].value=http://proxy:3128",
        "operator.tolerations[0].key=infra",
        "operator.tolerations[0].operator=Exists",
        "operator.nodeSelector.kubernetes\\.io/arch=amd64",
        "imagePullSecrets[0]=pull",
    ),
    "deliver": (
        "monitoring.podMonitor.enabled=true",
        "networkPolicy.enabled=true",
        "serviceAccounts.deliver.create=true",
        "deliver.enabled=true",
        "deliver.replicas=2",
        "deliver.outboxes[0].name=media",
        "deliver.outboxes[0].queueURL=https://sqs.eu-west-1.amazonaws.com/123456789012/outbox",
        "deliver.outboxes[1].name=audio",
        "deliver.outboxes[1].queueURL=http://sqs:4566/000000000000/audio",
        "deliver.outboxes[1].region=us-east-1",
        "deliver.outboxes[1].endpointURL=http://sqs:4566",
        "deliver.outboxes[1].env[0].name=LOG_LEVEL",
        "deliver.outboxes[1].env[0].value=DEBUG",
        "deliver.env[0].name=DETECTION_CALLBACK_SIGNING_SECRETS",
        "deliver.env[0].valueFrom.secretKeyRef.name=callback-signing",
        "deliver.env[0].valueFrom.secretKeyRef.key=secrets",
        "deliver.tolerations[0].operator=Exists",
        "deliver.nodeSelector.kubernetes\\.io/arch=amd64",
    ),
    "variables of the chart's names": (
        "operator.env[0].name=LOG_LEVEL",
        "operator.env[0].value=DEBUG",
        "operator.env[1].name=AWS_EC2_METADATA_DISABLED",
        "operator.env[1].value=",
    ),
}


def unique(prefix: str) -> str:
    return f"{prefix}-{uuid.uuid4().hex[:6]}"


def eventually(what: Callable[[], bool]) -> bool:
    end_s = time.monotonic() + PATIENCE_S
    while not what():
        if time.monotonic() > end_s:
            return False
        time.sleep(0.1)
    return True


def queue_manifest(name: str) -> str:
    document = {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": name},
        "spec": SPEC,
    }
    return json.dumps(document)


@pytest.mark.parametrize("settings", SETS.values(), ids=SETS.keys())
def test_the_api_server_takes_every_object_without_a_warning(
    cluster: Any, installed: Callable[..., str], settings: tuple[str, ...], monitoring_kinds: None
) -> None:
    namespace = installed(*settings)

    manifest = cluster.helm("get", "manifest", RELEASE, "--namespace", namespace).stdout
    # Strict validation refuses fields that Kubernetes does not know.
    done = cluster.run(
        "-n", namespace, "apply", "--dry-run=server", "--validate=strict", "--server-side",
        "--force-conflicts", "--warnings-as-errors", "-f", "-", stdin=manifest,
    )  # fmt: skip
    hooks = cluster.helm("get", "hooks", RELEASE, "--namespace", namespace).stdout
    pod = cluster.run(
        "-n", namespace, "create", "--dry-run=server", "--validate=strict",
        "--warnings-as-errors", "-f", "-", stdin=hooks,
    )  # fmt: skip

    objects = [item for item in yaml.safe_load_all(manifest) if item]
    assert len(done.stdout.splitlines()) == len(objects) >= 9
    assert "created" in pod.stdout


def test_the_outboxes_of_a_release_change_with_an_upgrade(
    cluster: Any, installed: Callable[..., str], chart: Path
) -> None:
    namespace = installed(*SETS["deliver"][2:7], "deliver.outboxes[0].env[0].name=A")

    def deployments() -> dict[str, Any]:
        selector = "app.kubernetes.io/component=deliver"
        found = cluster.get("-n", namespace, "deployments", "-l", selector)["items"]
        return {item["metadata"]["name"]: item["spec"] for item in found}

    before = deployments()
    notes = cluster.helm("get", "notes", RELEASE, "--namespace", namespace).stdout
    settings = (*SETS["deliver"][2:4], *SETS["deliver"][7:10], "deliver.outboxes[0].name=first")
    url = SETS["deliver"][6].partition("=")[2]
    flags = [part for item in settings for part in ("--set", item)]
    cluster.helm(
        "upgrade", RELEASE, str(chart), "--namespace", namespace, "--set",
        f"deliver.outboxes[0].queueURL={url}", *flags,
    )  # fmt: skip

    assert before.keys() == {"detection-queue-deliver-media"}
    assert before["detection-queue-deliver-media"]["replicas"] == 2
    assert "deployment/detection-queue-deliver-media" in notes
    assert deployments().keys() == {
        "detection-queue-deliver-first",
        "detection-queue-deliver-audio",
    }
    off = ("--set", "deliver.enabled=false")
    cluster.helm("upgrade", RELEASE, str(chart), "--namespace", namespace, *off)
    assert deployments() == {}


def test_a_release_and_its_namespaces_may_be_called_by_a_number(cluster: Any, chart: Path) -> None:
    release, served = (str(uuid.uuid4().int)[:9] for _ in range(2))
    cluster.namespace(served)
    flags = ("--set-string", f"watchNamespaces={{{served}}},imagePullSecrets={{123}}")

    try:
        cluster.helm(
            "install", release, str(chart), "-n", release, "--create-namespace", *flags,
            "--set", "networkPolicy.enabled=true",
        )  # fmt: skip
        accounts = cluster.get("-n", served, "serviceaccount")["items"]
        deployment = cluster.get(
            "-n", release, "deployment", f"{release}-detection-queue-operator"
        )
    finally:
        cluster.helm("uninstall", release, "--namespace", release, check=False)
        cluster.run("delete", "crd", CRD, POOL_CRD, "--ignore-not-found")

    names = [item["metadata"]["name"] for item in accounts]
    assert f"{release}-detection-queue-worker" in names
    pod = deployment["spec"]["template"]["spec"]
    assert pod["imagePullSecrets"] == [{"name": "123"}]


def test_upgrade_upgrades_the_crd_and_uninstall_keeps_it_and_every_queue(
    cluster: Any, installed: Callable[..., str], chart: Path, tmp_path: Path
) -> None:
    old = tmp_path / "old"
    _copy_chart(chart, old, without="spec.capacity")
    namespace = cluster.namespace(unique("chart"))
    cluster.helm("install", RELEASE, str(old), "--namespace", namespace)
    before = cluster.get("crd", CRD)
    cluster.run("wait", "--for=condition=Established", f"crd/{CRD}")
    cluster.run("-n", namespace, "apply", "-f", "-", stdin=queue_manifest("video"))
    uid = cluster.get("-n", namespace, "dq", "video")["metadata"]["uid"]

    cluster.helm("upgrade", RELEASE, str(chart), "--namespace", namespace)
    after = cluster.get("crd", CRD)
    removed = cluster.helm("uninstall", RELEASE, "--namespace", namespace)

    assert "capacity" not in _spec_properties(before)
    assert "capacity" in _spec_properties(after)
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert cluster.get("-n", namespace, "dq", "video")["metadata"]["uid"] == uid
    assert f"[CustomResourceDefinition] {CRD}" in removed.stdout + removed.stderr
    assert cluster.get("-n", namespace, "serviceaccount", "detection-queue-worker")
    assert cluster.get("-n", namespace, "deployments")["items"] == []
    _reinstalls(cluster, chart, namespace)
    assert cluster.get("-n", namespace, "dq", "video")["metadata"]["uid"] == uid
    cluster.run("delete", "crd", CRD, POOL_CRD)


def _reinstalls(cluster: Any, chart: Path, namespace: str) -> None:
    """The same release takes up what it left; another one has to say that it means it."""
    elsewhere = cluster.namespace(unique("chart"))
    install = ("install", RELEASE, str(chart), "--namespace")

    cluster.helm(*install, namespace)
    cluster.helm("uninstall", RELEASE, "--namespace", namespace)
    refused = cluster.helm(*install, elsewhere, check=False)
    cluster.helm(*install, elsewhere, "--take-ownership")
    cluster.helm("uninstall", RELEASE, "--namespace", elsewhere)

    assert refused.returncode != 0
    assert "invalid ownership metadata" in refused.stderr


def _copy_chart(chart: Path, target: Path, *, without: str) -> None:
    shutil.copytree(chart, target)
    path = target / "files" / "detectionqueues.yaml"
    crd = yaml.safe_load(path.read_text())
    *parents, last = without.split(".")
    node = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    for name in parents:
        node = node["properties"][name]
    del node["properties"][last]
    node.pop("x-kubernetes-validations", None)
    path.write_text(yaml.safe_dump(crd))


def _spec_properties(crd: Mapping[str, Any]) -> dict[str, Any]:
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    found: dict[str, Any] = schema["properties"]["spec"]["properties"]
    return found


def test_a_release_fits_its_secret_many_times(
    cluster: Any, installed: Callable[..., str], monitoring_kinds: None
) -> None:
    namespace = installed(*SETS["all on"])

    secret = cluster.get("-n", namespace, "secret", f"sh.helm.release.v1.{RELEASE}.v1")

    # A Secret takes 1 MiB.
    assert len(base64.b64decode(secret["data"]["release"])) < MIB / 5


def test_without_keep_the_crd_and_its_queues_go_with_the_release(
    cluster: Any, installed: Callable[..., str]
) -> None:
    namespace = installed("crds.keep=false")
    cluster.run("-n", namespace, "apply", "-f", "-", stdin=queue_manifest("video"))
    notes = cluster.helm("get", "notes", RELEASE, "--namespace", namespace).stdout

    cluster.helm("uninstall", RELEASE, "--namespace", namespace, "--wait")

    assert "with it EVERY DetectionQueue of the cluster" in notes
    assert cluster.run("get", "crd", CRD, check=False).returncode != 0
    assert cluster.get("-n", namespace, "serviceaccounts")["items"] == []


def test_the_workers_of_a_queue_outlive_the_release(
    cluster: Any,
    installed: Callable[..., str],
    operator_rest: Callable[[str, str], Rest],
    worker_deployment: Callable[..., dict[str, Any]],
) -> None:
    namespace = installed()
    cluster.run("-n", namespace, "apply", "-f", "-", stdin=queue_manifest("video"))
    client = KubernetesCluster(operator_rest(namespace, "detection-queue-operator"), (namespace,))
    queue = client.queue(Key(namespace, "video"))
    assert queue is not None
    client.apply(worker_deployment(queue, replicas=3))

    notes = cluster.helm("get", "notes", RELEASE, "--namespace", namespace).stdout
    cluster.helm("uninstall", RELEASE, "--namespace", namespace)

    assert "the workers keep running with their present replicas" in " ".join(notes.split())
    [left] = cluster.get("-n", namespace, "deployments")["items"]
    assert left["spec"]["replicas"] == 3
    assert left["metadata"]["ownerReferences"][0]["kind"] == KIND


def held_leases(cluster: Any, namespace: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = cluster.get("-n", namespace, "leases")["items"]
    return found


@pytest.mark.parametrize(
    "leads_on", [False, True], ids=["stopped in time", "leads on for a while"]
)
def test_the_lease_goes_with_the_release(
    cluster: Any,
    installed: Callable[..., str],
    operator_rest: Callable[[str, str], Rest],
    leads_on: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    namespace = installed()
    rest = operator_rest(namespace, OPERATOR)
    if leads_on:
        # Its role goes with the release; rights that another administrator granted stay.
        rest = Rest(cluster.server.configuration())
    elector = Elector(
        leases=KubernetesCluster(rest, (namespace,)),
        clock=SystemClock(),
        namespace=namespace,
        name=OPERATOR,
        identity="one",
        deployment=OPERATOR,
    )
    assert elector.try_lead()
    [lease] = held_leases(cluster, namespace)
    deployment = cluster.get("-n", namespace, "deployment", OPERATOR)
    assert lease["metadata"]["ownerReferences"] == [
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "name": OPERATOR,
            "uid": deployment["metadata"]["uid"],
        }
    ]

    if not leads_on:
        elector.release()
    cluster.helm("uninstall", RELEASE, "--namespace", namespace)
    for _ in range(10 if leads_on else 0):
        elector.try_lead()
        time.sleep(0.5)
    elector.release()

    assert eventually(lambda: held_leases(cluster, namespace) == [])
    # The last writer has stopped: what several further reads do not show has not come back.
    assert [held_leases(cluster, namespace) for _ in range(5)] == [[]] * 5
    if leads_on:
        rest.close()


def test_every_example_is_taken_by_the_api_server(
    cluster: Any, installed: Callable[..., str], chart: Path
) -> None:
    namespace = installed()
    files = [
        path for path in sorted((chart / "examples").glob("*.yaml")) if "kind:" in path.read_text()
    ]

    for path in files:
        done = cluster.run(
            "-n", namespace, "apply", "--dry-run=server", "--validate=strict",
            "--warnings-as-errors", "-f", str(path),
        )  # fmt: skip
        assert "created (server dry run)" in done.stdout

    assert len(files) >= 4
