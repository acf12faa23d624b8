"""What the API server says is gone is gone: no failure, nothing made for it, nothing left."""

import copy
import logging
from collections.abc import Callable
from typing import Any

import pytest

from detection_contract.environment import LABEL_QUEUE
from detection_operator.crd.manifest import KIND
from detection_operator.errors import NotFound, cluster_error
from detection_operator.kube.cache import CachedCluster
from detection_operator.kube.port import Object
from detection_operator.kube.store import DEPLOYMENT, POD, Store
from detection_operator.reconcile.observe.gather import Sources
from detection_operator.reconcile.reconciler import Reconciler
from detection_testing.kubernetes.cluster import InMemoryCluster
from detection_testing.scenes.world import MINIMAL, World

GONE = cluster_error(404, "not found")


class Listing(InMemoryCluster):
    """Lists everything."""

    def all_deployments(self) -> list[Object]:
        """Return Deployments."""
        return copy.deepcopy(list[Object](self.of_kind(DEPLOYMENT)))

    def all_pods(self) -> list[Object]:
        """Return pods."""
        return copy.deepcopy(list[Object](self.of_kind(POD)))


def spec(change: Callable[[dict[str, Any]], object] = lambda _: None) -> dict[str, Any]:
    made = copy.deepcopy(dict(MINIMAL))
    change(made)
    return made


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda spec: None, id="valid"),
        pytest.param(lambda spec: spec["scaling"].update(maxReplicas=-1), id="invalid"),
    ],
)
def test_a_queue_that_is_gone_when_its_status_is_written_is_let_go(
    change: Callable[[dict[str, Any]], object],
) -> None:
    world = World()
    key = world.create_queue("video", spec(change))
    world.cluster.fail("apply_status", GONE)

    world.step()

    assert world.errors == []
    assert world.reconciler is not None
    assert key not in world.reconciler._states
    assert not [
        sample
        for family in world.metrics.registry.collect()
        for sample in family.samples
        if sample.labels.get("queue") == "video"
    ]


def test_a_deployment_that_is_gone_when_it_is_scaled_is_made_anew() -> None:
    world = World()
    world.create_queue("video", spec())
    world.run(5)
    world.queue.visible = 50
    world.cluster.fail("scale", GONE)

    world.run(30)

    assert world.errors == []
    assert world.replicas > 0


@pytest.mark.parametrize(
    ("kind", "write"),
    [
        pytest.param(KIND, lambda c, key: c.apply_status(key, {}), id="status"),
        pytest.param(
            DEPLOYMENT,
            lambda c, key: c.scale(key.namespace, "d", 3, resource_version=None),
            id="scale",
        ),
        pytest.param(
            DEPLOYMENT,
            lambda c, key: c.delete_deployment(key.namespace, "d", resource_version="1"),
            id="delete",
        ),
        pytest.param(POD, lambda c, key: c.annotate_pod(key.namespace, "p", {"a": "b"}), id="pod"),
    ],
)
def test_the_cache_forgets_what_a_write_did_not_find(kind: str, write: Callable[..., Any]) -> None:
    world = World()
    direct = Listing(world.clock.wall_s)
    key = direct.create_queue("video", MINIMAL)
    for name, made_kind in (("d", DEPLOYMENT), ("p", POD)):
        metadata = {"name": name, "namespace": "default", "labels": {LABEL_QUEUE: "video"}}
        direct.create({"kind": made_kind, "metadata": metadata, "spec": {"replicas": 1}})
    store = Store()
    cluster = CachedCluster(direct, store, world.clock.monotonic_s)
    cluster.relist()
    direct.objects.clear()

    with pytest.raises(NotFound):
        write(cluster, key)

    assert store.all(kind) == []
    assert [other for other in (KIND, DEPLOYMENT, POD) if not store.all(other)] == [kind]


@pytest.mark.parametrize("successor", [False, True], ids=["gone", "another has its name"])
def test_nothing_is_made_for_a_queue_whose_deletion_nobody_told_of(
    caplog: pytest.LogCaptureFixture,
    successor: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    world = World()
    direct = Listing(world.clock.wall_s)
    key = direct.create_queue("video", MINIMAL)
    store = Store()
    cluster = CachedCluster(direct, store, world.clock.monotonic_s)
    cluster.relist()
    direct.objects.clear()
    if successor:
        direct.create_queue("video", MINIMAL)
    there = {obj["metadata"]["uid"] for obj in direct.queues()}
    sources = Sources(
        cluster=cluster, reader=world.queue, workers=world.workers, clock=world.clock
    )
    reconciler = Reconciler(sources=sources, metrics=world.metrics)

    with caplog.at_level(logging.WARNING):
        for _ in range(10):
            reconciler.reconcile(key)
            for obj in direct.of_kind(DEPLOYMENT):
                assert {item["uid"] for item in obj["metadata"]["ownerReferences"]} == there
            world.clock.advance(1)

    assert direct.writes[DEPLOYMENT] == len(there)
    assert {obj["metadata"]["uid"] for obj in store.all(KIND)} == there
    assert caplog.records == []


def test_nothing_is_made_for_a_queue_that_waits_for_its_finalizers() -> None:
    world = World()
    direct = Listing(world.clock.wall_s)
    key = direct.create_queue("video", MINIMAL)
    cluster = CachedCluster(direct, Store(), world.clock.monotonic_s)
    cluster.relist()
    slot = (KIND, key.namespace, key.name)
    direct.edit(slot, lambda obj: obj["metadata"].update(deletionTimestamp="2026-01-01T00:00:00Z"))
    sources = Sources(
        cluster=cluster, reader=world.queue, workers=world.workers, clock=world.clock
    )

    Reconciler(sources=sources, metrics=world.metrics).reconcile(key)

    assert direct.of_kind(DEPLOYMENT) == []
