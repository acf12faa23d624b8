"""Watches that die without a word, and a leader that does nothing: who finds out, and how soon."""

import time
import urllib.error
import urllib.request
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import pytest

from detection_operator.errors import LeaseLost
from detection_operator.runtime.informer import CLIENT_MARGIN_S
from detection_operator.runtime.operator import Operator
from detection_testing.http.proxy import Proxy, is_no_lease, is_watch
from detection_testing.scenes.site import Site

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

WATCH_S = 3
Running = Callable[..., tuple[Operator, Any]]


def health(operator: Operator) -> int:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{operator.port}/healthz") as answer:
            return int(answer.status)
    except urllib.error.HTTPError as exc:
        with exc:
            return exc.code


def test_a_watch_that_was_forgotten_on_the_way_is_given_up_in_time(
    site: Site, proxy: Proxy, running: Running
) -> None:
    running(watch_s=WATCH_S, leader_election=False)
    key = site.create_queue(manual=1)
    assert site.live(20, lambda: site.replicas == 1)
    site.live(1)

    proxy.forget()
    start_s = time.monotonic()
    site.edit_queue(key, {"replicas": 3})

    assert site.live(WATCH_S + CLIENT_MARGIN_S + 5, lambda: site.replicas == 3)
    # Sooner would mean that the watch still told of it.
    assert time.monotonic() - start_s > 2


def test_a_leader_whose_watches_tell_nothing_though_there_is_news_ends(
    site: Site, proxy: Proxy, running: Running
) -> None:
    operator, outcome = running(resync_s=2.0)
    assert site.live(20, operator.leading.is_set)
    key = site.create_queue(manual=1)
    assert site.live(20, lambda: site.replicas == 1)

    with proxy.hung(is_watch):
        for number in range(2, 12):
            site.edit_queue(key, {"replicas": number})
            if site.live(2.5, lambda: not outcome.thread.is_alive()):
                break

    assert isinstance(outcome.error, LeaseLost)
    assert "watches ended" in str(outcome.error)


def test_quiet_watches_of_a_quiet_cluster_end_nobody(site: Site, running: Running) -> None:
    operator, outcome = running(resync_s=1.0)
    site.create_queue()
    assert site.live(20, lambda: bool(site.scene.of_kind("Deployment")))

    site.live(10)

    assert outcome.thread.is_alive()
    assert health(operator) == HTTPStatus.OK


def test_a_leader_that_reconciles_nothing_fails_its_liveness_probe(
    site: Site, proxy: Proxy, running: Running
) -> None:
    operator, outcome = running(resync_s=2.0)
    site.create_queue()
    assert site.live(20, lambda: bool(site.scene.of_kind("Deployment")))
    site.live(4)
    assert health(operator) == HTTPStatus.OK

    with proxy.answering(503, is_no_lease):
        start_s = time.monotonic()
        site.queue.visible = 50
        failed = site.live(20, lambda: health(operator) == HTTPStatus.SERVICE_UNAVAILABLE)
        took_s = time.monotonic() - start_s

    assert failed
    assert 3.0 <= took_s <= 12.0
    assert outcome.thread.is_alive()
    assert site.live(20, lambda: health(operator) == HTTPStatus.OK and site.replicas > 0)
