"""Replicas from rates and backlogs: steady load, waiting-time tail, drain."""

import math
from dataclasses import dataclass
from typing import Final

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


@dataclass(frozen=True, slots=True)
class DrainTimes:
    """Seconds in which a replica works on a backlog until all of it must have been started.

    Attributes:
        ready_s: Time of a replica that is ready; > 0.
        added_s: Time of one that starts now; > 0.
        spread_s: 90 % quantile of a service time less its mean, as of a normal distribution; that
            of the sum of n grows with the root of n. 0: means only.
    """

    ready_s: float
    added_s: float
    spread_s: float = 0.0


def drain_replicas(
    waiting: float,
    held: float,
    *,
    ready: int,
    mean_s: float,
    parallel: int,
    times: DrainTimes,
) -> int:
    """Return the replicas that start the waiting messages in time.

    Never more than the messages can keep busy.

    Args:
        waiting: Messages that wait; >= 0.
        held: Messages in hand; on average half of each is done.
        ready: Replicas that are ready.
        mean_s: Mean service time of one.
        parallel: Messages that a replica works on at a time.
        times: How long replicas work on them.
    """
    messages = waiting + held
    spread_s = times.spread_s * math.sqrt(messages)
    work_s = ((waiting + held / 2) * mean_s + spread_s) / parallel
    left_s = work_s - ready * times.ready_s
    fleet = ready + left_s / times.added_s if left_s > 0.0 else work_s / times.ready_s
    return ceil_replicas(min(fleet, messages / parallel))
