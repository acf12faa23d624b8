"""The stand-in for Kubernetes' controllers."""

from typing import Any

import pytest

from detection_contract.environment import ANNOTATION_DELETION_COST, LABEL_QUEUE
from detection_operator.kube.port import Key
from detection_testing.operator_demo.memory import ReplicaController, SharedCluster

SLOT = ("Deployment", "demo", "workers")


@pytest.fixture
def cluster() -> SharedCluster:
    made = SharedCluster()
    labels = {LABEL_QUEUE: "media"}
    made.create(
        {
            "kind": "Deployment",
            "metadata": {"name": "workers", "namespace": "demo", "labels": labels},
            "spec": {
                "replicas": 3,
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": {"containers": []}},
            },
        }
    )
    return made


def set_replicas(cluster: SharedCluster, count: int) -> None:
    cluster.scale("demo", "workers", count, resource_version=None)


def doomed(cluster: SharedCluster) -> list[dict[str, Any]]:
    return [p for p in cluster.of_kind("Pod") if p["metadata"].get("deletionTimestamp")]


def test_pods_follow_the_replicas_and_then_nothing_happens(cluster: SharedCluster) -> None:
    controller = ReplicaController(cluster)

    assert controller.tick() == [Key("demo", "media")]
    assert controller.tick() == []

    assert len(cluster.of_kind("Pod")) == 3
    assert len({pod["metadata"]["name"] for pod in cluster.of_kind("Pod")}) == 3


def test_the_pod_of_least_deletion_cost_is_asked_to_end_first(cluster: SharedCluster) -> None:
    controller = ReplicaController(cluster)
    controller.tick()
    cheap = cluster.of_kind("Pod")[1]["metadata"]["name"]
    cluster.annotate_pod("demo", cheap, {ANNOTATION_DELETION_COST: "-10"})

    set_replicas(cluster, 2)
    controller.tick()

    assert [pod["metadata"]["name"] for pod in doomed(cluster)] == [cheap]
    assert len(cluster.of_kind("Pod")) == 3, "it goes only when its process has ended"


def test_a_pod_that_ends_counts_no_more(cluster: SharedCluster) -> None:
    controller = ReplicaController(cluster)
    controller.tick()
    set_replicas(cluster, 0)
    controller.tick()

    set_replicas(cluster, 1)
    controller.tick()

    assert len(doomed(cluster)) == 3
    assert len(cluster.of_kind("Pod")) == 4
