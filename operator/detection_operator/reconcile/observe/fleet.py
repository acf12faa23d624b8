"""The workers of one DetectionQueue at one time: Deployments, pods, what workers say. Pure."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from detection_operator.kube.objects import made_replicas, replicas_of
from detection_operator.kube.pods.events import PodEvent
from detection_operator.kube.pods.ranking import LEAST_COST, going
from detection_operator.kube.pods.views import FailedPod, PodView
from detection_operator.kube.port import Object
from detection_operator.readers.values import WorkerState
from detection_operator.scaling.pods import Pod, PodPhase

MISSING_RESOURCE: Final = "Insufficient "


@dataclass(frozen=True, slots=True)
class Worker:
    """A pod and what it says.

    Attributes:
        pod: The pod.
        state: None when it did not answer.
        expired: It says busy, but without progress for so long that it counts as hung.
        refused_drain: It refused to drain, so that nothing it says of itself is relied on for now.
        events: What the cluster told of it, the newest first; read only while it does not work.
    """

    pod: PodView
    state: WorkerState | None
    expired: bool = False
    refused_drain: bool = False
    events: tuple[PodEvent, ...] = ()

    @property
    def busy(self) -> bool | None:
        """It holds a message; None: nobody knows."""
        if self.state is None or self.refused_drain:
            return None
        return self.state.busy and not self.expired

    @property
    def draining(self) -> bool:
        """It was asked to drain, or does."""
        return self.pod.drain_since_s is not None or bool(self.state and self.state.draining)

    @property
    def drain_requested(self) -> bool:
        """It drains, or bears a mark to go first: nobody who stays may."""
        return self.draining or is_marked(self.pod)

    @property
    def phase(self) -> PodPhase:
        """Where it stands, for the decision."""
        if self.pod.unschedulable_since_s is not None:
            return PodPhase.UNSCHEDULABLE
        if self.draining:
            return PodPhase.DRAINING
        # One that was ready and fails its probe now is no starting one: it may well be busy.
        if self.pod.ready or self.busy or (self.pod.started and self.state is None):
            return PodPhase.READY
        return PodPhase.STARTING

    @property
    def may_go(self) -> bool:
        """Removing it interrupts no work."""
        if self.phase is PodPhase.UNSCHEDULABLE or not self.pod.scheduled:
            return True
        if self.state is not None:
            idle = not self.state.busy or self.expired
            return idle and (self.state.drained or self.expired)
        # Its control server, which comes before its first message, does not answer yet.
        return not self.pod.ready and not self.pod.started


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A Deployment with its pods.

    Attributes:
        deployment: The Deployment.
        current: It is the one of the present spec.
        workers: Its pods, without those that are going.
        leaving: Pods that are terminating or will be at once.
        failed: Pods that failed of late.
        replaced: Those of them that failed so lately that the Deployment may still count them.
    """

    deployment: Object
    current: bool
    workers: tuple[Worker, ...]
    leaving: tuple[Worker, ...]
    failed: tuple[FailedPod, ...] = ()
    replaced: int = 0

    @property
    def name(self) -> str:
        """Of the Deployment."""
        return str(self.deployment["metadata"]["name"])

    @property
    def replicas(self) -> int:
        """That it asks for."""
        return replicas_of(self.deployment)

    @property
    def missing(self) -> int:
        """Replicas without a pod, as the Deployment itself says: not to see one is not enough."""
        made = self._made
        return 0 if made is None else max(0, self.replicas - max(made, len(self.workers)))

    def without(self, replicas: int) -> tuple[Worker, ...]:
        """Return whom Kubernetes takes when the replicas fall to so many."""
        gone = going([worker.pod for worker in self.workers], replicas)
        return tuple(worker for worker in self.workers if worker.pod.name in gone)

    @property
    def unseen(self) -> int:
        """Pods that the Deployment has and nobody saw: they may be busy, and go before others."""
        pods = [worker.pod for worker in (*self.workers, *self.leaving)]
        return max(0, (self._made or 0) - sum(not pod.terminating for pod in pods))

    @property
    def all_ready_seen(self) -> bool:
        """No more pods are ready, as the Deployment itself says, than were seen to be."""
        seen = sum(worker.pod.ready for worker in (*self.workers, *self.leaving))
        return int(self.deployment.get("status", {}).get("readyReplicas") or 0) <= seen

    @property
    def _made(self) -> int | None:
        """Pods that the Deployment says it has, without those that were seen to fail meanwhile."""
        made = made_replicas(self.deployment)
        if made is None or not self.replaced or not self.all_ready_seen:
            return made
        return max(0, made - self.replaced)

    @property
    def mixed(self) -> bool:
        """Pods of several templates: a roll-out is under way, and Kubernetes picks who goes."""
        return len({worker.pod.template_hash for worker in self.workers}) > 1


def is_marked(pod: PodView) -> bool:
    """Say whether a pod bears a mark of the operator's: asked to drain, or to go first."""
    return pod.drain_since_s is not None or pod.deletion_cost == LEAST_COST


def group(
    deployment: Object,
    pods: Collection[PodView],
    states: Mapping[str, WorkerState],
    *,
    current: bool,
    refused_drain: Collection[str] = (),
    events: Mapping[str, tuple[PodEvent, ...]] | None = None,
    failed: Collection[FailedPod] = (),
    replaced_since_s: float = float("inf"),
) -> Group:
    """Return a Deployment with its pods.

    Args:
        deployment: The Deployment.
        pods: Its pods.
        states: What workers said, by uid.
        current: It is the one of the present spec.
        refused_drain: Uids of pods that refused to drain.
        events: What the cluster told of pods, by uid.
        failed: Its pods that failed of late.
        replaced_since_s: Those that failed since then may still be counted by the Deployment.
    """
    told = events or {}
    staying = [pod for pod in pods if not pod.terminating]
    surplus = going(staying, replicas_of(deployment))
    workers: list[Worker] = []
    leaving: list[Worker] = []
    for pod in pods:
        state = states.get(pod.uid)
        hung = state is not None and _is_hung(state)
        worker = Worker(pod, state, hung, pod.uid in refused_drain, told.get(pod.uid, ()))
        gone = pod.terminating or pod.name in surplus
        (leaving if gone else workers).append(worker)
    return Group(
        deployment=deployment,
        current=current,
        workers=tuple(workers),
        leaving=tuple(leaving),
        failed=tuple(failed),
        replaced=sum(pod.at_s >= replaced_since_s for pod in failed),
    )


def _is_hung(state: WorkerState) -> bool:
    """Say whether a busy mark has ended, by the clock that set it: clocks of nodes differ.

    An answer is read in the look that asked for it; the second that takes errs for the worker.
    """
    if not state.busy or state.busy_expires_s is None or state.said_at_s is None:
        return False
    return state.busy_expires_s <= state.said_at_s


def with_current(groups: Sequence[Group]) -> tuple[Group, ...]:
    """Return the groups with a current one: the newest stands in where the spec's is not there.

    What runs goes on being scaled, whatever keeps the Deployment of the spec from existing.
    """
    if not groups or any(item.current for item in groups):
        return tuple(groups)
    newest = max(
        groups,
        key=lambda item: (item.deployment["metadata"].get("creationTimestamp", ""), item.name),
    )
    return tuple(replace(item, current=item is newest) for item in groups)


def decision_pods(groups: Collection[Group]) -> tuple[Pod, ...]:
    """Return the pods as the decision knows them."""
    return tuple(
        Pod(name=w.pod.name, phase=w.phase, created_s=w.pod.created_s, busy=w.busy)
        for item in groups
        for w in item.workers
    )


def missing_resource(sentence: str) -> str:
    """Return the resource that the scheduler's sentence names, else the sentence's start."""
    _, found, rest = sentence.partition(MISSING_RESOURCE)
    if found:
        return rest.split(",")[0].split(" ")[0].rstrip(".")
    return sentence.split(". ", maxsplit=1)[0][:120]
