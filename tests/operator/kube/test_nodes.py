"""Which nodes are going, by the marks on them, and what is kept of a node."""

import logging
from typing import Any

import pytest

from detection_contract.environment import LABEL_QUEUE
from detection_operator.crd.manifest import KIND
from detection_operator.errors import Forbidden
from detection_operator.kube.cache import CachedCluster
from detection_operator.kube.nodes import NODE, node_view, slim_node
from detection_operator.kube.port import Key
from detection_operator.kube.store import POD, Store
from detection_testing.kubernetes.cluster import InMemoryCluster
from detection_testing.scenes.fakes import FakeClock


def node(name: str = "gpu-1", version: int = 1, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": NODE,
        "metadata": {
            "name": name,
            "uid": f"uid-{name}",
            "resourceVersion": str(version),
            "labels": {"karpenter.sh/nodepool": "gpu"},
            "annotations": {"node.alpha.kubernetes.io/ttl": "0"},
        },
        "spec": {"providerID": "aws:///eu-west-1a/i-0", **spec},
        "status": {
            "allocatable": {"nvidia.com/gpu": "1"},
            "conditions": [{"type": "Ready", "status": "True", "lastHeartbeatTime": "t"}],
            "images": [{"names": ["detection-worker:1"], "sizeBytes": 1}],
        },
    }


def tainted(key: str, effect: str = "NoSchedule") -> dict[str, Any]:
    return node(taints=[{"key": key, "effect": effect}])


def with_condition(name: str, status: str) -> dict[str, Any]:
    made = node()
    made["status"]["conditions"].append({"type": name, "status": status})
    return made


@pytest.mark.parametrize(
    ("obj", "soon"),
    [
        pytest.param(node(unschedulable=True), False, id="cordoned"),
        pytest.param(
            tainted("aws-node-termination-handler/rebalance-recommendation"), False, id="rebalance"
        ),
        pytest.param(tainted("karpenter.sh/disrupted"), True, id="Karpenter"),
        pytest.param(tainted("ToBeDeletedByClusterAutoscaler"), True, id="Cluster Autoscaler"),
        pytest.param(tainted("aws-node-termination-handler/spot-itn"), True, id="spot"),
        pytest.param(
            tainted("node.kubernetes.io/out-of-service", "NoExecute"), True, id="out of service"
        ),
        pytest.param(
            tainted("node.cloudprovider.kubernetes.io/shutdown"), True, id="instance shut down"
        ),
        pytest.param(with_condition("SpotTermination", "True"), True, id="condition"),
        pytest.param(
            {"metadata": {"name": "n", "deletionTimestamp": "2026-01-01T00:00:00Z"}},
            True,
            id="being deleted",
        ),
        pytest.param(
            node(unschedulable=True, taints=[{"key": "karpenter.sh/disrupted"}]), True, id="both"
        ),
    ],
)
def test_a_node_that_is_going_says_so(obj: dict[str, Any], soon: bool) -> None:  # noqa: FBT001 - a parameter of the test
    view = node_view(slim_node(obj))

    assert (bool(view.leaving), view.soon) == (True, soon)


@pytest.mark.parametrize(
    "obj",
    [
        pytest.param(node(), id="healthy"),
        pytest.param({"metadata": {"name": "n"}}, id="bare"),
        pytest.param(tainted("nvidia.com/gpu"), id="reserved for GPU pods"),
        pytest.param(tainted("DeletionCandidateOfClusterAutoscaler"), id="candidate only"),
        pytest.param(tainted("node.kubernetes.io/memory-pressure"), id="under pressure"),
        pytest.param(with_condition("SpotTermination", "False"), id="condition is false"),
    ],
)
def test_any_other_node_stays(obj: dict[str, Any]) -> None:
    assert node_view(slim_node(obj)).leaving == ""


def test_little_of_a_node_is_kept_and_equal_texts_once() -> None:
    one, other = slim_node(node("a")), slim_node(node("b"))

    assert one == {
        "metadata": {
            "name": "a",
            "uid": "uid-a",
            "resourceVersion": "1",
            "labels": {"karpenter.sh/nodepool": "gpu"},
        },
        "spec": {},
        "status": {
            "allocatable": {"nvidia.com/gpu": "1"},
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }
    assert (
        one["metadata"]["labels"]["karpenter.sh/nodepool"]
        is (other["metadata"]["labels"]["karpenter.sh/nodepool"])
    )
    assert slim_node(one) == one


def test_a_heartbeat_of_a_node_changes_nothing_and_a_cordon_does() -> None:
    store = Store()
    store.put(NODE, node())

    assert not store.put(NODE, node(version=2))
    assert store.put(NODE, node(version=3, unschedulable=True))
    assert store.put(NODE, node(version=4))


def test_a_node_concerns_the_queues_with_pods_on_it_and_those_that_adopt() -> None:
    store = Store()
    for name, place in (("a", "gpu-1"), ("b", "gpu-2")):
        labels = {LABEL_QUEUE: f"queue-{name}"}
        metadata = {"name": name, "namespace": "n", "uid": name, "labels": labels}
        store.put(POD, {"metadata": metadata, "spec": {"nodeName": place}, "status": {}})
    for name, worker in (("c", {"deploymentRef": {"name": "d"}}), ("d", {"template": {}})):
        metadata = {"name": name, "namespace": "n", "uid": name}
        store.put(KIND, {"metadata": metadata, "spec": {"worker": worker}})

    assert store.on_node("gpu-1") == {Key("n", "queue-a"), Key("n", "c")}


class Direct(InMemoryCluster):
    """A cluster that can list everything, as a direct client can."""

    def all_deployments(self) -> list[Any]:
        return []

    def all_pods(self) -> list[Any]:
        return []


def cached(selector: str | None) -> tuple[Direct, CachedCluster]:
    clock = FakeClock()
    direct = Direct(clock.wall_s)
    direct.create(node("gpu-1"))
    direct.create({**node("cpu-1"), "metadata": {"name": "cpu-1", "labels": {}}})
    return direct, CachedCluster(direct, Store(), clock.monotonic_s, nodes=selector)


def names(cluster: CachedCluster) -> list[str]:
    return sorted(item["metadata"]["name"] for item in cluster.nodes())


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        pytest.param(None, [], id="not asked for"),
        pytest.param("", ["cpu-1", "gpu-1"], id="all"),
        pytest.param("karpenter.sh/nodepool=gpu", ["gpu-1"], id="some"),
    ],
)
def test_the_nodes_in_view_are_listed(selector: str | None, expected: list[str]) -> None:
    _, cluster = cached(selector)

    cluster.relist()

    assert names(cluster) == expected
    assert cluster.sees_nodes == (selector is not None)


def test_without_the_right_to_read_nodes_it_says_so_once_and_works_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    direct, cluster = cached("")
    direct.fail("nodes", Forbidden("no", status=403), Forbidden("no", status=403))

    with caplog.at_level(logging.WARNING):
        cluster.relist()
        cluster.relist()

    assert len(caplog.records) == 1
    assert (cluster.nodes(), cluster.sees_nodes) == ([], False)
    cluster.relist()
    assert (names(cluster), cluster.sees_nodes) == (["cpu-1", "gpu-1"], True)


def test_a_node_that_was_deleted_is_going_until_a_list_confirms_it() -> None:
    direct, cluster = cached("")
    cluster.relist()
    direct.delete((NODE, "", "gpu-1"))
    cluster.relist()

    gone = cluster.node("gpu-1")

    assert gone is not None
    assert node_view(gone).soon
    assert cluster.node("never-seen") is None
    cluster.relist()
    assert cluster.node("gpu-1") is None
