"""Lists that take long, on a real API server: what happens meanwhile counts."""

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from detection_contract.environment import LABEL_QUEUE
from detection_operator.crd.manifest import GROUP, KIND, PLURAL, manifest
from detection_operator.errors import ClusterError
from detection_operator.kube.store import DEPLOYMENT, POD
from detection_operator.runtime.operator import Operator
from detection_testing.http.proxy import Proxy, is_list, is_watch
from detection_testing.scenes.site import Site

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

Running = Callable[..., tuple[Operator, Any]]
RESYNC_S = 8.0
QUEUES_PATH = "/apis/detection-queue.dev/v1alpha1/detectionqueues"
PLURALS = {KIND: PLURAL, DEPLOYMENT: "deployments", POD: "pods"}


def names(site: Site, kind: str) -> set[str]:
    return {obj["metadata"]["name"] for obj in site.scene.of_kind(kind)}


def known(operator: Operator, kind: str) -> set[str]:
    return {obj["metadata"]["name"] for obj in operator._store.all(kind)}


def watching(site: Site, proxy: Proxy) -> bool:
    """Wait until every kind is watched: each watch begins with a list of its own.

    If that were held back in place of the operator's, no watch would tell what happens meanwhile.
    """
    return site.live(60, lambda: proxy.watches() >= len(PLURALS))


def applied(proxy: Proxy, since_s: float) -> list[str]:
    """Return which Deployments were applied, each as often as it was."""
    return [
        seen.path.partition("?")[0].rpartition("/")[2].partition("-")[0]
        for seen in list(proxy.seen)
        if seen.verb == "PATCH" and "fieldManager" in seen.path and seen.at_s > since_s
        if "/deployments/" in seen.path and "/scale" not in seen.path
    ]


@pytest.mark.parametrize("kind", PLURALS)
def test_what_happens_while_a_list_is_on_its_way_counts(
    site: Site, proxy: Proxy, running: Running, kind: str
) -> None:
    operator, _ = running(resync_s=RESYNC_S, leader_election=False)
    old = site.create_queue("old", manual=1)
    assert site.live(60, lambda: len(names(site, POD)) == 1)
    assert watching(site, proxy)

    with proxy.late(is_list(PLURALS[kind])) as answered:
        assert site.live(RESYNC_S + 5, answered.is_set)
        site.scene.delete((KIND, old.namespace, old.name))
        deleted_s = time.monotonic()
        new = site.create_queue("new", manual=1)
        assert site.live(60, lambda: [n.partition("-")[0] for n in names(site, POD)] == ["new"])
        site.live(2)
    listed_s = time.monotonic()

    # By the next list everything would be right again.
    site.live(2)
    assert known(operator, kind) == names(site, kind)
    site.edit_queue(new, {"replicas": 3})
    assert site.live(5, lambda: site.replicas == 3)
    assert time.monotonic() - listed_s < RESYNC_S
    assert applied(proxy, deleted_s) == ["new"]


@pytest.mark.parametrize("kind", PLURALS)
def test_a_name_that_is_used_anew_while_a_list_is_on_its_way_is_followed(
    site: Site, proxy: Proxy, running: Running, kind: str
) -> None:
    running(resync_s=RESYNC_S, leader_election=False)
    key = site.create_queue("again", manual=1)
    assert site.live(60, lambda: site.replicas == 1)
    assert watching(site, proxy)

    with proxy.late(is_list(PLURALS[kind])) as answered:
        assert site.live(RESYNC_S + 5, answered.is_set)
        site.scene.delete((KIND, key.namespace, key.name))
        assert site.live(60, lambda: not names(site, DEPLOYMENT))
        deleted_s = time.monotonic()
        site.create_queue("again", manual=2)
        assert site.live(60, lambda: site.replicas == 2)
    site.live(2)

    site.edit_queue(key, {"replicas": 4})
    assert site.live(5, lambda: site.replicas == 4)
    assert applied(proxy, deleted_s) == ["again"]


@pytest.mark.parametrize("replaced", [False, True], ids=["deleted", "replaced"])
def test_nothing_is_made_for_a_queue_that_went_before_its_watch_began(
    site: Site,
    proxy: Proxy,
    running: Running,
    replaced: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    key = site.create_queue("again", manual=1)
    lists: list[str] = []
    asked, arrives = threading.Event(), threading.Event()

    def keep_back(verb: str, path: str) -> None:
        if is_list(PLURAL)(verb, path):
            lists.append(path)
            # The first one is the operator's own, then kopf begins.
            if len(lists) > 1:
                asked.set()
                arrives.wait()

    proxy.after = keep_back
    running(resync_s=600.0, leader_election=False)
    try:
        assert site.live(60, lambda: asked.is_set() and site.replicas == 1)
        site.scene.delete((KIND, key.namespace, key.name))
        assert site.live(60, lambda: not names(site, DEPLOYMENT))
        deleted_s = time.monotonic()
        if replaced:
            site.create_queue("again", manual=2)
        site.live(5)
        during = applied(proxy, deleted_s)
    finally:
        arrives.set()

    assert site.live(10, lambda: site.replicas == (2 if replaced else 0))
    assert len(during) <= int(replaced)
    assert len(applied(proxy, deleted_s)) == int(replaced)


def test_what_vanished_while_no_watch_was_open_is_gone_soon(
    site: Site, proxy: Proxy, running: Running
) -> None:
    operator, _ = running(resync_s=600.0, leader_election=False)
    site.create_queue("kept", manual=1)
    gone = site.create_queue("gone", manual=1)
    assert site.live(60, lambda: len(names(site, POD)) == 2)

    with proxy.hung(is_watch):
        proxy.cut()
        site.scene.delete((KIND, gone.namespace, gone.name))
        assert site.live(60, lambda: len(names(site, POD)) == 1)
        # The store forgets what was before: no watch can go on where it was.
        site.server.process.kill()
        site.server.compact()
        site.server.restart(QUEUES_PATH)

    assert site.live(30, lambda: proxy.gone > 0)
    assert site.live(15, lambda: all(known(operator, k) == names(site, k) for k in PLURALS))
    assert [name.partition("-")[0] for name in names(site, DEPLOYMENT)] == ["kept"]


def test_a_pod_that_loses_its_label_is_none_of_the_queue_s_any_more(
    site: Site, proxy: Proxy, running: Running
) -> None:
    operator, _ = running(resync_s=600.0, leader_election=False)
    site.create_queue("video", manual=1)
    assert site.live(60, lambda: known(operator, POD) == names(site, POD) != set())
    (pod,) = names(site, POD)

    slot = (POD, site.scene.namespace, pod)
    site.scene.edit(slot, lambda obj: obj["metadata"]["labels"].pop(LABEL_QUEUE))

    assert site.live(10, lambda: bool(known(operator, POD)) and pod not in known(operator, POD))
    watched = [
        item.path for item in proxy.seen if "watch=true" in item.path and "/pods" in item.path
    ]
    assert watched
    assert all("labelSelector" in path for path in watched)


def test_an_operator_that_was_there_before_its_kind_watches_it(
    site: Site, running: Running
) -> None:
    crd = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    site.scene.admin.call("DELETE", f"{crd}/{PLURAL}.{GROUP}")
    assert site.live(60, lambda: not is_served(site))
    running(resync_s=600.0, leader_election=False)
    site.live(5)

    site.scene.admin.call("POST", crd, manifest())
    assert site.live(60, lambda: is_served(site))
    key = site.create_queue("late", manual=1)
    assert site.live(60, lambda: site.replicas == 1)
    site.live(5)

    site.edit_queue(key, {"replicas": 3})
    assert site.live(5, lambda: site.replicas == 3)


def is_served(site: Site) -> bool:
    try:
        site.scene.admin.call("GET", QUEUES_PATH)
    except ClusterError:
        return False
    return True


def test_a_queue_that_is_replaced_by_one_of_its_name_gets_workers_of_its_own(
    site: Site, proxy: Proxy, running: Running
) -> None:
    running(resync_s=600.0, leader_election=False)
    key = site.create_queue("again", manual=1)
    assert site.live(60, lambda: site.replicas == 1)
    site.live(2)
    replaced_s = time.monotonic()

    # As `kubectl replace --force` does.
    site.scene.delete((KIND, key.namespace, key.name))
    site.create_queue("again", manual=2)

    assert site.live(10, lambda: owners(site) == {uid(site)} and site.replicas == 2)
    site.live(5)
    assert owners(site) == {uid(site)}
    assert len(applied(proxy, replaced_s)) <= 2
    ready = site.scene.of_kind(KIND)[0]["status"]["conditions"]
    assert [item["status"] for item in ready if item["type"] == "Ready"] == ["True"]


def uid(site: Site) -> str:
    (queue,) = site.scene.of_kind(KIND)
    return str(queue["metadata"]["uid"])


def owners(site: Site) -> set[str]:
    found = [obj["metadata"]["ownerReferences"] for obj in site.scene.of_kind(DEPLOYMENT)]
    return {item["uid"] for references in found for item in references}
