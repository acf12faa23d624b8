import logging
from typing import Any

import pytest

from detection_contract.environment import LABEL_QUEUE
from detection_operator.errors import (
    ClusterError,
    Conflict,
    Forbidden,
    NotFound,
    NotLeading,
    Unavailable,
)
from detection_operator.kube.cache import ADOPTED_S, EVENTS_S, CachedCluster
from detection_operator.kube.client import KubernetesCluster
from detection_operator.kube.port import Key, Object
from detection_operator.kube.rest import Rest
from detection_operator.kube.store import POOL, Store
from detection_testing.kubernetes.cluster import InMemoryCluster
from detection_testing.scenes.fakes import FakeClock


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


class Counted(InMemoryCluster):
    """Counts reads of Deployments and pods; lists everything."""

    reads = 0

    def deployment(self, namespace: str, name: str) -> Object | None:
        """Return a Deployment."""
        self.reads += 1
        return super().deployment(namespace, name)

    def pods(self, namespace: str, selector: str) -> list[Object]:
        """Return pods."""
        self.reads += 1
        return super().pods(namespace, selector)

    def all_deployments(self) -> list[Object]:
        """Return none: the adopted one bears no label."""
        return []

    def all_pods(self) -> list[Object]:
        """Return none."""
        return []


def adopted(replicas: int) -> tuple[FakeClock, Counted, CachedCluster]:
    clock = FakeClock()
    direct = Counted(clock.wall_s)
    direct.create(
        {
            "kind": "Deployment",
            "metadata": {"name": "mine", "namespace": "n"},
            "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "mine"}}},
            "status": {"observedGeneration": 1, "replicas": replicas},
        }
    )
    return clock, direct, CachedCluster(direct, Store(), clock.monotonic_s)


def look(cluster: CachedCluster) -> int:
    found = cluster.deployment("n", "mine")
    assert found is not None
    cluster.pods("n", "app=mine")
    return int(found["spec"]["replicas"])


def test_an_adopted_deployment_at_rest_is_read_once_a_minute() -> None:
    clock, direct, cluster = adopted(0)

    for _ in range(120):
        look(cluster)
        clock.advance(5)

    assert direct.reads == 2 * 120 * 5 / ADOPTED_S


def test_what_the_operator_wrote_is_seen_at_once() -> None:
    _, _, cluster = adopted(0)
    assert look(cluster) == 0

    cluster.scale("n", "mine", 4, resource_version=None)

    assert look(cluster) == 4


def test_more_than_was_kept_but_fewer_than_there_are_is_refused_and_read_anew() -> None:
    _, direct, cluster = adopted(3)
    look(cluster)
    direct.scale_by("kubectl", "n", "mine", 9)

    with pytest.raises(Conflict):
        cluster.scale("n", "mine", 5, resource_version=None)

    assert look(cluster) == 9


def test_pods_of_an_adopted_deployment_are_read_each_time_while_there_are_some() -> None:
    _, direct, cluster = adopted(1)
    direct.create({"kind": "Pod", **pod("mine-1", 1)})
    slot = ("Pod", "n", "mine-1")
    direct.edit(slot, lambda obj: obj["metadata"].update(labels={"app": "mine"}))

    look(cluster)
    direct.delete(slot)

    assert cluster.pods("n", "app=mine") == []


def test_an_adopted_deployment_whose_pods_are_not_there_yet_is_read_each_time() -> None:
    _, direct, cluster = adopted(0)
    direct.scale_by("kubectl", "n", "mine", 2)
    look(cluster)
    direct.edit(
        ("Deployment", "n", "mine"),
        lambda obj: obj["status"].update(observedGeneration=2, replicas=2),
    )

    found = cluster.deployment("n", "mine")

    assert found is not None
    assert found["status"]["replicas"] == 2


def test_pods_that_an_adopted_deployment_is_about_to_get_are_seen_when_they_are_there() -> None:
    _, direct, cluster = adopted(1)
    look(cluster)

    direct.create({"kind": "Pod", **pod("mine-1", 1)})
    direct.edit(("Pod", "n", "mine-1"), lambda obj: obj["metadata"].update(labels={"app": "mine"}))

    assert [found["metadata"]["name"] for found in cluster.pods("n", "app=mine")] == ["mine-1"]


def test_pods_are_seen_as_soon_as_an_adopted_deployment_is_scaled_by_somebody_else() -> None:
    clock, direct, cluster = adopted(0)
    clock.advance(30)
    cluster.pods("n", "app=mine")
    look(cluster)
    direct.scale_by("kubectl", "n", "mine", 1)
    direct.create({"kind": "Pod", **pod("mine-1", 1)})
    direct.edit(("Pod", "n", "mine-1"), lambda obj: obj["metadata"].update(labels={"app": "mine"}))
    clock.advance(ADOPTED_S)

    assert look(cluster) == 1

    assert [found["metadata"]["name"] for found in cluster.pods("n", "app=mine")] == ["mine-1"]


@pytest.mark.parametrize("more", [",tier=gpu", ",tier in (gpu)", ",!spare"])
def test_a_selector_that_only_begins_with_the_label_of_a_queue_is_asked_as_it_is(
    more: str,
) -> None:
    _, direct, cluster = adopted(1)
    direct.create({"kind": "Pod", **pod("mine-1", 1)})
    labels = {LABEL_QUEUE: "video", "tier": "gpu"}
    direct.edit(("Pod", "n", "mine-1"), lambda obj: obj["metadata"].update(labels=labels))

    found = cluster.pods("n", f"{LABEL_QUEUE}=video{more}")

    assert [one["metadata"]["name"] for one in found] == ["mine-1"]


def test_nothing_is_sent_once_the_lease_may_be_another_s() -> None:
    sent: list[str] = []

    class Silent(Rest):
        def __init__(self) -> None:
            pass

        def call(self, verb: str, path: str, body: Any = None, **_: Any) -> Any:
            sent.append(path)
            return {"kind": "x"}

    cluster = KubernetesCluster(Silent(), may_write=lambda: False)

    with pytest.raises(NotLeading):
        cluster.scale("n", "mine", 5, resource_version=None)
    with pytest.raises(NotLeading):
        cluster.apply_status(Key("n", "video"), {})
    cluster.replace_lease({"metadata": {"name": "l", "namespace": "n"}})

    assert len(sent) == 1


def test_queues_of_a_namespace_share_what_was_read_of_its_events() -> None:
    clock, direct, cluster = adopted(0)
    direct.fail("pod_events", Forbidden("events is forbidden", status=403))

    with pytest.raises(Forbidden):
        cluster.pod_events("n")
    assert cluster.pod_events("n") == []
    event = {"kind": "Event", "metadata": {"name": "e", "namespace": "n"}}
    direct.create(event)
    assert cluster.pod_events("n") == []
    clock.advance(EVENTS_S)
    assert [found["metadata"]["name"] for found in cluster.pod_events("n")] == ["e"]


@pytest.mark.parametrize("error", [NotFound("no CRD"), Forbidden("no rule")])
def test_pools_that_cannot_be_read_are_none_and_said_once(
    error: ClusterError, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    clock = FakeClock()
    direct = Counted(clock.wall_s)
    direct.create_queue("video", {}, "n")
    direct.create_pool("gpu", {}, "n")
    cluster = CachedCluster(direct, Store(), clock.monotonic_s)
    direct.fail("pools", error, error)

    cluster.relist()
    cluster.relist()

    assert (cluster.pools_served, cluster.pools(), len(cluster.queues())) == (False, [], 1)
    assert caplog.text.count("WorkerPools cannot be read") == 1

    assert cluster.relist()[POOL] == 1
    assert cluster.pools_served
    assert cluster.pool(Key("n", "gpu", POOL)) is not None


def test_pools_of_a_server_that_does_not_answer_stay_as_they_were() -> None:
    clock = FakeClock()
    direct = Counted(clock.wall_s)
    direct.create_pool("gpu", {}, "n")
    cluster = CachedCluster(direct, Store(), clock.monotonic_s)
    cluster.relist()
    direct.fail("pools", Unavailable("no answer"))

    with pytest.raises(Unavailable):
        cluster.relist()

    assert cluster.pools_served
    assert len(cluster.pools()) == 1
