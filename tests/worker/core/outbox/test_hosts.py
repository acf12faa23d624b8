"""Circuits of hosts, and their share of the threads."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detection_worker.core.outbox.hosts import (
    FIRST_PAUSE_S,
    MAX_DEFERRAL_S,
    MAX_HOSTS,
    MAX_PAUSE_S,
    MIN_DEFERRAL_S,
    OPEN_AFTER,
    SLOW_S,
    End,
    Hosts,
    Lane,
    Refusal,
    Ticket,
)

A, B = "https://a.example", "https://b.example"


def attempt(hosts: Hosts, lane: Lane, host: str, end: End, *, at_s: float, takes_s: float) -> None:
    ticket = hosts.enter(host, lane, now_s=at_s)
    assert isinstance(ticket, Ticket), ticket
    hosts.leave(ticket, lane, end, now_s=at_s + takes_s)


def down(host: str = A, *, at_s: float = 0.0) -> tuple[Hosts, Lane]:
    hosts, lane = Hosts(), Lane(threads=4)
    for _ in range(OPEN_AFTER):
        attempt(hosts, lane, host, "failed", at_s=at_s, takes_s=0.0)
    return hosts, lane


def test_a_circuit_opens_after_failures_in_a_row() -> None:
    hosts, lane = Hosts(), Lane(threads=4)
    for _ in range(3):
        for _ in range(OPEN_AFTER - 1):
            attempt(hosts, lane, A, "failed", at_s=0.0, takes_s=0.1)
        attempt(hosts, lane, A, "ok", at_s=0.0, takes_s=0.1)
    assert not hosts.is_open(A)

    for _ in range(OPEN_AFTER):
        attempt(hosts, lane, A, "failed", at_s=0.0, takes_s=0.1)

    assert hosts.is_open(A)
    assert hosts.enter(A, lane, now_s=FIRST_PAUSE_S) is Refusal.CIRCUIT_OPEN
    assert isinstance(hosts.enter(B, lane, now_s=FIRST_PAUSE_S), Ticket)


def test_one_attempt_at_a_time_looks_whether_the_host_is_back_after_growing_pauses() -> None:
    hosts, lane = down()
    now_s, pauses = 0.0, []
    for _ in range(6):
        began_s = now_s
        while not isinstance(ticket := hosts.enter(A, lane, now_s=now_s), Ticket):
            now_s += 1.0
        pauses.append(now_s - began_s)
        assert hosts.enter(A, lane, now_s=now_s + 1000) is Refusal.CIRCUIT_OPEN
        hosts.leave(ticket, lane, "failed", now_s=now_s)

    assert pauses == [5.0, 10.0, 20.0, 40.0, MAX_PAUSE_S, MAX_PAUSE_S]


def test_a_host_that_is_back_takes_all_again_and_has_its_credit_back() -> None:
    hosts, lane = down()
    attempt(hosts, lane, A, "ok", at_s=FIRST_PAUSE_S, takes_s=0.1)
    assert not hosts.is_open(A)
    for _ in range(OPEN_AFTER - 1):
        attempt(hosts, lane, A, "failed", at_s=10.0, takes_s=0.1)

    assert not hosts.is_open(A)


def test_a_look_that_is_called_off_leaves_the_next_one_to_look() -> None:
    hosts, lane = down()
    attempt(hosts, lane, A, "unknown", at_s=FIRST_PAUSE_S, takes_s=1.0)

    assert hosts.is_open(A)
    assert isinstance(hosts.enter(A, lane, now_s=FIRST_PAUSE_S + 1), Ticket)


def test_attempts_from_before_the_circuit_opened_do_not_lengthen_its_pause() -> None:
    hosts, lane = Hosts(), Lane(threads=16)
    tickets = [hosts.enter(A, lane, now_s=0.0) for _ in range(12)]
    for ticket in tickets:
        assert isinstance(ticket, Ticket)
        hosts.leave(ticket, lane, "failed", now_s=0.5)

    assert isinstance(hosts.enter(A, lane, now_s=0.5 + FIRST_PAUSE_S), Ticket)


def test_a_late_end_does_not_let_a_second_attempt_look() -> None:
    hosts, lane = Hosts(), Lane(threads=16)
    late = hosts.enter(A, lane, now_s=0.0)
    assert isinstance(late, Ticket)
    for _ in range(OPEN_AFTER):
        attempt(hosts, lane, A, "failed", at_s=0.0, takes_s=0.0)
    looking = hosts.enter(A, lane, now_s=FIRST_PAUSE_S)
    assert isinstance(looking, Ticket)

    hosts.leave(late, lane, "unknown", now_s=6.0)
    assert hosts.enter(A, lane, now_s=6.0) is Refusal.CIRCUIT_OPEN
    hosts.failed(looking, now_s=7.0)
    hosts.leave(looking, lane, "failed", now_s=7.5)
    assert hosts.enter(A, lane, now_s=7.0 + 2 * FIRST_PAUSE_S - 0.1) is Refusal.CIRCUIT_OPEN


def test_a_circuit_stays_open_for_as_long_as_the_receiver_asks_within_reason() -> None:
    hosts, lane = Hosts(), Lane(threads=4)
    for _ in range(OPEN_AFTER):
        ticket = hosts.enter(A, lane, now_s=0.0)
        assert isinstance(ticket, Ticket)
        hosts.leave(ticket, lane, "failed", now_s=0.0, retry_after_s=1e9)

    assert hosts.enter(A, lane, now_s=MAX_DEFERRAL_S - 1) is Refusal.CIRCUIT_OPEN
    assert isinstance(hosts.enter(A, lane, now_s=MAX_DEFERRAL_S), Ticket)


@given(st.integers(1, 64), st.integers(1, 5), st.floats(0, 100))
def test_slow_hosts_leave_a_quarter_of_the_threads_to_the_others(
    threads: int, slow_hosts: int, takes_s: float
) -> None:
    hosts, lane = Hosts(), Lane(threads=threads)
    attempt(hosts, lane, B, "ok", at_s=0.0, takes_s=0.05)
    names = [f"https://slow{n}.example" for n in range(slow_hosts)]
    for name in names:
        attempt(hosts, lane, name, "ok", at_s=0.0, takes_s=SLOW_S + 0.01 + takes_s)
    for n in range(4 * threads):
        hosts.enter(names[n % slow_hosts], lane, now_s=1.0)

    assert len(lane.busy) == lane.share <= max(1, 0.75 * threads)
    assert hosts.enter(names[0], lane, now_s=500.0) is Refusal.SHARE_USED
    assert isinstance(hosts.enter(B, lane, now_s=500.0), Ticket)


def test_one_unknown_host_is_tried_although_slow_ones_hold_their_share() -> None:
    hosts, lane = Hosts(), Lane(threads=8)
    slow = "https://slow.example"
    attempt(hosts, lane, slow, "ok", at_s=0.0, takes_s=SLOW_S * 2)
    while isinstance(hosts.enter(slow, lane, now_s=10.0), Ticket):
        pass

    first = hosts.enter(A, lane, now_s=10.0)
    assert isinstance(first, Ticket)
    assert hosts.enter(A, lane, now_s=10.0) is Refusal.SHARE_USED
    assert hosts.enter(B, lane, now_s=10.0) is Refusal.SHARE_USED

    hosts.leave(first, lane, "ok", now_s=10.1)
    assert isinstance(hosts.enter(A, lane, now_s=10.1), Ticket)
    assert isinstance(hosts.enter(B, lane, now_s=10.1), Ticket)
    assert hosts.enter(slow, lane, now_s=10.1) is Refusal.SHARE_USED


def test_a_fast_host_may_hold_every_thread_until_it_hangs() -> None:
    hosts, lane = Hosts(), Lane(threads=8)
    attempt(hosts, lane, A, "ok", at_s=0.0, takes_s=0.1)

    tickets = [hosts.enter(A, lane, now_s=1.0) for _ in range(8)]

    assert all(isinstance(t, Ticket) for t in tickets)
    assert hosts.enter(A, lane, now_s=1.0 + SLOW_S + 0.1) is Refusal.SHARE_USED


def test_an_unknown_host_has_the_share_of_a_slow_one_until_it_answers() -> None:
    hosts, lane = Hosts(), Lane(threads=4)
    tickets = [hosts.enter(A, lane, now_s=0.0) for _ in range(4)]
    assert tickets[3] is Refusal.SHARE_USED
    assert isinstance(tickets[0], Ticket)
    hosts.leave(tickets[0], lane, "ok", now_s=0.1)

    assert [isinstance(hosts.enter(A, lane, now_s=0.1), Ticket) for _ in range(2)] == [True, True]


@pytest.mark.parametrize("down_s", [0.0, 30.0, 600.0, 86_400.0])
def test_entries_wait_half_as_long_as_their_host_has_been_down(down_s: float) -> None:
    hosts, _ = down()

    least = hosts.deferral_s(A, now_s=down_s, random01=0.0)
    most = hosts.deferral_s(A, now_s=down_s, random01=0.999)

    expected = max(MIN_DEFERRAL_S, FIRST_PAUSE_S - down_s, down_s / 2)
    assert least == min(expected, MAX_DEFERRAL_S)
    assert least <= most <= min(2 * expected, MAX_DEFERRAL_S)


def test_entries_of_a_slow_host_wait_as_long_as_those_before_them_take() -> None:
    hosts, lane = Hosts(), Lane(threads=4)
    attempt(hosts, lane, A, "ok", at_s=0.0, takes_s=6.0)
    tickets = [hosts.enter(A, lane, now_s=10.0) for _ in range(3)]

    def refuse(count: int) -> float:
        for _ in range(count):
            assert hosts.enter(A, lane, now_s=10.0) is Refusal.SHARE_USED
        return hosts.deferral_s(A, lane, now_s=10.0, random01=0.0)

    assert refuse(1) == MIN_DEFERRAL_S
    assert refuse(29) == 30 * 6.0 / 3
    assert refuse(10_000) == MAX_DEFERRAL_S
    for ticket in tickets:
        assert isinstance(ticket, Ticket)
        hosts.leave(ticket, lane, "ok", now_s=16.0)
    for n in range(20):
        attempt(hosts, lane, A, "ok", at_s=20.0 + n, takes_s=6.0)
    assert hosts.deferral_s(A, lane, now_s=50.0, random01=0.0) == MIN_DEFERRAL_S


def test_entries_of_hosts_that_are_well_wait_a_moment() -> None:
    hosts = Hosts()

    assert hosts.deferral_s(A, now_s=0.0, random01=0.0) == MIN_DEFERRAL_S


def test_open_hosts_are_told_the_longest_down_first() -> None:
    hosts, lane = down(A)
    for _ in range(OPEN_AFTER + 1):
        ticket = hosts.enter(B, lane, now_s=30.0)
        if isinstance(ticket, Ticket):
            hosts.leave(ticket, lane, "failed", now_s=30.0)

    told = hosts.open_hosts(now_s=32.0)

    assert [(h.host, h.failures, h.down_s, h.retry_in_s) for h in told] == [
        (A, OPEN_AFTER, 32.0, 0.0),
        (B, OPEN_AFTER, 2.0, 3.0),
    ]


def test_only_so_many_hosts_are_known_and_open_ones_are_forgotten_last() -> None:
    hosts, lane = down(A)
    for n in range(2 * MAX_HOSTS):
        attempt(hosts, lane, f"https://{n}.example", "ok", at_s=0.0, takes_s=0.0)

    assert len(hosts) == MAX_HOSTS
    assert hosts.is_open(A)
    for n in range(2 * MAX_HOSTS):
        for _ in range(OPEN_AFTER):
            ticket = hosts.enter(f"https://{n}.down", lane, now_s=0.0)
            assert isinstance(ticket, Ticket)
            hosts.leave(ticket, lane, "failed", now_s=0.0)
    assert len(hosts) == MAX_HOSTS
    assert not hosts.is_open(A)


@given(st.integers(0, 2**32), st.integers(1, 8))
def test_every_attempt_that_enters_leaves_whatever_happens(seed: int, threads: int) -> None:
    rng, hosts, lane, now_s = random.Random(seed), Hosts(), Lane(threads=threads), 0.0
    for _ in range(200):
        now_s += rng.random() * 3
        if len(lane.busy) < threads and rng.random() < 0.6:
            hosts.enter(rng.choice((A, B)), lane, now_s=now_s)
        elif lane.busy:
            ticket = rng.choice(lane.busy)
            ends: tuple[End, ...] = ("ok", "failed", "failed", "failed", "unknown")
            hosts.leave(ticket, lane, rng.choice(ends), now_s=now_s)
        assert len(lane.busy) <= threads
    for ticket in list(lane.busy):
        hosts.leave(ticket, lane, "unknown", now_s=now_s)

    # Nothing is stuck: a host that answers is always reached again.
    later_s = now_s + 10 * MAX_PAUSE_S
    for host in (A, B):
        attempt(hosts, lane, host, "ok", at_s=later_s, takes_s=0.0)
        assert not hosts.is_open(host)
