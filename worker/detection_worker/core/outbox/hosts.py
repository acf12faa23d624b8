"""Which receivers answer: a circuit for each host, and how much of the senders it may hold.

Theory of operation
-------------------
Every attempt enters before it begins and leaves when it ends. ``OPEN_AFTER`` failures in a row
open a host's circuit: nobody enters. When its pause is over one attempt enters to see whether the
host is back; if it fails the pause doubles, if it succeeds the circuit closes. Any success closes
it.

A host is slow while it is unknown, while its smoothed answer time is long, or while an attempt has
waited long for it. All slow hosts together hold ``SHARE`` of the threads of a lane at most: a
receiver that swallows connections leaves the rest to the others. A fast host may hold all. One
first attempt at an unknown host may go beyond the share, so that a fast one is not put off until
the slow ones are done.
"""

from collections import OrderedDict
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Literal

OPEN_AFTER: Final = 5
"""Failed attempts in a row that open a circuit."""
FIRST_PAUSE_S: Final = 5.0
MAX_PAUSE_S: Final = 60.0
"""Between two looks at a host that is down; one attempt a minute costs neither side anything."""
SLOW_S: Final = 1.0
"""Receivers are asked to answer at once; ten times what a usual one takes."""
SMOOTHING: Final = 0.2
"""Weight of the newest answer time."""
SHARE: Final = 0.75
MIN_DEFERRAL_S: Final = 5.0
MAX_DEFERRAL_S: Final = 900.0
DOWN_SHARE: Final = 0.5
"""Entries wait half as long as the host has been down: a host that comes back has them all soon
after, and one that does not costs few calls to SQS."""
MAX_HOSTS: Final = 1024
"""Callers choose the hosts, so the oldest that matter least are forgotten."""


class Refusal(StrEnum):
    """Why an attempt must not begin."""

    CIRCUIT_OPEN = "circuit_open"
    SHARE_USED = "share_used"


End = Literal["ok", "failed", "unknown"]
"""How an attempt ended: an answer that no retry would change is ok; called off is unknown."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ticket:
    """An attempt under way.

    Attributes:
        host: The host that it is made to.
        began_s: When it began, in monotonic seconds.
    """

    host: str
    began_s: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lane:
    """Threads that make attempts, and what they are busy with.

    Attributes:
        threads: How many there are.
        busy: The attempts under way.
    """

    threads: int
    busy: list[Ticket] = field(default_factory=list)

    @property
    def share(self) -> int:
        """Threads that slow hosts may hold together; at least one."""
        return max(1, int(self.threads * SHARE))


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenHost:
    """A host that takes nothing now.

    Attributes:
        host: As it was named.
        failures: Failed attempts in a row.
        down_s: Seconds since its circuit opened.
        retry_in_s: Seconds until one attempt may look; 0 if one may now, or looks now.
    """

    host: str
    failures: int
    down_s: float
    retry_in_s: float


@dataclass(slots=True, kw_only=True, eq=False)
class _Host:
    """What is known of one host.

    Attributes:
        failures: Failed tries since the last success.
        answer_s: Smoothed seconds of an attempt; None before the first has ended.
        opened_s: Monotonic seconds at which the circuit opened; None while it is closed.
        retry_s: Monotonic seconds at which one attempt may look whether the host is back.
        pause_s: Length of the pause that ends then.
        looking: The attempt that looks; None if none does.
        refused: How many were refused because its share was used; halved by each that ends.
    """

    failures: int = 0
    answer_s: float | None = None
    opened_s: float | None = None
    retry_s: float = 0.0
    pause_s: float = FIRST_PAUSE_S
    looking: Ticket | None = None
    refused: int = 0


class Hosts:
    """Circuits and answer times of all hosts. Not thread-safe; times are monotonic seconds."""

    def __init__(self) -> None:
        self._hosts: OrderedDict[str, _Host] = OrderedDict()

    def __len__(self) -> int:
        """Hosts that something is known of."""
        return len(self._hosts)

    def enter(self, name: str, lane: Lane, *, now_s: float) -> Ticket | Refusal:
        """Begin an attempt, unless it is refused; ``leave`` must follow."""
        host = self._known(name)
        if self.is_shut(name, now_s=now_s):
            return Refusal.CIRCUIT_OPEN
        first = host.answer_s is None and all(t.host != name for t in lane.busy)
        allowed = lane.share + 1 if first else lane.share
        if self._is_slow(name, lane, now_s) and self._held_by_slow(lane, now_s) >= allowed:
            host.refused += 1
            return Refusal.SHARE_USED
        ticket = Ticket(host=name, began_s=now_s)
        lane.busy.append(ticket)
        host.looking = None if host.opened_s is None else ticket
        return ticket

    def failed(self, ticket: Ticket, *, now_s: float, retry_after_s: float | None = None) -> None:
        """Note a failed try of an attempt, which may go on to another."""
        host = self._known(ticket.host)
        host.failures += 1
        if host.looking is ticket:
            host.looking, host.pause_s = None, min(host.pause_s * 2, MAX_PAUSE_S)
        elif host.opened_s is None and host.failures >= OPEN_AFTER:
            host.opened_s, host.pause_s = now_s, FIRST_PAUSE_S
        else:
            return
        host.retry_s = now_s + max(host.pause_s, min(retry_after_s or 0.0, MAX_DEFERRAL_S))

    def leave(
        self,
        ticket: Ticket,
        lane: Lane,
        end: End,
        *,
        now_s: float,
        retry_after_s: float | None = None,
    ) -> None:
        """End an attempt that ``enter`` let begin."""
        lane.busy.remove(ticket)
        host = self._known(ticket.host)
        host.refused //= 2
        if end != "unknown":
            seconds = now_s - ticket.began_s
            before_s = seconds if host.answer_s is None else host.answer_s
            host.answer_s = before_s + SMOOTHING * (seconds - before_s)
        if end == "failed":
            self.failed(ticket, now_s=now_s, retry_after_s=retry_after_s)
        elif end == "ok":
            host.failures, host.opened_s, host.looking = 0, None, None
        elif host.looking is ticket:
            host.looking = None

    def is_open(self, name: str) -> bool:
        """Return whether the circuit of a host is open."""
        host = self._hosts.get(name)
        return host is not None and host.opened_s is not None

    def is_shut(self, name: str, *, now_s: float) -> bool:
        """Return whether no attempt may begin, not even one that looks."""
        host = self._hosts.get(name)
        if host is None or host.opened_s is None:
            return False
        return host.looking is not None or now_s < host.retry_s

    def deferral_s(
        self, name: str, lane: Lane | None = None, *, now_s: float, random01: float
    ) -> float:
        """Return how long an entry waits whose attempt was refused, 5 to 900 seconds.

        Args:
            name: The host.
            lane: Where its share was used: it waits as long as those refused before it would take.
            now_s: Current time.
            random01: Uniform in [0, 1); entries that came together must not come back together.
        """
        host = self._hosts.get(name)
        wait_s = MIN_DEFERRAL_S
        if host is not None and host.opened_s is not None:
            wait_s = max(wait_s, host.retry_s - now_s, DOWN_SHARE * (now_s - host.opened_s))
        elif host is not None and lane is not None:
            wait_s = max(wait_s, host.refused * (host.answer_s or SLOW_S) / lane.share)
        return min(wait_s * (1.0 + random01), MAX_DEFERRAL_S)

    def open_hosts(self, *, now_s: float) -> list[OpenHost]:
        """Return every host whose circuit is open, the one that has been down longest first."""
        found = [
            OpenHost(
                host=name,
                failures=host.failures,
                down_s=now_s - host.opened_s,
                retry_in_s=max(0.0, host.retry_s - now_s),
            )
            for name, host in self._hosts.items()
            if host.opened_s is not None
        ]
        return sorted(found, key=lambda each: -each.down_s)

    def _known(self, name: str) -> _Host:
        host = self._hosts.pop(name, None) or _Host()
        self._hosts[name] = host  # the newest stand last
        if len(self._hosts) > MAX_HOSTS:
            closed = (n for n, h in self._hosts.items() if h.opened_s is None and n != name)
            del self._hosts[next(closed, next(iter(self._hosts)))]
        return host

    def _is_slow(self, name: str, lane: Lane, now_s: float) -> bool:
        host = self._hosts.get(name)
        if host is None or host.answer_s is None or host.answer_s > SLOW_S:
            return True
        return any(t.host == name and now_s - t.began_s > SLOW_S for t in lane.busy)

    def _held_by_slow(self, lane: Lane, now_s: float) -> int:
        slow = {host: self._is_slow(host, lane, now_s) for host in {t.host for t in lane.busy}}
        return sum(slow[t.host] for t in lane.busy)
