"""What the operator wrote and asked for one DetectionQueue. Losing it is safe."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from detection_operator.reconcile.act.disruption import BudgetWatch
from detection_operator.reconcile.act.protection import ProtectionWatch
from detection_operator.reconcile.act.refused_scale import RefusedScale
from detection_operator.reconcile.act.rejected_deployment import RejectedDeployment
from detection_operator.reconcile.observe.fleet import Worker

REFUSED_DRAIN_S: Final = 300.0
"""A worker that refused to drain is not asked again for this time."""


@dataclass(slots=True)
class Written:
    """Mutable; only the reconcile of its DetectionQueue touches it.

    Attributes:
        replicas: Replicas written last, by Deployment.
        digests: Digest of the spec that the server keeps, by Deployment.
        as_applied: Version of the Deployment that has it, by Deployment: it is not read again.
        protection: State of the workers' protection from eviction.
        budget: State of the PodDisruptionBudget.
        rejected: The API server's answer to the Deployment, while it rejects it.
        refused: The API server's answer to the replicas, while it refuses them, by Deployment.
        refused_drain: Uids of workers that refused to drain, with the monotonic time until which
            they are not asked again.
        removed: Uids of pods that the operator removed by scaling in.
    """

    replicas: dict[str, int] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)
    as_applied: dict[str, str] = field(default_factory=dict)
    budget: BudgetWatch = field(default_factory=BudgetWatch)
    protection: ProtectionWatch = field(default_factory=ProtectionWatch)
    rejected: RejectedDeployment | None = None
    refused: dict[str, RefusedScale] = field(default_factory=dict)
    refused_drain: dict[str, float] = field(default_factory=dict)
    removed: set[str] = field(default_factory=set)
    _drains: dict[str, tuple[float, float]] = field(default_factory=dict)

    def drain_ages(self, workers: Iterable[Worker], now_s: float) -> Mapping[str, float]:
        """Return for how many seconds each worker has been asked to drain, by uid.

        The annotation holds wall time, which may jump. An age counts from when this process first
        saw the annotation, so that no clock can shorten a drain.

        Args:
            workers: All workers.
            now_s: Monotonic seconds.
        """
        before, self._drains = self._drains, {}
        for worker in workers:
            mark, uid = worker.pod.drain_since_s, worker.pod.uid
            if mark is not None:
                known = before.get(uid)
                self._drains[uid] = known if known and known[0] == mark else (mark, now_s)
        return {uid: now_s - seen_s for uid, (_, seen_s) in self._drains.items()}

    def note_refused_drain(self, uid: str, now_s: float) -> None:
        """Record that a worker refused to drain, at a monotonic time."""
        self.refused_drain[uid] = now_s + REFUSED_DRAIN_S

    def refusing_drain(self, now_s: float) -> Collection[str]:
        """Return the uids of workers that recently refused to drain, by monotonic seconds."""
        self.refused_drain = {
            uid: end_s for uid, end_s in self.refused_drain.items() if end_s > now_s
        }
        return self.refused_drain.keys()

    def note_refusal(self, name: str, known: RefusedScale | None) -> None:
        """Record what is known of replicas that were refused to a Deployment; None: nothing."""
        if known is None:
            self.refused.pop(name, None)
        else:
            self.refused[name] = known

    def forget_deployment(self, name: str) -> None:
        """Forget a Deployment that was deleted."""
        self.digests.pop(name, None)
        self.as_applied.pop(name, None)
        self.replicas.pop(name, None)
        self.refused.pop(name, None)
