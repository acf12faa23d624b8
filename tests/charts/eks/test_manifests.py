"""Files of the page: what they name exists in each other, in the chart and in AWS.

Karpenter's CRDs and eksctl's schema are in no package registry: these tests look at structure. The
files were valid against both schemas (Karpenter 1.14.1, eksctl of August 2026) when written.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from detection_operator.kube.manifests.deployment import deployment
from detection_operator.spec.parse import parse_spec

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "charts" / "detection-queue" / "examples" / "eks"
FILLED = {
    "ACCOUNT_ID": "123456789012",
    "AMI_ALIAS": "al2023@v20261101",
    "BUCKET_NAME": "deepfake",
    "CLUSTER_NAME": "detection",
    "KUBERNETES_VERSION": "1.36",
    "CHART_GIT_URL": "https://git.example/chart.git",
    "GIT_URL": "https://git.example/queues.git",
    "NAMESPACE": "detection",
    "QUEUE_URL": "https://sqs.us-east-1.amazonaws.com/123456789012/deepfake-queue",
    "REGISTRY": "123456789012.dkr.ecr.us-east-1.amazonaws.com",
    "REGION": "us-east-1",
}


def load(name: str) -> list[dict[str, Any]]:
    text = (FOLDER / name).read_text()
    for word, value in FILLED.items():
        text = text.replace(word, value)
    return [item for item in yaml.safe_load_all(text) if item]


def pools() -> Iterator[tuple[str, Any]]:
    for item in load("nodes.yaml"):
        if item["kind"] == "NodePool":
            yield item["metadata"]["name"], item["spec"]


def requirements(pool: Mapping[str, Any]) -> dict[str, list[str]]:
    return {r["key"]: r["values"] for r in pool["template"]["spec"]["requirements"]}


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.json")), ids=lambda path: path.stem)
def test_every_json_file_is_json(path: Path) -> None:
    assert isinstance(json.loads(path.read_text()), dict | list)


def test_every_file_is_named_by_the_page() -> None:
    page = "".join((ROOT / "docs" / name).read_text() for name in ("eks.md", "cloudwatch.md"))

    assert [p.name for p in sorted(FOLDER.iterdir()) if p.name not in page] == []


# -- cluster --------------------------------------------------------------------------------------


def test_pod_identities_are_the_service_accounts_that_the_chart_creates() -> None:
    [cluster] = load("cluster.yaml")
    given = {
        a["serviceAccountName"]: a["roleARN"]
        for a in cluster["iam"]["podIdentityAssociations"]
        if a["namespace"] == FILLED["NAMESPACE"]
    }

    account = FILLED["ACCOUNT_ID"]
    assert given == {
        f"detection-queue-{role}": f"arn:aws:iam::{account}:role/detection-{role}"
        for role in ("operator", "worker")
    }
    assert "eks-pod-identity-agent" in {addon["name"] for addon in cluster["addons"]}
    assert cluster["iam"]["withOIDC"]


def test_nodes_of_karpenter_may_join_and_find_their_subnets() -> None:
    [cluster] = load("cluster.yaml")
    [node_class] = [i for i in load("nodes.yaml") if i["kind"] == "EC2NodeClass"]
    tag = {"karpenter.sh/discovery": cluster["metadata"]["name"]}
    [joined] = [entry["arn"] for entry in cluster["iamIdentityMappings"]]

    assert cluster["metadata"]["tags"] == tag
    assert node_class["apiVersion"] == "karpenter.k8s.aws/v1"
    for terms in ("subnetSelectorTerms", "securityGroupSelectorTerms"):
        assert node_class["spec"][terms] == [{"tags": tag}]
    assert joined.rpartition("/")[2] == node_class["spec"]["role"]


def test_the_kubernetes_version_is_a_string_and_addons_take_json() -> None:
    [cluster] = load("cluster.yaml")
    values = [a["configurationValues"] for a in cluster["addons"] if "configurationValues" in a]

    assert cluster["metadata"]["version"] == "1.36"
    assert [json.loads(value) for value in values] == [{"enableNetworkPolicy": "true"}]


# -- nodes and the pods that run on them ----------------------------------------------------------


def test_every_pool_names_the_node_class_and_is_bounded() -> None:
    found = dict(pools())
    [name] = [i["metadata"]["name"] for i in load("nodes.yaml") if i["kind"] == "EC2NodeClass"]

    assert found.keys() == {"cpu", "gpu"}
    for pool in found.values():
        assert pool["template"]["spec"]["nodeClassRef"] == {
            "group": "karpenter.k8s.aws",
            "kind": "EC2NodeClass",
            "name": name,
        }
        assert pool["limits"]
        # Never to repack nodes under workers that hold messages.
        assert pool["disruption"]["consolidationPolicy"] == "WhenEmpty"


@pytest.mark.parametrize(
    ("file", "pool"), [("detectionqueue.yaml", "cpu"), ("detectionqueue-gpu.yaml", "gpu")]
)
def test_a_worker_tolerates_and_fits_the_nodes_of_its_pool(file: str, pool: str) -> None:
    [queue] = load(file)
    spec = parse_spec(queue["spec"])
    assert spec.worker.template is not None
    pod = deployment(with_metadata(queue), spec, spec.worker.template)["spec"]["template"]["spec"]
    node = dict(pools())[pool]
    tolerated = {t["key"] for t in pod["tolerations"]}
    [container] = [c for c in pod["containers"] if c["name"] == "worker"]
    wanted = container["resources"]

    assert pod["nodeSelector"] == {"karpenter.sh/nodepool": pool}
    assert {t["key"] for t in node["template"]["spec"]["taints"]} <= tolerated
    assert ("nvidia.com/gpu" in wanted["limits"]) is (pool == "gpu")
    # The smallest node of either pool has four cores; some are the system's.
    assert float(wanted["requests"]["cpu"]) < 3.9
    assert pod["terminationGracePeriodSeconds"] < 3600, "terminationGracePeriod of the pool"
    assert pod["serviceAccountName"] == "detection-queue-worker"


def with_metadata(queue: Mapping[str, Any]) -> dict[str, Any]:
    place = {"namespace": "detection", "uid": "1", "generation": 1}
    return {**queue, "metadata": {**queue["metadata"], **place}}


def test_both_queues_store_results_where_the_role_may_write() -> None:
    for file in ("detectionqueue.yaml", "detectionqueue-gpu.yaml"):
        [queue] = load(file)
        results = queue["spec"]["worker"]["template"]["results"]

        assert results == {"url": "s3://deepfake/results/", "bucketOwner": "123456789012"}
        assert queue["metadata"]["name"] == "media"


def test_nodes_with_gpus_are_labelled_for_the_device_plugin() -> None:
    [group] = load("gpu-nodegroup.yaml")[0]["managedNodeGroups"]
    labels = dict(pools())["gpu"]["template"]["metadata"]["labels"]
    [plugin] = load("device-plugin.yaml")
    configurations = {n: yaml.safe_load(t) for n, t in plugin["config"]["map"].items()}

    assert labels == group["labels"] == {"nvidia.com/gpu.present": "true"}
    assert [t["key"] for t in group["taints"]] == ["nvidia.com/gpu"]
    assert plugin["config"]["default"] in configurations
    [shared] = configurations["shared"]["sharing"]["timeSlicing"]["resources"]
    assert shared == {"name": "nvidia.com/gpu", "replicas": 4}
    assert {c["version"] for c in configurations.values()} == {"v1"}


# -- values ---------------------------------------------------------------------------------------


def test_the_chart_takes_its_values_and_prometheus_selects_what_it_creates(
    render: Callable[..., list[dict[str, Any]]],
) -> None:
    [values] = load("values.yaml")
    [stack] = load("monitoring.yaml")
    rendered = render(values)
    kinds = {item["kind"] for item in rendered}
    prometheus = stack["prometheus"]["prometheusSpec"]

    assert {"ServiceMonitor", "PodMonitor", "PrometheusRule", "NetworkPolicy"} <= kinds
    for kind in ("serviceMonitor", "podMonitor", "rule"):
        assert prometheus[f"{kind}SelectorNilUsesHelmValues"] is False
    boards = [
        item["metadata"]["labels"]
        for item in rendered
        if item["kind"] == "ConfigMap" and "grafana_dashboard" in item["metadata"]["labels"]
    ]
    assert boards
    assert stack["grafana"]["sidecar"]["dashboards"]["searchNamespace"] == "ALL"


def test_karpenter_s_nodes_are_watched_so_that_workers_drain(
    render: Callable[..., list[dict[str, Any]]],
) -> None:
    [values] = load("values.yaml")
    [operator] = [
        item
        for item in render(values)
        if item["kind"] == "Deployment" and item["metadata"]["name"].endswith("-operator")
    ]
    [container] = operator["spec"]["template"]["spec"]["containers"]

    assert {"name": "DETECTION_OPERATOR_NODES", "value": "true"} in container["env"]
    assert container["image"] == f"{FILLED['REGISTRY']}/detection-operator:0.1.0"
