"""Executes steps: writes to the cluster what differs, and asks workers to drain or resume."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from detection_contract.environment import ANNOTATION_DELETION_COST, ANNOTATION_DRAIN
from detection_operator.errors import ClusterError, Conflict, NotFound
from detection_operator.kube.manifests.deployment import digest
from detection_operator.kube.objects import replicas_of, timestamp
from detection_operator.kube.pods.ranking import ASKED_COST, LEAST_COST
from detection_operator.kube.port import Object
from detection_operator.metrics import Metrics
from detection_operator.reconcile.act.disruption import keep_budget
from detection_operator.reconcile.act.refused_scale import (
    after_success,
    is_refusal,
    refused_scale,
    worth_trying,
)
from detection_operator.reconcile.act.steps import Steps
from detection_operator.reconcile.act.written import Written
from detection_operator.reconcile.observe.fleet import Group, Worker, is_marked
from detection_operator.reconcile.observe.gather import Sources, address
from detection_operator.reconcile.report.transitions import Scaled

log = logging.getLogger(__name__)

_DRAIN_END = {ANNOTATION_DRAIN: None, ANNOTATION_DELETION_COST: None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Executor:
    """Writes to the cluster and talks to workers for one DetectionQueue.

    Attributes:
        sources: Cluster, workers and clock.
        metrics: Counts drains.
        queue: The DetectionQueue.
        written: Takes note of what was written.
        scaled: Takes each change of replicas, for an event.
    """

    sources: Sources
    metrics: Metrics
    queue: Object
    written: Written
    scaled: list[Scaled]

    @property
    def _namespace(self) -> str:
        return str(self.queue["metadata"]["namespace"])

    def ensure(
        self, manifest: Object | None, groups: Sequence[Group], *, replicas: int = 0
    ) -> bool:
        """Apply the Deployment and its budget where they differ.

        Args:
            manifest: The Deployment that should exist; None for an adopted one.
            groups: The Deployments that exist.
            replicas: Replicas that the first Deployment starts with; a later one scales out in
                steps.

        Returns:
            Whether the Deployment was written.

        Raises:
            ClusterError: The API server refused or did not answer.
        """
        if manifest is None:
            return False
        written = self._ensure_deployment(manifest, groups, replicas)
        # Last: an operator without the right to write budgets still gets workers.
        self._ensure_budget()
        return written

    def _ensure_deployment(self, manifest: Object, groups: Sequence[Group], replicas: int) -> bool:
        name = manifest["metadata"]["name"]
        live = next((g.deployment for g in groups if g.name == name), None)
        if live is not None and self._as_applied(name, live, manifest):
            return False
        first = 0 if groups else replicas
        count = first if live is None else replicas_of(live)
        wanted = {**manifest, "spec": {**manifest["spec"], "replicas": count}}
        result = self.sources.cluster.apply(wanted)
        self.written.digests[name] = kept_digest(result)
        self.written.as_applied.pop(name, None)
        if live is None:
            self.written.replicas[name] = count
            self._note_scaled(Scaled(deployment=name, before=0, after=count))
        return True

    def _as_applied(self, name: str, live: Object, manifest: Object) -> bool:
        version = live["metadata"].get("resourceVersion")
        if version is not None and self.written.as_applied.get(name) == version:
            return True
        same = self._has_digest(name, live, manifest)
        if same and version is not None:
            self.written.as_applied[name] = version
        return same

    def _has_digest(self, name: str, live: Object, manifest: Object) -> bool:
        known = self.written.digests.get(name)
        if known is None:
            # After a restart: the stored object must contain everything in the manifest.
            if not contains(live["spec"], manifest["spec"]):
                return False
            self.written.digests[name] = kept_digest(live)
            return True
        return known == kept_digest(live)

    def _ensure_budget(self) -> None:
        now_s = self.sources.clock.monotonic_s()
        keep_budget(self.sources.cluster, self.queue, self.written.budget, now_s)

    def execute(self, steps: Steps) -> None:
        """Resume, mark for removal, scale and drain, in this order: capacity back first.

        Raises:
            ClusterError: The API server refused or did not answer.
        """
        for worker in steps.resume:
            self.resume(worker)
        for worker in steps.stop:
            self._stop(worker)
        for worker in steps.dismiss:
            self._annotate(worker, {ANNOTATION_DELETION_COST: str(LEAST_COST)})
        for item, replicas in steps.scale:
            self._scale(item, replicas)
        for worker in steps.forced:
            self.metrics.drains.labels("timeout").inc()
            log.warning(
                "worker did not drain within drainTimeoutSeconds: terminating it",
                extra=self._facts(worker),
            )
        for worker in steps.drain:
            self._drain(worker)

    def resume(self, worker: Worker) -> None:
        """Let a worker receive again."""
        pod = worker.pod
        if worker.state is not None and worker.state.draining:
            answer = self.sources.workers.resume(address(pod))
            if answer is None or answer.draining:
                return
        if is_marked(pod):
            self._annotate(worker, _DRAIN_END)
        if pod.drain_since_s is not None:
            self.metrics.drains.labels("resumed").inc()

    def _stop(self, worker: Worker) -> None:
        """Let a worker that is being removed receive nothing before its end."""
        pod = worker.pod
        if pod.drain_since_s is None or pod.deletion_cost != LEAST_COST:
            since = timestamp(self.sources.clock.wall_s())
            cost = str(LEAST_COST)
            self._annotate(worker, {ANNOTATION_DRAIN: since, ANNOTATION_DELETION_COST: cost})
        self.sources.workers.drain(address(pod))

    def _drain(self, worker: Worker) -> None:
        pod = worker.pod
        if pod.drain_since_s is None:
            since = timestamp(self.sources.clock.wall_s())
            cost = str(ASKED_COST)
            self._annotate(worker, {ANNOTATION_DRAIN: since, ANNOTATION_DELETION_COST: cost})
            self.metrics.drains.labels("asked").inc()
        if worker.state is None:
            return
        answer = self.sources.workers.drain(address(pod))
        if answer is not None and answer.draining:
            return
        # It answers but does not drain: what it says about being idle cannot be relied on.
        self.written.note_refused_drain(pod.uid, self.sources.clock.monotonic_s())
        self._annotate(worker, _DRAIN_END)
        self.metrics.drains.labels("refused").inc()
        log.warning("worker refused to drain", extra=self._facts(worker))

    def _annotate(self, worker: Worker, annotations: dict[str, Any]) -> None:
        try:
            self.sources.cluster.annotate_pod(self._namespace, worker.pod.name, annotations)
        except NotFound:
            log.debug("pod is gone", extra=self._facts(worker))

    def _scale(self, item: Group, replicas: int) -> None:
        now_s = self.sources.clock.monotonic_s()
        known = self.written.refused.get(item.name)
        replicas = worth_trying(known, item, replicas, now_s=now_s)
        if replicas == item.replicas:
            return
        try:
            self._write_replicas(item, replicas)
        except ClusterError as exc:
            if not is_refusal(exc):
                raise
            self._note_refused(exc, item, replicas, now_s)
            return
        self.written.note_refusal(item.name, after_success(known, item, replicas, now_s=now_s))

    def _note_refused(self, error: ClusterError, item: Group, replicas: int, now_s: float) -> None:
        metadata = self.queue["metadata"]
        before = self.written.refused.get(item.name)
        known = refused_scale(error, before, item, replicas=replicas, now_s=now_s)
        self.written.note_refusal(item.name, known)
        log.warning(
            "the API server refuses the replicas",
            extra={
                "namespace": self._namespace,
                "queue": metadata["name"],
                "deployment": item.name,
                "replicas_current": item.replicas,
                "replicas_desired": replicas,
                "error": str(error),
            },
        )

    def _write_replicas(self, item: Group, replicas: int) -> None:
        metadata = item.deployment["metadata"]
        self.sources.cluster.scale(
            self._namespace,
            item.name,
            replicas,
            # A number decided from an older object may remove pods that were not drained.
            resource_version=metadata["resourceVersion"] if replicas < item.replicas else None,
        )
        self.written.replicas[item.name] = replicas
        names: list[str] = []
        if replicas < item.replicas:
            leaving = item.without(replicas)
            names = [worker.pod.name for worker in leaving]
            self.written.removed |= {worker.pod.uid for worker in leaving}
            self.metrics.drains.labels("removed").inc(item.replicas - replicas)
        self._note_scaled(
            Scaled(deployment=item.name, before=item.replicas, after=replicas, pods=names)
        )

    def _note_scaled(self, change: Scaled) -> None:
        if change.before == change.after:
            return
        self.scaled.append(change)
        log.info(
            "replicas set",
            extra={
                "namespace": self._namespace,
                "queue": self.queue["metadata"]["name"],
                "deployment": change.deployment,
                "replicas_current": change.before,
                "replicas_desired": change.after,
                "pods": list(change.pods),
            },
        )

    def delete_empty(self, groups: Sequence[Group]) -> bool:
        """Delete Deployments of former templates without pods; say whether any was deleted."""
        done = False
        for item in groups:
            if item.current or item.replicas or item.workers or item.leaving:
                continue
            version = item.deployment["metadata"]["resourceVersion"]
            try:
                self.sources.cluster.delete_deployment(
                    self._namespace, item.name, resource_version=version
                )
            except (NotFound, Conflict):
                continue
            self.written.forget_deployment(item.name)
            done = True
        return done

    def _facts(self, worker: Worker) -> dict[str, str]:
        return {
            "namespace": self._namespace,
            "queue": self.queue["metadata"]["name"],
            "pod": worker.pod.name,
        }


def kept_digest(deployment: Object) -> str:
    """Return the digest of a Deployment's spec as the server stores it, without replicas."""
    return digest(
        {name: value for name, value in deployment["spec"].items() if name != "replicas"}
    )


def contains(live: Any, wanted: Any) -> bool:
    """Say whether ``live`` contains everything in ``wanted``; the server adds defaults."""
    if isinstance(wanted, dict):
        return isinstance(live, dict) and all(
            name in live and contains(live[name], value) for name, value in wanted.items()
        )
    if isinstance(wanted, list | tuple):
        same = isinstance(live, list) and len(live) == len(wanted)
        return same and all(contains(a, b) for a, b in zip(live, wanted, strict=True))
    return bool(live == wanted)
