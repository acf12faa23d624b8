from typing import Any

from detection_contract.environment import LABEL_QUEUE
from detection_operator.crd.manifest import KIND
from detection_operator.kube.cache import DEPLOYMENT, POD, Store
from detection_operator.kube.port import Key


def pod(name: str, version: int, **status: Any) -> dict[str, Any]:
    return {
        "metadata": {
            "name": name,
            "namespace": "n",
            "uid": f"uid-{name}",
            "resourceVersion": str(version),
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": {LABEL_QUEUE: "video"},
            "managedFields": [{"manager": "kubelet", "fieldsV1": {}}],
        },
        "spec": {"containers": [{"name": "worker", "env": ["secret"]}]},
        "status": status,
    }


def test_an_older_version_never_replaces_a_newer_one() -> None:
    store = Store()
    store.put(POD, pod("a", 5, phase="Running"))

    assert not store.put(POD, pod("a", 4, phase="Pending"))

    (kept,) = store.children(POD, Key("n", "video"))
    assert kept["status"]["phase"] == "Running"


def test_only_what_a_decision_looks_at_is_news() -> None:
    store = Store()

    assert store.put(POD, pod("a", 1, phase="Pending"))
    assert not store.put(POD, pod("a", 2, phase="Pending", message="still pulling"))
    assert store.put(POD, pod("a", 3, phase="Running"))


def test_a_status_of_the_operator_itself_is_no_news() -> None:
    store = Store()
    queue = {"metadata": {"name": "q", "namespace": "n", "uid": "u", "resourceVersion": "1"}}
    store.put(KIND, {**queue, "spec": {"a": 1}})
    queue["metadata"]["resourceVersion"] = "2"

    assert not store.put(KIND, {**queue, "spec": {"a": 1}, "status": {"replicas": 3}})
    assert store.put(KIND, {**queue, "spec": {"a": 2}})


def test_what_vanished_while_nobody_watched_goes_with_the_next_list() -> None:
    store = Store()
    store.put(POD, pod("a", 1))
    store.put(POD, pod("b", 2))

    missed = store.replace(POD, [pod("b", 2), pod("c", 3)])

    assert {p["metadata"]["name"] for p in store.children(POD, Key("n", "video"))} == {"b", "c"}
    assert missed == 2
    assert store.replace(POD, [pod("b", 2), pod("c", 3)]) == 0


def test_nothing_is_kept_that_nobody_reads() -> None:
    store = Store()
    store.put(POD, pod("a", 1))
    owners = [
        {"manager": "hpa", "fieldsV1": {"f:spec": {"f:replicas": {}}}},
        {"manager": "kubectl", "fieldsV1": {"f:spec": {"f:template": {}}}},
    ]
    deployment = pod("d", 1)
    deployment["metadata"]["managedFields"] = owners
    store.put(DEPLOYMENT, deployment)

    (kept,) = store.children(POD, Key("n", "video"))
    assert "managedFields" not in kept["metadata"]
    assert "env" not in kept["spec"]["containers"][0]
    found = store.get(DEPLOYMENT, "n", "d")
    assert found is not None
    assert [entry["manager"] for entry in found["metadata"]["managedFields"]] == ["hpa"]


def test_children_are_forgotten_with_their_last_one() -> None:
    store = Store()
    store.put(POD, pod("a", 1))

    assert store.remove(POD, pod("a", 2))
    assert not store.remove(POD, pod("a", 2))

    assert store.children(POD, Key("n", "video")) == []
