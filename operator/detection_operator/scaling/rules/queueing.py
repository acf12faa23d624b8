"""Replicas from rates and deadlines: steady load, waiting-time tail, backlog with due times."""

import math
from collections.abc import Iterable, Sequence
from typing import Final

MIN_DRAIN_S: Final = 30.0
"""Shortest time in which new replicas are planned to work off a backlog: shorter ones buy many
replicas for few seconds."""
DRAIN_SHARE: Final = 0.25
"""Share of the allowed wait: the same bound where that is short."""
MIN_KEEP_S: Final = 5.0
"""The same bound for replicas that exist already: they cost nothing new."""
DRAIN_COLD: Final = 0.5
"""In cold starts: the same bound for slow starters, which should work at least half as long
as they took to start."""
TINY: Final = 1e-9
"""Rounding slack: 3.0000000001 replicas are 3."""


def ceil_replicas(value: float) -> int:
    """Return ``value`` rounded up, not fooled by the last bits of a float."""
    return max(0, math.ceil(value - TINY))


def steady_replicas(*, rate_per_s: float, service_s: float, parallel: int, target: float) -> int:
    """Return the replicas whose utilisation stays at ``target`` (0..1]: ⌈λ·S/(c·target)⌉."""
    return ceil_replicas(rate_per_s * service_s / (parallel * target))


def erlang_c(servers: int, load: float) -> float:
    """Return the probability that an arrival must wait, in M/M/c with ``load`` = λ·S.

    By the recursion of Erlang's B formula, B(n) = a·B(n-1) / (n + a·B(n-1)), which does not
    overflow, and C = B / (1 - a/c·(1 - B)).
    """
    if load <= 0.0:
        return 0.0
    if load >= servers:
        return 1.0
    blocked = 1.0
    for n in range(1, servers + 1):
        blocked = load * blocked / (n + load * blocked)
    return blocked / (1.0 - load / servers * (1.0 - blocked))


def late_share(servers: int, *, rate_per_s: float, service_s: float, wait_s: float) -> float:
    """Return the share of arrivals that wait longer than ``wait_s`` in M/M/c.

    P(wait > t) = C(c, a)·exp(-(c·μ - λ)·t).
    """
    load = rate_per_s * service_s
    if load >= servers:
        return 1.0
    decay = math.exp(-(servers - load) / service_s * wait_s)
    return decay * erlang_c(servers, load)


def tail_replicas(
    least: int, *, rate_per_s: float, service_s: float, parallel: int, wait_s: float, late: float
) -> int:
    """Return the fewest replicas, at least ``least``, with ``late_share`` <= ``late``."""
    load = rate_per_s * service_s
    replicas = max(least, ceil_replicas(load / parallel))
    while True:
        servers = replicas * parallel
        slack = servers - load
        # C <= 1, so this bound alone usually settles it without Erlang's recursion.
        if slack > 0.0 and math.exp(-slack / service_s * wait_s) <= late:
            return replicas
        share = late_share(servers, rate_per_s=rate_per_s, service_s=service_s, wait_s=wait_s)
        if share <= late:
            return replicas
        replicas += 1


def due_work(
    shape: Sequence[tuple[float, float]],
    *,
    waiting: float,
    gone: float,
    now_s: float,
    wait_s: float,
) -> list[tuple[float, float]]:
    """Return how many of the waiting messages are due within how many seconds.

    Args:
        shape: ``(time, arrivals so far)``, oldest first.
        waiting: Messages that wait; >= 0.
        gone: Arrivals so far that no longer wait.
        now_s: The present.
        wait_s: A message is due this long after it came.

    Returns:
        ``(seconds left, messages)``, the last due first. Messages that are overdue are part of
        every later group, because they stand in front of it.
    """
    due = [(wait_s, waiting)]
    for at_s, count in reversed(shape):
        left_s = at_s + wait_s - now_s
        messages = count - gone
        if left_s <= 0.0 or messages <= 0.0:
            break
        due.append((left_s, min(messages, waiting)))
    return due


def drain_replicas(
    due: Iterable[tuple[float, float]],
    *,
    ready: int,
    starting: int,
    starting_in_s: float,
    cold_start_s: float,
    lane_s: float,
    busy_s: float,
    rate_per_s: float,
    wait_s: float,
) -> float:
    """Return the replicas that finish the waiting messages before they are due.

    Ready replicas work from now on, starting ones from ``starting_in_s``, new ones from
    ``cold_start_s``. New ones are planned only for messages that they can still save; where a cold
    start is as long as the allowed wait, these are the messages that are yet to come.

    Args:
        due: As ``due_work`` returns it.
        ready: Replicas that take messages now.
        starting: Replicas on their way.
        starting_in_s: Until these are ready.
        cold_start_s: Until a new replica is ready.
        lane_s: Seconds that one message costs one replica: service time / messages in parallel.
        busy_s: Replica seconds that messages in hand still cost.
        rate_per_s: Arrivals; >= 0.
        wait_s: Allowed wait.
    """
    drain_s = max(min(MIN_DRAIN_S, DRAIN_SHARE * wait_s), DRAIN_COLD * cold_start_s)
    first_s = cold_start_s + drain_s
    keep = 0.0
    extra = 0.0
    for left_s, messages in due:
        work_s = messages * lane_s + busy_s
        keep = max(keep, work_s / max(left_s, MIN_KEEP_S))
        if left_s >= first_s:
            done_s = ready * left_s + starting * max(0.0, left_s - starting_in_s)
            extra = max(extra, (work_s - done_s) / (left_s - cold_start_s))
    if wait_s < first_s:
        # The first that new replicas can save arrive in first_s - wait_s.
        messages = max(item[1] for item in due) + rate_per_s * (first_s - wait_s)
        done_s = ready * first_s + starting * max(0.0, first_s - starting_in_s)
        extra = max(extra, (messages * lane_s + busy_s - done_s) / drain_s)
    if extra > 0.0:
        return ready + starting + extra
    return min(keep, float(ready + starting))
