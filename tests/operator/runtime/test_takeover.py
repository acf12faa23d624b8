"""Several operators, as processes: who leads, who writes, and what a kill leaves behind."""

import contextlib
import random
import time
from collections.abc import Iterator

import pytest

from detection_contract.environment import EXIT_FAILED
from detection_testing.http.proxy import Proxy
from detection_testing.kubernetes.apiserver import ApiServer
from detection_testing.scenes.site import OperatorProcess, Site

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

TAKEOVER_S = 20.0
START_S = 60.0
"""Limit of a start and of a takeover on a busy machine."""


@pytest.fixture
def proxies(own_server: ApiServer) -> Iterator[tuple[Proxy, Proxy]]:
    with contextlib.ExitStack() as stack:
        made = [Proxy(own_server.url, own_server.ca_file) for _ in range(2)]
        for item in made:
            stack.callback(item.close)
        yield made[0], made[1]


def standby_of(site: Site, proxy: Proxy | None = None) -> OperatorProcess:
    """Return an operator that has seen the leader's lease; that is when its patience begins."""
    standby = site.operator(identity="two", by_way_of=proxy.url if proxy else None)
    assert site.live(
        START_S, lambda: "waiting for the leader election lease" in standby.service.words()
    )
    site.live(3)
    assert not leads(standby)
    return standby


def leads(operator: OperatorProcess) -> bool:
    return operator.decided() > 0


def test_a_standby_decides_soon_after_the_leader_was_killed(site: Site) -> None:
    site.workers.service_s = 1e6
    site.create_queue()
    leader = site.operator(identity="one")
    assert site.live(START_S, lambda: leads(leader))
    standby = standby_of(site)

    site.queue.visible = 100
    leader.service.kill()
    start_s = time.monotonic()

    assert site.live(TAKEOVER_S + 5, lambda: leads(standby)), standby.service.words()
    decided_s = time.monotonic() - start_s
    assert site.live(5, lambda: site.replicas > 5)
    assert decided_s <= TAKEOVER_S
    assert site.lost == []


def test_a_leader_that_stood_still_writes_nothing_when_it_wakes(
    site: Site, proxies: tuple[Proxy, Proxy]
) -> None:
    site.workers.service_s = 0.5
    site.create_queue()
    first = site.operator(identity="one", by_way_of=proxies[0].url)
    assert site.live(START_S, lambda: leads(first))
    second = standby_of(site, proxies[1])
    site.queue.visible = 400
    site.live(3)

    first.service.freeze()
    assert site.live(START_S, lambda: leads(second)), second.service.words()
    site.queue.visible += 200
    woken_s = time.monotonic()
    first.service.thaw()
    site.live(12)

    assert first.service.wait(20) == EXIT_FAILED
    assert [s for s in proxies[0].seen if s.wrote and s.at_s > woken_s + 0.5] == []
    assert any(s.wrote and s.at_s > woken_s for s in proxies[1].seen)
    assert site.live(60, lambda: site.replicas == 0 and site.queue.visible == 0)
    assert site.lost == []


def test_a_leader_that_is_cut_off_stops_to_write_before_the_next_one_starts(
    site: Site, proxies: tuple[Proxy, Proxy]
) -> None:
    site.workers.service_s = 0.5
    site.create_queue()
    first = site.operator(identity="one", by_way_of=proxies[0].url)
    assert site.live(START_S, lambda: leads(first))
    second = standby_of(site, proxies[1])
    site.queue.visible = 2000

    with proxies[0].hung(lambda _, path: "/leases" in path):
        # Only its renewals hang: everything else would still work.
        assert site.live(START_S, lambda: leads(second)), second.service.words()
        status = first.service.wait(20)
        assert site.live(START_S, lambda: any(item.wrote for item in proxies[1].seen))

    assert status == EXIT_FAILED
    last_s = max(item.at_s for item in proxies[0].seen if item.wrote)
    first_s = min(item.at_s for item in proxies[1].seen if item.wrote)
    assert last_s < first_s
    site.queue.visible = 10
    assert site.live(60, lambda: site.replicas == 0 and site.queue.visible == 0)
    assert site.lost == []


def test_an_operator_that_is_killed_again_and_again_ends_its_work_all_the_same(
    site: Site,
) -> None:
    moments = random.Random(20)
    site.workers.service_s = 1.0
    site.create_queue()
    site.queue.visible = 150
    kills = 0

    for _ in range(10):
        # The same identity: a container that is started again need not wait for its own lease.
        operator = site.operator(identity="one")
        site.live(START_S, lambda operator=operator: operator.decided() > 0)  # type: ignore[misc]
        site.live(moments.uniform(0.0, 2.5))
        kills += operator.service.ended() is None
        operator.service.kill()
    site.operator(identity="one")

    assert kills == 10
    assert site.live(60, lambda: site.replicas == 0 and not site.scene.of_kind("Pod"))
    assert (site.queue.visible, site.queue.in_flight) == (0, 0)
    assert site.lost == []
