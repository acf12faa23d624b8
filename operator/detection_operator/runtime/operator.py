"""The running operator: waits for the lease, then watches and reconciles until stopped."""

import logging
import threading
from pathlib import Path
from typing import Final

from detection_contract.process.emf import Lines, reporting
from detection_contract.process.probes import ProbeServer
from detection_operator.clock import Clock, SystemClock
from detection_operator.errors import LeaseLost
from detection_operator.kube.cache import CachedCluster
from detection_operator.kube.client import KubernetesCluster
from detection_operator.kube.lease import RENEW_DEADLINE_S, RETRY_S, Elector
from detection_operator.kube.objects import key_of
from detection_operator.kube.port import Key
from detection_operator.kube.rest import Rest, configuration
from detection_operator.kube.store import POOL, Store
from detection_operator.metrics import EMF, Metrics
from detection_operator.readers.ports import QueueReader, Workers
from detection_operator.readers.queue import SqsReader
from detection_operator.readers.workers import HttpWorkers
from detection_operator.reconcile.controller import Controller
from detection_operator.reconcile.observe.gather import Sources
from detection_operator.runtime.informer import Informer
from detection_operator.runtime.tracing import (
    TracedReader,
    TracedReconciler,
    TracedRest,
    flush,
    noting,
    tracing_here,
)
from detection_operator.scaling.records import Record, to_line
from detection_operator.settings import OperatorSettings

STUCK_S: Final = 60.0
"""The main loop renews the lease every two seconds; after this time it hangs."""
SILENT_RESYNCS: Final = 2
log = logging.getLogger(__name__)


class DecisionLog:
    """Appends decision records to a file, one line each. Safe to use from several threads.

    Args:
        path: Path of the file, which is created if needed.

    Raises:
        OSError: It cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._file = path.open("a", encoding="utf-8")

    def __call__(self, record: Record) -> None:
        """Write one record; on an error it is lost, and the decision still applies."""
        line = to_line(record) + "\n"
        try:
            with self._lock:
                self._file.write(line)
                self._file.flush()
        except OSError as exc:
            log.warning("decision record not written", extra={"error": str(exc)})

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class Operator:
    """One process of the operator.

    Args:
        settings: The operator's settings.
        reader: Reads queues; None means SQS.
        workers: Talks to workers; None means over HTTP.
        clock: Wall and monotonic time; None means the system's.

    Attributes:
        metrics: Metrics of the process.
        port: Port of probes and metrics.
        leading: Set while this process leads.

    Raises:
        InvalidSettings: The configuration for the API server is missing or invalid, or traces
            cannot be exported.
        OSError: The port is taken, or the file for decisions cannot be written.
    """

    def __init__(
        self,
        settings: OperatorSettings,
        *,
        reader: QueueReader | None = None,
        workers: Workers | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._tracing = tracing_here()
        self._settings = settings
        self._clock = clock or SystemClock()
        self.metrics = Metrics()
        self.leading = threading.Event()
        self._stop = threading.Event()
        self._looped_s = self._clock.monotonic_s()
        self._silent = 0
        self._early = False
        self._watches_pools = self._watches_nodes = True
        self._heard: dict[str, int] = {}
        self._config = configuration(settings.kubeconfig, settings.context)
        traced = self._tracing is not None
        self._rest = (TracedRest if traced else Rest)(
            self._config,
            lambda verb, code: self.metrics.api_requests.labels(verb, str(code)).inc(),
        )
        self._direct = KubernetesCluster(
            self._rest,
            settings.namespaces,
            lambda kind: self.metrics.api_writes.labels(kind).inc(),
            self._may_write,
        )
        self._store = Store()
        self._cluster = CachedCluster(
            self._direct,
            self._store,
            self._clock.monotonic_s,
            nodes=settings.node_selector if settings.nodes else None,
        )
        self._sqs = SqsReader(lambda code: self.metrics.sqs_requests.labels(code).inc())
        self._http = HttpWorkers()
        self._decisions = None if settings.decisions is None else DecisionLog(settings.decisions)
        reader = reader or self._sqs
        sources = Sources(
            cluster=self._cluster,
            reader=TracedReader(reader) if traced else reader,
            workers=workers or self._http,
            clock=self._clock,
        )
        self._controller = Controller(
            TracedReconciler(
                sources=sources,
                metrics=self.metrics,
                record=noting(self._decisions) if traced else self._decisions,
                tracing=self._tracing,
            ),
            self._clock,
            self.metrics,
            resync=self._resync,
            threads=settings.threads,
            resync_s=settings.resync_s,
        )
        self._informer = Informer(
            self._config,
            settings.namespaces,
            self._store,
            self._controller.add,
            listed=self._missed,
            watch_s=settings.watch_s,
        )
        self._elector = Elector(
            leases=self._direct,
            clock=self._clock,
            namespace=settings.namespace,
            name=settings.lease_name,
            identity=settings.identity,
            deployment=settings.deployment,
        )
        self._probes = ProbeServer(
            "detection-operator",
            host=settings.host,
            port=settings.port,
            health=lambda: {"reconciling": self.is_healthy()},
            readiness=lambda: {"running": not self._stop.is_set()},
            registry=self.metrics.registry,
        )
        self.port = self._probes.port

    def stop(self) -> None:
        """Make ``run`` return; may be called from a signal handler or another thread."""
        self._stop.set()

    def run(self) -> None:
        """Wait for the lease, lead, and return when stopped.

        Raises:
            LeaseLost: The lease was lost, or the watches ended: the process must restart.
        """
        namespace = self._settings.emf_namespace
        lines = None if namespace is None else Lines(namespace, EMF)
        try:
            with reporting(lines, self.metrics.registry.collect):
                self._wait_for_lease()
                if not self._stop.is_set():
                    self._lead()
        finally:
            self._close()

    def is_healthy(self) -> bool:
        """Say whether the main loop runs and, in the leader, reconciles make progress."""
        if self._clock.monotonic_s() - self._looped_s > STUCK_S:
            return False
        return not self.leading.is_set() or self._controller.is_alive()

    def _may_write(self) -> bool:
        return not self._settings.leader_election or self._elector.holds()

    def _wait_for_lease(self) -> None:
        if not self._settings.leader_election:
            return
        log.info(
            "waiting for the leader election lease", extra={"lease": self._settings.lease_name}
        )
        while not self._stop.is_set():
            self._looped_s = self._clock.monotonic_s()
            if self._elector.try_lead():
                return
            self._stop.wait(self._elector.wait_s())

    def _lead(self) -> None:
        log.info("became leader", extra={"identity": self._settings.identity})
        self.metrics.leader.set(1)
        self.leading.set()
        self._controller.start()
        while not self._stop.wait(RETRY_S):
            self._looped_s = self._clock.monotonic_s()
            if self._settings.leader_election and not self._elector.try_lead():
                raise LeaseLost(
                    f"the lease {self._settings.lease_name} is held by another process, or was not"
                    f" renewed within {RENEW_DEADLINE_S:.0f} s"
                )
            if self._cluster.pools_served and not self._watches_pools:
                # kopf begins no watch later; a new process begins them all.
                raise LeaseLost("WorkerPools can be read now: the watches must begin again")
            if self._cluster.sees_nodes and not self._watches_nodes:
                raise LeaseLost("nodes can be read now: the watches must begin again")
            if self._informer.ended.is_set() or self._silent >= SILENT_RESYNCS:
                raise LeaseLost("watches ended")

    def _missed(self) -> None:
        self._early = True
        self._controller.resync_soon()

    def _resync(self) -> list[Key]:
        early, self._early = self._early, False
        known = self._known()
        heard = dict(self._informer.heard)
        missed = self._cluster.relist()
        # Not before: kopf looks up the kinds to watch only once.
        nodes = self._settings.node_selector if self._cluster.sees_nodes else None
        self._informer.start(pools=bool(self._cluster.pools_served), nodes=nodes)
        self._watches_pools = self._informer.pools
        self._watches_nodes = self._informer.nodes is not None
        if not early:
            self._check_watches(heard, missed)
        # What was deleted is reconciled once more, to be forgotten.
        return sorted(known | self._known())

    def _known(self) -> set[Key]:
        pools = {key_of(pool, POOL) for pool in self._cluster.pools()}
        return pools | set(map(key_of, self._cluster.queues()))

    def _check_watches(self, heard: dict[str, int], missed: dict[str, int]) -> None:
        """Count resyncs in a row in which a watch was silent although the list brought changes.

        A list may overtake a living watch once; a watch without events between two lists, twice
        in a row although objects changed, is dead.
        """
        silent = any(n and heard.get(k, 0) == self._heard.get(k, 0) for k, n in missed.items())
        self._silent = self._silent + 1 if silent and self._informer.ready.is_set() else 0
        self._heard = heard

    def _close(self) -> None:
        self.leading.clear()
        self.metrics.leader.set(0)
        # Nothing may be written after the lease is released.
        self._controller.stop()
        self._informer.stop()
        if self._settings.leader_election:
            self._elector.release()
        self._probes.close()
        self._http.close()
        self._sqs.close()
        self._rest.close()
        if self._decisions is not None:
            self._decisions.close()
        flush(self._tracing)
