"""Act: bring Deployments, drains and replicas a step nearer to the plan; write differences."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from detection_contract.environment import ANNOTATION_DELETION_COST, ANNOTATION_DRAIN
from detection_operator.errors import Conflict, NotFound
from detection_operator.kube.manifests.deployment import digest
from detection_operator.kube.objects import replicas_of, timestamp
from detection_operator.kube.pods.ranking import ASKED_COST, LEAST_COST
from detection_operator.kube.port import Object
from detection_operator.metrics import Metrics
from detection_operator.reconcile.act.disruption import keep_budget
from detection_operator.reconcile.act.steps import Steps
from detection_operator.reconcile.observe.fleet import Group, Worker, is_marked
from detection_operator.reconcile.observe.gather import Sources, address
from detection_operator.reconcile.report.transitions import Scaled
from detection_operator.reconcile.state import EVASIVE_S, QueueState

log = logging.getLogger(__name__)

_DRAIN_END = {ANNOTATION_DRAIN: None, ANNOTATION_DELETION_COST: None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """Writes to the cluster and talks to workers for one DetectionQueue.

    Attributes:
        sources: Cluster, workers and clock.
        metrics: To count.
        queue: The DetectionQueue.
        state: Of the DetectionQueue; what was written is noted there.
    """

    sources: Sources
    metrics: Metrics
    queue: Object
    state: QueueState

    @property
    def _namespace(self) -> str:
        return str(self.queue["metadata"]["namespace"])

    def ensure(
        self, manifest: Object | None, groups: Sequence[Group], *, replicas: int = 0
    ) -> bool:
        """Make or mend the Deployment and its budget; say whether the former was written.

        Args:
            manifest: Of the Deployment that should exist; None for an adopted one.
            groups: The Deployments that do.
            replicas: That the first Deployment starts with; a later one comes in by steps.

        Raises:
            ClusterError: The API server refused or did not answer.
        """
        if manifest is None:
            return False
        written = self._ensure_deployment(manifest, groups, replicas)
        # Last: whoever may not write budgets still gets workers.
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
        self.state.applied[name] = kept_digest(result)
        if live is None:
            self.state.written[name] = count
            self._tell(Scaled(deployment=name, before=0, after=count))
        return True

    def _as_applied(self, name: str, live: Object, manifest: Object) -> bool:
        known = self.state.applied.get(name)
        if known is None:
            # After a restart: what the server keeps must hold all that the manifest says.
            if not contains(live["spec"], manifest["spec"]):
                return False
            self.state.applied[name] = kept_digest(live)
            return True
        return known == kept_digest(live)

    def _ensure_budget(self) -> None:
        now_s = self.sources.clock.monotonic_s()
        keep_budget(self.sources.cluster, self.queue, self.state.budget, now_s)

    def take(self, steps: Steps) -> None:
        """Resume, dismiss, scale and drain, in this order: capacity back first.

        Raises:
            ClusterError: The API server refused or did not answer.
        """
        for worker in steps.resume:
            self.resume(worker)
        for worker in steps.dismiss:
            self._annotate(worker, {ANNOTATION_DELETION_COST: str(LEAST_COST)})
        for item, replicas in steps.scale:
            self._scale(item, replicas)
        for worker in steps.forced:
            self.metrics.drains.labels("timeout").inc()
            log.warning("worker did not drain in time: it gets SIGTERM", extra=self._of(worker))
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
        # It answers but does not drain: its word about being idle is worth nothing now.
        self.state.evasive[pod.uid] = self.sources.clock.monotonic_s() + EVASIVE_S
        self._annotate(worker, _DRAIN_END)
        self.metrics.drains.labels("refused").inc()
        log.warning("worker refused to drain", extra=self._of(worker))

    def _annotate(self, worker: Worker, annotations: dict[str, Any]) -> None:
        try:
            self.sources.cluster.annotate_pod(self._namespace, worker.pod.name, annotations)
        except NotFound:
            log.debug("pod is gone", extra=self._of(worker))

    def _scale(self, item: Group, replicas: int) -> None:
        metadata = item.deployment["metadata"]
        self.sources.cluster.scale(
            self._namespace,
            item.name,
            replicas,
            # A number that was decided from an older object may drop pods that nobody drained.
            resource_version=metadata["resourceVersion"] if replicas < item.replicas else None,
        )
        self.state.written[item.name] = replicas
        names: list[str] = []
        if replicas < item.replicas:
            leaving = item.without(replicas)
            names = [worker.pod.name for worker in leaving]
            self.state.dismissed |= {worker.pod.uid for worker in leaving}
            self.metrics.drains.labels("removed").inc(item.replicas - replicas)
        self._tell(Scaled(deployment=item.name, before=item.replicas, after=replicas, pods=names))

    def _tell(self, change: Scaled) -> None:
        if change.before == change.after:
            return
        self.state.scaled.append(change)
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

    def retire(self, groups: Sequence[Group]) -> bool:
        """Delete Deployments of former templates that are empty; say whether any was."""
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
            self.state.applied.pop(item.name, None)
            self.state.written.pop(item.name, None)
            done = True
        return done

    def _of(self, worker: Worker) -> dict[str, str]:
        return {
            "namespace": self._namespace,
            "queue": self.queue["metadata"]["name"],
            "pod": worker.pod.name,
        }


def kept_digest(deployment: Object) -> str:
    """Return the digest of a Deployment as the server keeps it, apart from its replicas."""
    return digest(
        {name: value for name, value in deployment["spec"].items() if name != "replicas"}
    )


def contains(live: Any, wanted: Any) -> bool:
    """Say whether ``live`` has all that ``wanted`` says; the server adds defaults to it."""
    if isinstance(wanted, dict):
        return isinstance(live, dict) and all(
            name in live and contains(live[name], value) for name, value in wanted.items()
        )
    if isinstance(wanted, list | tuple):
        same = isinstance(live, list) and len(live) == len(wanted)
        return same and all(contains(a, b) for a, b in zip(live, wanted, strict=True))
    return bool(live == wanted)
