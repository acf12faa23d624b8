from typing import Any

import pytest

from detection_operator.errors import cluster_error
from detection_operator.kube.lease import DURATION_S, RENEW_DEADLINE_S, Elector
from detection_testing.kubernetes.cluster import InMemoryCluster
from detection_testing.scenes.fakes import FakeClock


def electors(count: int = 2) -> tuple[FakeClock, InMemoryCluster, list[Elector]]:
    clock = FakeClock()
    cluster = InMemoryCluster(clock.wall_s)
    made = [
        Elector(leases=cluster, clock=clock, namespace="n", name="lease", identity=f"op-{number}")
        for number in range(count)
    ]
    return clock, cluster, made


def test_one_leads_and_the_other_waits() -> None:
    clock, _, (first, second) = electors()

    for _ in range(30):
        assert first.try_lead()
        assert not second.try_lead()
        clock.advance(2)


def test_the_next_one_leads_once_the_lease_was_not_renewed_for_its_duration() -> None:
    clock, _, (first, second) = electors()
    assert first.try_lead()
    waited_s = 0

    while not second.try_lead():
        clock.advance(1)
        waited_s += 1

    assert DURATION_S <= waited_s <= 20
    assert not first.try_lead()


def test_a_lease_that_is_given_back_is_taken_at_once() -> None:
    _, _, (first, second) = electors()
    assert first.try_lead()

    first.release()

    assert second.try_lead()


def test_clocks_that_differ_give_nobody_the_lease_early() -> None:
    clock, _, (first, second) = electors()
    assert first.try_lead()

    clock.jump(86_400)

    assert not second.try_lead()
    assert first.try_lead()


def test_a_leader_outlives_short_trouble_and_stops_before_its_lease_ends() -> None:
    clock, cluster, (first, _) = electors()
    assert first.try_lead()
    cluster.fail("lease", *[cluster_error(503, "down")] * 100)
    led_s = 0.0

    while first.try_lead():
        clock.advance(1)
        led_s += 1

    assert RENEW_DEADLINE_S - 1 <= led_s < DURATION_S


def test_of_two_that_write_at_once_one_loses() -> None:
    _, cluster, (first, second) = electors()
    cluster.fail("create_lease", cluster_error(409, "exists"))

    assert not first.try_lead()
    assert second.try_lead()
    assert not first.try_lead()


def test_a_leader_whose_renewal_hangs_knows_in_time_that_it_may_not_write() -> None:
    clock, _, (first, second) = electors()
    assert not first.holds()
    assert first.try_lead()
    second.try_lead()
    held_s = 0.0

    while first.holds():
        clock.advance(0.5)
        held_s += 0.5

    assert held_s == RENEW_DEADLINE_S < DURATION_S
    assert not second.try_lead()
    first.release()
    assert not first.holds()


def test_the_next_one_tries_at_the_very_moment_at_which_a_dead_leader_s_lease_ends() -> None:
    clock, _, (first, second) = electors()
    assert first.try_lead()
    died_s = clock.monotonic
    clock.advance(1.7)

    while not second.try_lead():
        clock.advance(second.wait_s())

    assert clock.monotonic - died_s == 1.7 + DURATION_S


def owned(cluster: InMemoryCluster, clock: FakeClock, identity: str = "op-0") -> Elector:
    return Elector(
        leases=cluster,
        clock=clock,
        namespace="n",
        name="lease",
        identity=identity,
        deployment="operator",
    )


def create_operator(cluster: InMemoryCluster) -> Any:
    metadata = {"name": "operator", "namespace": "n"}
    return cluster.create({"kind": "Deployment", "metadata": metadata, "spec": {}})


def owners(cluster: InMemoryCluster) -> list[str]:
    (lease,) = cluster.of_kind("Lease")
    return [owner["uid"] for owner in lease["metadata"].get("ownerReferences", ())]


def test_the_lease_goes_with_the_deployment() -> None:
    clock, cluster, _ = electors()
    made = create_operator(cluster)

    assert owned(cluster, clock).try_lead()

    assert owners(cluster) == [made["metadata"]["uid"]]
    cluster.delete(("Deployment", "n", "operator"))
    assert cluster.of_kind("Lease") == []


def test_a_lease_of_an_earlier_version_gets_an_owner_when_it_is_taken() -> None:
    clock, cluster, (first, _) = electors()
    assert first.try_lead()
    first.release()
    made = create_operator(cluster)

    assert owned(cluster, clock, "op-1").try_lead()

    assert owners(cluster) == [made["metadata"]["uid"]]


def test_a_leader_that_outlives_its_deployment_leaves_no_lease_for_good() -> None:
    clock, cluster, _ = electors()
    made = create_operator(cluster)
    elector = owned(cluster, clock)
    assert elector.try_lead()
    cluster.delete(("Deployment", "n", "operator"))

    elector.try_lead()

    # The garbage collector takes what belongs to nobody that is there.
    assert owners(cluster) == [made["metadata"]["uid"]]


@pytest.mark.parametrize("call", ["deployment", "create_lease"])
def test_a_candidate_that_may_not_name_the_owner_leads_without_one(call: str) -> None:
    clock, cluster, _ = electors()
    create_operator(cluster)
    elector = owned(cluster, clock)
    cluster.fail(call, cluster_error(403, "forbidden"))

    assert not elector.try_lead()
    assert elector.try_lead()

    assert owners(cluster) == []


def test_a_candidate_whose_deployment_is_not_there_leads() -> None:
    clock, cluster, _ = electors()

    assert owned(cluster, clock).try_lead()

    assert owners(cluster) == []
