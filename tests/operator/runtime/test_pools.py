"""WorkerPools in the whole process on a real API server: watches, lists, rights, two leaders."""

import contextlib
import logging
import time
from collections.abc import Callable
from typing import Any

import pytest

from detection_operator.crd.kinds import POOL
from detection_operator.crd.manifest import PLURAL, POOL_PLURAL
from detection_operator.errors import ClusterError, NotFound
from detection_operator.kube.client import QUEUES
from detection_operator.kube.port import Key
from detection_operator.kube.rest import MERGE_PATCH, namespaced
from detection_operator.runtime.operator import Operator
from detection_testing.http.proxy import Proxy, is_list
from detection_testing.scenes.site import Site

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

Running = Callable[..., tuple[Operator, Any]]
RESYNC_S = 6.0


def by_hand(site: Site, name: str, replicas: int, priority: int) -> Key:
    """Create a queue whose demand is a number."""
    pool = {"name": "gpu", "priority": priority}
    return site.create_queue(name, manual=replicas, pool=pool)


def replicas_of(site: Site, name: str) -> int:
    return sum(
        item["spec"]["replicas"]
        for item in site.scene.of_kind("Deployment")
        if item["metadata"]["name"].startswith(f"{name}-")
    )


def set_capacity(site: Site, replicas: int) -> None:
    path = namespaced(QUEUES, site.scene.namespace, POOL_PLURAL, "gpu")
    body = {"spec": {"capacity": {"replicas": replicas}}}
    site.scene.admin.call("PATCH", path, body, content_type=MERGE_PATCH)


def status(site: Site) -> dict[str, Any]:
    path = namespaced(QUEUES, site.scene.namespace, POOL_PLURAL, "gpu")
    found: dict[str, Any] = site.scene.admin.call("GET", path).get("status", {})
    return found


def create_pool(site: Site, replicas: int) -> None:
    site.scene.create_pool("gpu", {"capacity": {"replicas": replicas}})


def condition(site: Site, key: Key) -> dict[str, Any]:
    found = site.scene.queue(key) or {}
    conditions = found.get("status", {}).get("conditions", ())
    return next((dict(c) for c in conditions if c["type"] == "PoolAvailable"), {})


def wait_for(come_true: Callable[[], bool]) -> None:
    end_s = time.monotonic() + 30
    while not come_true():
        assert time.monotonic() < end_s
        time.sleep(0.2)


def refused(site: Site) -> bool:
    try:
        site.scene.admin.call("GET", namespaced(QUEUES, site.scene.namespace, POOL_PLURAL))
    except NotFound:
        return True
    return False


def created(site: Site, path: str, body: dict[str, Any]) -> bool:
    with contextlib.suppress(ClusterError):
        site.scene.admin.call("POST", path, body)
        return True
    return False


def test_a_pool_is_followed_as_it_comes_changes_and_goes(site: Site, running: Running) -> None:
    running(resync_s=300.0)
    low = by_hand(site, "low", 5, 0)
    assert site.live(30, lambda: replicas_of(site, "low") >= 1)
    assert site.live(10, lambda: condition(site, low).get("reason") == "PoolNotFound")

    create_pool(site, 4)
    assert site.live(10, lambda: replicas_of(site, "low") == 4)
    assert site.live(10, lambda: status(site).get("held") == 4 and status(site)["granted"] == 4)
    by_hand(site, "high", 3, 100)
    assert site.live(20, lambda: replicas_of(site, "high") == 3 and replicas_of(site, "low") == 1)

    set_capacity(site, 6)
    assert site.live(10, lambda: replicas_of(site, "low") == 3)
    set_capacity(site, 3)
    assert site.live(20, lambda: replicas_of(site, "low") == 0 and replicas_of(site, "high") == 3)

    site.scene.delete((POOL.name, site.scene.namespace, "gpu"))
    assert site.live(10, lambda: condition(site, low).get("reason") == "PoolNotFound")
    assert site.lost == []


def test_an_edit_counts_that_happens_while_a_list_is_on_its_way(
    site: Site, proxy: Proxy, running: Running
) -> None:
    operator, _ = running(resync_s=RESYNC_S, leader_election=False)
    create_pool(site, 2)
    by_hand(site, "low", 5, 0)
    assert site.live(60, lambda: replicas_of(site, "low") == 2)
    assert site.live(60, lambda: proxy.watches() >= 4)

    with proxy.late(is_list(POOL_PLURAL)) as answered:
        assert site.live(RESYNC_S + 5, answered.is_set)
        set_capacity(site, 4)
        assert site.live(10, lambda: replicas_of(site, "low") == 4)
    site.live(2)

    found = operator._store.get(POOL.name, site.scene.namespace, "gpu")
    assert found is not None
    assert found["spec"]["capacity"] == {"replicas": 4}
    assert replicas_of(site, "low") == 4


def test_a_hand_over_goes_on_after_connections_were_cut_and_with_the_next_leader(
    site: Site, proxy: Proxy, running: Running
) -> None:
    first, outcome = running(resync_s=RESYNC_S)
    create_pool(site, 4)
    by_hand(site, "low", 4, 0)
    assert site.live(60, lambda: replicas_of(site, "low") == 4)
    most: list[int] = []

    def done() -> bool:
        most.append(len(site.scene.of_kind("Pod")))
        return replicas_of(site, "high") == 4 and replicas_of(site, "low") == 0

    by_hand(site, "high", 4, 100)
    proxy.cut()
    site.live(1.5, done)
    first.stop()
    outcome.thread.join(20)
    running(resync_s=RESYNC_S)

    assert site.live(60, done)
    assert max(most) <= 4
    assert site.lost == []


def test_without_the_right_to_read_pools_queues_are_scaled_without(
    site: Site, proxy: Proxy, running: Running, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="detection_operator")
    create_pool(site, 1)
    with proxy.answering(403, lambda _verb, path: POOL_PLURAL in path):
        _, outcome = running(resync_s=2.0, leader_election=False)
        low = by_hand(site, "low", 3, 0)
        assert site.live(30, lambda: replicas_of(site, "low") == 3)
        site.live(5)
        assert "cannot read WorkerPools" in condition(site, low)["message"]
        assert caplog.text.count("WorkerPools cannot be read") == 1
        assert outcome.error is None

    # With the right the watches begin again, in a new process.
    site.live(20, lambda: outcome.error is not None)
    assert "WorkerPools can be read now" in str(outcome.error)
    running(resync_s=300.0, leader_election=False)
    assert site.live(20, lambda: replicas_of(site, "low") == 1)
    assert site.lost == []


def test_without_the_crd_queues_are_scaled_without(
    site: Site, running: Running, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="detection_operator")
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    crd = site.scene.admin.call("GET", f"{path}/{POOL_PLURAL}.detection-queue.dev")
    site.scene.admin.call("DELETE", f"{path}/{POOL_PLURAL}.detection-queue.dev")
    wait_for(lambda: refused(site))
    try:
        _, outcome = running(resync_s=2.0, leader_election=False)
        by_hand(site, "low", 2, 0)
        assert site.live(30, lambda: replicas_of(site, "low") == 2)
        assert outcome.error is None
        assert caplog.text.count("WorkerPools cannot be read") == 1
    finally:
        body = {**crd, "metadata": {"name": crd["metadata"]["name"]}, "status": None}
        wait_for(lambda: created(site, path, body))
    site.server.wait_for(f"/apis/detection-queue.dev/v1alpha1/{POOL_PLURAL}")
    assert site.live(20, lambda: outcome.error is not None)
    assert "WorkerPools can be read now" in str(outcome.error)
    assert site.scene.admin.call("GET", namespaced(QUEUES, site.scene.namespace, PLURAL))["items"]
