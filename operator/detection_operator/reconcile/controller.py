"""Threads that reconcile due keys, with backoff, and the resync that keeps the cache right."""

import logging
import random
import threading
import time
from collections.abc import Callable
from typing import Final

from detection_operator.clock import Clock
from detection_operator.crd.manifest import KIND
from detection_operator.errors import ClusterError, Unavailable
from detection_operator.kube.port import Key
from detection_operator.metrics import Metrics
from detection_operator.reconcile.reconciler import Reconciler
from detection_operator.reconcile.workqueue import WorkQueue

BACKOFF_S: Final = 0.5
LONGEST_BACKOFF_S: Final = 60.0
UNAVAILABLE_BACKOFF_S: Final = 5.0
"""Longest backoff while the API server is unavailable: nothing reports when it is back."""
RETRIES_PER_S: Final = 20.0
"""Retries a second against an API server that is unavailable or has just come back."""
DEBOUNCE_S: Final = 0.2
"""Pods change together: one reconcile for all their events."""
LONGEST_RECONCILE_S: Final = 300.0
"""Every call inside has a timeout; a reconcile that takes longer hangs."""
MISSED_RESYNCS: Final = 3
QUIET_S: Final = 2.0
"""A requested resync waits until no other was requested for this time."""
log = logging.getLogger(__name__)


class Controller:
    """Runs a reconciler.

    Args:
        reconciler: Reconciles a key.
        clock: Wall and monotonic time.
        metrics: The operator's metrics.
        resync: Brings the cache up to date and returns all keys; may raise a ``ClusterError``.
        threads: Number of concurrent reconciles.
        resync_s: Interval of ``resync`` in seconds.
    """

    def __init__(
        self,
        reconciler: Reconciler,
        clock: Clock,
        metrics: Metrics,
        *,
        resync: Callable[[], list[Key]],
        threads: int,
        resync_s: float,
    ) -> None:
        self._reconciler = reconciler
        self._clock = clock
        self._metrics = metrics
        self._resync = resync
        self._resync_s = resync_s
        self._queue: WorkQueue[Key] = WorkQueue(clock.monotonic_s)
        self._failures: dict[Key, int] = {}
        self._random = random.Random()  # noqa: S311 - spreads load, guards nothing
        self._stop = threading.Event()
        self._resync_requested = threading.Event()
        self._listed = threading.Event()
        self._alive_s = clock.monotonic_s()
        self._keys = 0
        metrics.depth.set_function(self._queue.waiting)
        reconciler.pools.ledger.wake = self._queue.add
        names = [f"reconcile-{number}" for number in range(threads)]
        self._threads = [
            threading.Thread(target=self._work, name=name, daemon=True) for name in names
        ]
        self._threads.append(
            threading.Thread(target=self._resync_loop, name="resync", daemon=True)
        )

    def start(self) -> None:
        """Start the threads; nothing is reconciled before the first resync."""
        self._alive_s = self._clock.monotonic_s()
        for thread in self._threads:
            thread.start()

    def stop(self, timeout_s: float = 10.0) -> None:
        """Stop the threads; wait up to ``timeout_s`` for reconciles under way."""
        self._stop.set()
        self._resync_requested.set()
        self._listed.set()
        self._queue.close()
        end_s = time.monotonic() + timeout_s
        for thread in self._threads:
            if thread.is_alive():
                thread.join(max(0.0, end_s - time.monotonic()))

    def add(self, key: Key) -> None:
        """Reconcile a DetectionQueue soon: one of its objects changed."""
        self._queue.add(key, DEBOUNCE_S)

    def resync_soon(self) -> None:
        """Resync soon: an event may have been missed."""
        self._resync_requested.set()

    def is_alive(self) -> bool:
        """Say whether no reconcile hangs and, if there are keys, one succeeded recently."""
        if self._queue.longest_s() > LONGEST_RECONCILE_S:
            return False
        silent_s = self._clock.monotonic_s() - self._alive_s
        return silent_s <= MISSED_RESYNCS * self._resync_s

    def _resync_loop(self) -> None:
        failures = 0
        while not self._stop.is_set():
            try:
                keys = self._resync()
            except ClusterError as exc:
                failures += 1
                log.warning("resync failed", extra={"error": str(exc)})
                self._stop.wait(min(self._backoff_s(failures), UNAVAILABLE_BACKOFF_S))
                continue
            self._metrics.queues.set(sum(key.kind == KIND for key in keys))
            if not keys:
                self._alive_s = self._clock.monotonic_s()
            spread_s = 0.0 if self._keys == 0 else min(self._resync_s / 10, len(keys) / 50)
            self._keys, failures = len(keys), 0
            for key in keys:
                self._queue.add(key, self._random.uniform(0.0, spread_s))
            self._listed.set()
            self._wait_for_resync()

    def _wait_for_resync(self) -> None:
        """Wait until a resync is due or requested."""
        self._resync_requested.wait(self._resync_s)
        while self._resync_requested.is_set() and not self._stop.is_set():
            # One resync covers the requests of several watches.
            self._resync_requested.clear()
            self._stop.wait(QUIET_S)

    def _work(self) -> None:
        # A decision needs all objects: wait for the first complete list.
        self._listed.wait()
        while not self._stop.is_set():
            key = self._queue.get()
            if key is None:
                continue
            wait_s = self._reconcile(key)
            self._queue.done(key)
            if wait_s is not None:
                self._queue.add(key, wait_s)

    def _reconcile(self, key: Key) -> float | None:
        try:
            with self._metrics.reconcile_seconds.time():
                wait_s = self._reconciler.reconcile(key)
        except ClusterError as exc:
            self._metrics.reconciles.labels("api_error").inc()
            facts = {"namespace": key.namespace, "queue": key.name, "error": str(exc)}
            log.warning("reconcile failed, will be retried", extra=facts)
            wait_s = self._retry_s(key, exc.retry_after_s)
            return min(wait_s, self._unavailable_s()) if isinstance(exc, Unavailable) else wait_s
        except Exception:
            # The outermost loop: a bug with one object must not stop the others.
            self._metrics.reconciles.labels("bug").inc()
            log.exception(
                "reconcile failed unexpectedly",
                extra={"namespace": key.namespace, "queue": key.name},
            )
            return self._retry_s(key, LONGEST_BACKOFF_S)
        self._metrics.reconciles.labels("ok").inc()
        self._metrics.last_reconcile.set(self._clock.wall_s())
        self._alive_s = self._clock.monotonic_s()
        if self._failures.pop(key, None) is not None:
            self._wake()
        return wait_s

    def _wake(self) -> None:
        """Retry the keys in backoff soon: the API server has answered again."""
        waiting = list(self._failures)
        for key in waiting:
            self._queue.add(key, self._random.uniform(0.0, max(1.0, self._spread_s(len(waiting)))))

    @staticmethod
    def _spread_s(keys: int) -> float:
        return keys / RETRIES_PER_S

    def _unavailable_s(self) -> float:
        longest_s = min(LONGEST_BACKOFF_S, max(UNAVAILABLE_BACKOFF_S, self._spread_s(self._keys)))
        return self._random.uniform(longest_s / 2, longest_s)

    def _retry_s(self, key: Key, least_s: float | None) -> float:
        count = self._failures[key] = self._failures.get(key, 0) + 1
        return max(self._backoff_s(count), least_s or 0.0)

    def _backoff_s(self, failures: int) -> float:
        longest_s: float = min(LONGEST_BACKOFF_S, BACKOFF_S * 2.0 ** min(failures, 16))
        return self._random.uniform(longest_s / 2, longest_s)
