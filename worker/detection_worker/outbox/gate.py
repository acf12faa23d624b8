"""Callbacks only to hosts that take them: the circuits of ``core.outbox.hosts``, with a lock."""

import random
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Final

from detection_contract.error_codes import ErrorCode
from detection_tracing.port import Span
from detection_worker.callback.base import CallbackClient
from detection_worker.callback.client import origin_of
from detection_worker.core.outbox.hosts import End, Hosts, Lane, OpenHost, Refusal, Ticket
from detection_worker.errors import Cancelled, JobError
from detection_worker.metrics import OutboxMetrics

SHOWN_HOSTS: Final = 20
"""In /state; callers choose the hosts."""
_WHY: Final = {
    Refusal.CIRCUIT_OPEN: "does not answer",
    Refusal.SHARE_USED: "answers slowly and holds its share of the threads",
}


class HostRefused(JobError):  # noqa: N818 - reads as what it says
    """No attempt was made: its host takes none now; ``retry_after_s`` says when to try again."""


class HostGate:
    """What is known of every host, for all lanes of the process. Thread-safe; never slow.

    Args:
        metrics: Counts refusals.
        clock: Monotonic seconds.
        random01: Returns a uniform random number in [0, 1).
    """

    def __init__(
        self,
        metrics: OutboxMetrics,
        *,
        clock: Callable[[], float] = time.monotonic,
        random01: Callable[[], float] = random.random,
    ) -> None:
        self._metrics = metrics
        self._clock = clock
        self._random01 = random01
        self._lock = threading.Lock()
        self._hosts = Hosts()
        metrics.circuits_open.set_function(lambda: len(self._open()))

    def enter(self, host: str, lane: Lane) -> Ticket:
        """Begin an attempt; ``leave`` must follow.

        Raises:
            HostRefused: The host takes none now.
        """
        with self._lock:
            ticket = self._hosts.enter(host, lane, now_s=self._clock())
            if isinstance(ticket, Ticket):
                return ticket
            refused = self._refused(host, ticket, lane)
        self._metrics.deferred.labels(ticket.value).inc()
        raise refused

    def check(self, host: str) -> None:
        """Begin nothing.

        Raises:
            HostRefused: The circuit of the host is open, and nothing may look yet.
        """
        with self._lock:
            if not self._hosts.is_shut(host, now_s=self._clock()):
                return
            refused = self._refused(host, Refusal.CIRCUIT_OPEN)
        self._metrics.deferred.labels(Refusal.CIRCUIT_OPEN.value).inc()
        raise refused

    def failed(self, ticket: Ticket) -> None:
        """Note a failed try of an attempt that goes on."""
        with self._lock:
            self._hosts.failed(ticket, now_s=self._clock())

    def leave(
        self, ticket: Ticket, lane: Lane, end: End, *, retry_after_s: float | None = None
    ) -> None:
        """End an attempt."""
        with self._lock:
            now_s = self._clock()
            self._hosts.leave(ticket, lane, end, now_s=now_s, retry_after_s=retry_after_s)

    def is_open(self, host: str) -> bool:
        """Return whether the circuit of a host is open."""
        with self._lock:
            return self._hosts.is_open(host)

    def state(self) -> dict[str, object]:
        """Return the hosts that take nothing, the longest down first, and how many there are."""
        found = self._open()
        shown = [
            {name: round(v, 1) if isinstance(v, float) else v for name, v in asdict(each).items()}
            for each in found[:SHOWN_HOSTS]
        ]
        return {"open_circuits": len(found), "open_hosts": shown}

    def _open(self) -> list[OpenHost]:
        with self._lock:
            return self._hosts.open_hosts(now_s=self._clock())

    def _refused(self, host: str, why: Refusal, lane: Lane | None = None) -> HostRefused:
        wait_s = self._hosts.deferral_s(host, lane, now_s=self._clock(), random01=self._random01())
        return HostRefused(
            ErrorCode.CALLBACK_UNREACHABLE,
            f"The callback to {host} was not tried: it {_WHY[why]}",
            retry_after_s=wait_s,
        )


class GatedCallbacks:
    """A callback client that makes no attempt where the gate allows none. Thread-safe.

    Args:
        client: Makes the attempts.
        gate: Knows the hosts.
        threads: How many attempts are made at once, at most.
    """

    def __init__(self, client: CallbackClient, gate: HostGate, *, threads: int) -> None:
        self._client = client
        self._gate = gate
        self._lane = Lane(threads=threads)

    def check(self, url: str) -> None:
        """Begin nothing.

        Raises:
            HostRefused: The circuit of the URL's host is open.
            JobError: ``BAD_CALLBACK_URL``.
        """
        self._gate.check(origin_of(url))

    def post(
        self,
        url: str,
        body: bytes,
        *,
        webhook_id: str,
        request_id: str,
        on_progress: Callable[[], None],
        cancelled: Callable[[], bool],
        trace: Span | None = None,
    ) -> None:
        """Post as ``CallbackClient.post``; no further try once the host's circuit is open.

        Raises:
            HostRefused: No try was made.
            JobError: As ``CallbackClient.post``.
            Cancelled: ``cancelled`` returned True.
        """
        host = origin_of(url)
        attempt = _Attempt(self._gate, self._gate.enter(host, self._lane), cancelled)
        end: End = "unknown"
        retry_after_s = None
        try:
            self._client.post(
                url,
                body,
                webhook_id=webhook_id,
                request_id=request_id,
                on_progress=lambda: attempt.begin_try(on_progress),
                cancelled=attempt.is_over,
                trace=trace,
            )
            end = "ok"
        except JobError as exc:
            retry_after_s = exc.retry_after_s
            end = "failed" if exc.code is ErrorCode.CALLBACK_UNREACHABLE else "ok"
            raise
        except Cancelled:
            if cancelled():
                raise
            end = "failed"
            raise JobError(
                ErrorCode.CALLBACK_UNREACHABLE,
                f"The callback to {host} failed after {attempt.tries} attempt(s): "
                "others to it failed too",
            ) from None
        finally:
            self._gate.leave(attempt.ticket, self._lane, end, retry_after_s=retry_after_s)


class _Attempt:
    """One call of the client, which makes several tries.

    Attributes:
        ticket: What the gate gave for it.
        tries: Begun so far.
    """

    def __init__(self, gate: HostGate, ticket: Ticket, cancelled: Callable[[], bool]) -> None:
        self.ticket = ticket
        self.tries = 0
        self._gate = gate
        self._cancelled = cancelled

    def begin_try(self, on_progress: Callable[[], None]) -> None:
        if self.tries:
            self._gate.failed(self.ticket)
        self.tries += 1
        on_progress()

    def is_over(self) -> bool:
        return self._cancelled() or (self.tries > 0 and self._gate.is_open(self.ticket.host))
