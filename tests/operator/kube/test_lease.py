from detection_operator.errors import cluster_error
from detection_operator.kube.lease import DURATION_S, RENEW_DEADLINE_S, Elector
from detection_operator.testing.cluster import InMemoryCluster
from detection_operator.testing.fakes import FakeClock


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
