"""The operator as a process of its own, while the API server fails in every way it can."""

from typing import Any

import pytest

from detection_contract.environment import EXIT_FAILED, EXIT_OK
from detection_operator.kube.port import Key
from detection_testing.http.proxy import Proxy, is_no_lease, is_watch
from detection_testing.scenes.site import OperatorProcess, Site

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

ALONE = "--no-leader-election"
QUEUES_PATH = "/apis/detection-queue.dev/v1alpha1/detectionqueues"


def at_work(site: Site, operator: OperatorProcess, **scaling: Any) -> Key:
    """Return a DetectionQueue whose twenty workers are all busy."""
    site.workers.service_s = 1e6
    key = site.create_queue(**scaling)
    site.queue.visible = 500
    assert site.live(60, lambda: all_busy(site)), operator.service.words()
    return key


def all_busy(site: Site) -> bool:
    busy = [worker for worker in site.workers.workers.values() if worker.left_s is not None]
    return len(busy) == 20


def notices_an_edit(site: Site, key: Key, within_s: float = 5.0) -> bool:
    """Say whether an edit is followed so soon that only a watch can have told of it."""
    site.edit_queue(key, {"scaling": {"maxReplicas": 21, "minReplicas": 21}})
    seen = site.live(within_s, lambda: site.replicas == 21)
    site.edit_queue(key, {"scaling": {"minReplicas": 0}})
    return seen


def ends_well(site: Site) -> None:
    """Let the rest of the messages be worked off: all workers go, none of them busy."""
    site.workers.service_s = 0.2
    with site.control.lock:
        for worker in site.workers.workers.values():
            worker.left_s = None if worker.left_s is None else 0.1
    site.queue.visible = 20
    assert site.live(60, lambda: site.replicas == 0 and not site.scene.of_kind("Pod"))
    assert (site.queue.visible, site.queue.in_flight) == (0, 0)
    assert site.lost == []


def test_an_api_server_that_restarts_loses_no_worker_and_is_watched_again(site: Site) -> None:
    operator = site.operator(ALONE)
    key = at_work(site, operator)
    before = operator.decided()

    site.server.process.kill()
    site.live(12)
    during = operator.decided()
    site.server.restart(QUEUES_PATH)

    assert during - before >= 2
    assert operator.service.ended() is None
    assert site.live(10, lambda: operator.decided() > during)
    assert site.replicas == 20
    assert notices_an_edit(site, key)
    ends_well(site)
    operator.service.stop()
    assert operator.service.wait() == EXIT_OK


def test_a_leader_without_an_api_server_ends_and_its_successor_goes_on(site: Site) -> None:
    operator = site.operator()
    at_work(site, operator)

    site.server.process.kill()
    status = operator.service.wait(30)
    decided = operator.decided()
    # The kubelet restarts the container in the same pod.
    successor = site.operator()
    site.live(3)
    site.server.restart(QUEUES_PATH)

    assert status == EXIT_FAILED
    assert "not renewed within 10 s" in operator.service.words()
    assert "Traceback" not in operator.service.words()
    assert decided > 0
    assert site.live(60, lambda: successor.decided() > 3), successor.service.words()
    assert site.replicas == 20
    ends_well(site)


def test_a_watch_that_is_too_old_is_begun_anew(site: Site, proxy: Proxy) -> None:
    operator = site.operator(ALONE, by_way_of=proxy.url)
    key = at_work(site, operator)

    with proxy.hung(is_watch):
        proxy.cut()
        # Meanwhile things change, and the store forgets what was before.
        site.edit_queue(key, {"replicas": 1})
        site.live(2)
        site.server.process.kill()
        site.server.compact()
        site.server.restart(QUEUES_PATH)
        site.edit_queue(key, {"replicas": 2})

    assert site.live(30, lambda: proxy.gone > 0)
    assert notices_an_edit(site, key, within_s=10)
    assert operator.service.ended() is None
    ends_well(site)


def test_connections_that_are_cut_again_and_again_are_made_again(site: Site, proxy: Proxy) -> None:
    operator = site.operator(ALONE, by_way_of=proxy.url)
    site.workers.service_s = 0.5
    key = site.create_queue()
    site.queue.visible = 300

    for _ in range(8):
        site.live(1)
        proxy.cut()

    assert operator.service.ended() is None
    assert site.live(5, lambda: proxy.watches() > 8)
    site.edit_queue(key, {"scaling": {"minReplicas": 3}})
    assert site.live(60, lambda: site.replicas == 3 and site.queue.visible == 0)
    site.edit_queue(key, {"scaling": {"minReplicas": 0}})
    ends_well(site)


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        pytest.param(429, {"Retry_After": "1"}, id="too many requests"),
        pytest.param(500, {}, id="internal error"),
        pytest.param(503, {}, id="unavailable"),
        pytest.param(504, {}, id="timeout"),
    ],
)
def test_a_burst_of_errors_is_waited_for_without_hammering(
    site: Site, proxy: Proxy, status: int, headers: dict[str, str]
) -> None:
    operator = site.operator(ALONE, by_way_of=proxy.url)
    site.workers.service_s = 0.5
    site.create_queue()
    assert site.live(20, lambda: bool(site.scene.of_kind("Deployment")))

    with proxy.answering(status, is_no_lease, **headers):
        site.queue.visible = 300
        proxy.cut()
        site.live(6)
        refused = proxy.count(status)
        assert site.replicas == 0

    assert 0 < refused <= 60
    assert site.live(10, lambda: site.replicas > 5)
    assert operator.service.ended() is None
    ends_well(site)


def test_a_deployment_that_others_write_meanwhile_is_scaled_in_all_the_same(
    site: Site, proxy: Proxy
) -> None:
    left = [6]

    def meddle(verb: str, path: str) -> None:
        if verb == "PATCH" and path.partition("?")[0].endswith("/scale") and left[0] > 0:
            left[0] -= 1
            for item in site.scene.of_kind("Deployment"):
                slot = ("Deployment", site.scene.namespace, item["metadata"]["name"])
                site.scene.edit(slot, lambda obj: obj["metadata"].update(annotations=note(left)))

    def note(number: list[int]) -> dict[str, str]:
        return {"meddled": str(number[0])}

    site.operator(ALONE, by_way_of=proxy.url)
    site.workers.service_s = 0.5
    site.create_queue()
    site.queue.visible = 100
    assert site.live(30, lambda: site.replicas > 5)
    proxy.before = meddle

    ends_well(site)

    assert left == [0]
    assert proxy.count(409) >= 1


def test_a_watch_that_fails_for_good_ends_the_process_so_that_it_starts_anew(
    site: Site, proxy: Proxy
) -> None:
    operator = site.operator(by_way_of=proxy.url)
    key = at_work(site, operator)

    proxy.break_watches()
    site.edit_queue(key, {"replicas": 3})
    assert site.live(60, lambda: operator.service.ended() is not None), operator.service.words()

    assert operator.service.ended() == EXIT_FAILED
    assert "watches ended" in operator.service.words()
    proxy.cut()
    successor = site.operator(by_way_of=proxy.url)
    assert site.live(60, lambda: successor.decided() > 2), successor.service.words()
    ends_well(site)


def test_the_start_says_nothing_that_is_no_trouble(site: Site) -> None:
    operator = site.operator()
    site.create_queue()

    assert site.live(60, lambda: operator.decided() > 2)
    operator.service.stop()

    words = operator.service.words()
    assert "became leader" in words
    assert "OS signals" not in words
    assert '"level":"warning"' not in words.lower().replace(" ", "")
    assert operator.service.wait() == EXIT_OK
