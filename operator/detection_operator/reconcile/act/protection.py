"""Protect busy workers from eviction by autoscalers, and release those that are idle for long.

An idle worker that could not be moved would keep its node from consolidation and upgrades for as
long as it is kept warm. Nothing depends on these annotations: a worker that is evicted finishes
within its grace period.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from detection_operator.errors import ClusterError, NotFound
from detection_operator.kube.pods.protection import change, own_keys
from detection_operator.kube.port import Object
from detection_operator.reconcile.observe.fleet import Group, Worker
from detection_operator.reconcile.observe.gather import Sources
from detection_operator.spec.worker import Protection
from detection_operator.spec.worker import Worker as WorkerSpec

IDLE_S: Final = 300.0
"""A worker is released after this long without a message. Under steady traffic nobody is, so that
nothing is written."""
WRITES: Final = 20
"""Most writes of one reconcile; the next one goes on."""
RETRY_S: Final = 300.0
"""Interval of retries when the API server refuses them: administrators grant rights by hand."""
log = logging.getLogger(__name__)


@dataclass(slots=True)
class ProtectionWatch:
    """What is known of one DetectionQueue's workers. Losing it only makes releases later.

    Attributes:
        retry_at_s: Monotonic time before which nothing is written, after a failure.
    """

    retry_at_s: float = float("-inf")
    _idle: dict[str, tuple[int, float]] = field(default_factory=dict)

    def idle_s(self, workers: Iterable[Worker], now_s: float) -> dict[str, float]:
        """Return for how long each idle worker has received nothing, by uid.

        Args:
            workers: All workers.
            now_s: Monotonic seconds.
        """
        before, self._idle = self._idle, {}
        for worker in workers:
            if worker.state is None or worker.busy is not False:
                continue
            uid, received = worker.pod.uid, worker.state.received
            known = before.get(uid)
            same = known is not None and known[0] == received
            self._idle[uid] = known if known is not None and same else (received, now_s)
        return {uid: now_s - since_s for uid, (_, since_s) in self._idle.items()}


def keep_protection(
    sources: Sources,
    queue: Object,
    spec: WorkerSpec,
    groups: Iterable[Group],
    *,
    watch: ProtectionWatch,
) -> None:
    """Annotate the workers whose annotations do not fit. A failure is only logged."""
    now_s, namespace = sources.clock.monotonic_s(), queue["metadata"]["namespace"]
    wanted = list(changes(spec, groups, watch, now_s))
    if now_s < watch.retry_at_s:
        return
    for worker, annotations in wanted[:WRITES]:
        try:
            sources.cluster.annotate_pod(namespace, worker.pod.name, annotations)
        except NotFound:
            continue
        except ClusterError as exc:
            watch.retry_at_s = now_s + RETRY_S
            facts = {"namespace": namespace, "pod": worker.pod.name, "error": str(exc)}
            log.warning("protection from eviction not written", extra=facts)
            return


def changes(
    spec: WorkerSpec, groups: Iterable[Group], watch: ProtectionWatch, now_s: float
) -> Iterator[tuple[Worker, dict[str, str | None]]]:
    """Yield the workers to annotate and the annotations, those to protect first."""
    owned = [(worker, _keys(spec, item)) for item in groups for worker in item.workers]
    idle = watch.idle_s((worker for worker, _ in owned), now_s)
    always = spec.protection is Protection.ALWAYS
    verdicts = [(w, keys, always or _verdict(w, idle)) for w, keys in owned]
    for protected in (True, False):
        for worker, keys, verdict in verdicts:
            wanted = change(worker.pod.protection, protected=protected, keys=keys)
            if verdict is protected and wanted:
                yield worker, wanted


def _verdict(worker: Worker, idle: Mapping[str, float]) -> bool | None:
    """Say whether a worker should be protected; None: it stays as it is."""
    if worker.busy:
        return True
    if worker.state is not None and worker.state.drained and worker.busy is False:
        return False
    return False if idle.get(worker.pod.uid, 0.0) >= IDLE_S else None


def _keys(spec: WorkerSpec, item: Group) -> tuple[str, ...]:
    """Return the annotations of a Deployment's pods that are the operator's to write."""
    template: Any = item.deployment["spec"].get("template", {})
    if spec.template is not None:
        # The operator's own template has them all.
        template = spec.template.pod_template
    metadata = template.get("metadata") or {}
    return own_keys(metadata.get("annotations"))
