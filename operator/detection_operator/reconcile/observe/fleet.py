"""The workers of one DetectionQueue: Deployments, pods and the states they report. Pure."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from detection_operator.kube.nodes import NodeView
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
    """A pod and the state that it reported.

    Attributes:
        pod: The pod.
        state: Its state; None when it did not answer.
        expired: It reports busy without progress past its own deadline: it counts as hung.
        refused_drain: It recently refused to drain, so its state is not relied on.
        events: Kubernetes events about it, newest first; read only while it is not ready.
        node: Its node, if that is going; None while it stays, or as far as is known.
    """

    pod: PodView
    state: WorkerState | None
    expired: bool = False
    refused_drain: bool = False
    events: tuple[PodEvent, ...] = ()
    node: NodeView | None = None

    @property
    def busy(self) -> bool | None:
        """It holds a message; None: unknown."""
        if self.state is None or self.refused_drain:
            return None
        return self.state.busy and not self.expired

    @property
    def draining(self) -> bool:
        """It was asked to drain, or drains."""
        return self.pod.drain_since_s is not None or bool(self.state and self.state.draining)

    @property
    def drain_requested(self) -> bool:
        """It drains or is marked for removal; a worker that stays must resume."""
        return self.draining or is_marked(self.pod)

    @property
    def phase(self) -> PodPhase:
        """Its phase, for the decision."""
        if self.pod.unschedulable_since_s is not None:
            return PodPhase.UNSCHEDULABLE
        if self.draining:
            return PodPhase.DRAINING
        # A pod that was ready and fails its probe now is not starting: it may be busy.
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
        # Its control server starts before it receives messages, and does not answer yet.
        return not self.pod.ready and not self.pod.started


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A Deployment with its pods.

    Attributes:
        deployment: The Deployment.
        current: It has the template of the current spec.
        workers: Its pods, without those that are leaving.
        leaving: Pods that are terminating or about to be.
        failed: Pods that failed recently.
        replaced: Number of those that the Deployment may still count.
    """

    deployment: Object
    current: bool
    workers: tuple[Worker, ...]
    leaving: tuple[Worker, ...]
    failed: tuple[FailedPod, ...] = ()
    replaced: int = 0

    @property
    def name(self) -> str:
        """Name of the Deployment."""
        return str(self.deployment["metadata"]["name"])

    @property
    def replicas(self) -> int:
        """Replicas in its spec."""
        return replicas_of(self.deployment)

    @property
    def departing(self) -> tuple[Worker, ...]:
        """Its pods whose node is going: they are replaced before they go."""
        return tuple(worker for worker in self.workers if worker.node is not None)

    @property
    def staying(self) -> int:
        """Replicas without those on nodes that are going."""
        return max(0, self.replicas - len(self.departing))

    @property
    def counted(self) -> bool:
        """The status of the Deployment is of its newest spec."""
        return made_replicas(self.deployment) is not None

    @property
    def missing(self) -> int:
        """Replicas without a pod by the Deployment's status: not observing one is not enough."""
        made = self._made
        return 0 if made is None else max(0, self.replicas - max(made, len(self.workers)))

    def without(self, replicas: int) -> tuple[Worker, ...]:
        """Return the workers that Kubernetes removes when the replicas fall to ``replicas``."""
        gone = going([worker.pod for worker in self.workers], replicas)
        return tuple(worker for worker in self.workers if worker.pod.name in gone)

    @property
    def unseen(self) -> int:
        """Pods that the Deployment counts but were not observed: they may be busy."""
        pods = [worker.pod for worker in (*self.workers, *self.leaving)]
        return max(0, (self._made or 0) - sum(not pod.terminating for pod in pods))

    @property
    def all_ready_seen(self) -> bool:
        """The Deployment counts no more ready pods than were observed."""
        seen = sum(worker.pod.ready for worker in (*self.workers, *self.leaving))
        return int(self.deployment.get("status", {}).get("readyReplicas") or 0) <= seen

    @property
    def _made(self) -> int | None:
        """Pods that the Deployment counts, without those observed to have failed since."""
        made = made_replicas(self.deployment)
        if made is None or not self.replaced or not self.all_ready_seen:
            return made
        return max(0, made - self.replaced)

    @property
    def mixed(self) -> bool:
        """It has pods of several templates: in its roll-out Kubernetes picks what to remove."""
        return len({worker.pod.template_hash for worker in self.workers}) > 1


def is_marked(pod: PodView) -> bool:
    """Say whether a pod has an annotation of the operator: to drain, or to be removed first."""
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
    nodes: Mapping[str, NodeView] | None = None,
) -> Group:
    """Return a Deployment with its pods.

    Args:
        deployment: The Deployment.
        pods: Its pods.
        states: States that workers reported, by uid.
        current: It has the template of the current spec.
        refused_drain: Uids of pods that refused to drain.
        events: Kubernetes events about pods, by uid.
        failed: Its pods that failed recently.
        replaced_since_s: The Deployment may still count pods that failed since then.
        nodes: Nodes that are going, by name.
    """
    known, places = events or {}, nodes or {}
    staying = [pod for pod in pods if not pod.terminating]
    surplus = going(staying, replicas_of(deployment))
    workers: list[Worker] = []
    leaving: list[Worker] = []
    for pod in pods:
        state = states.get(pod.uid)
        worker = Worker(
            pod,
            state,
            expired=state is not None and _is_hung(state),
            refused_drain=pod.uid in refused_drain,
            events=known.get(pod.uid, ()),
            node=places.get(pod.node),
        )
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
    """Say whether ``busy`` has expired, by the worker's own clock: clocks of nodes differ.

    Answers are read in the reconcile that asked; the delay errs in the worker's favour.
    """
    if not state.busy or state.busy_expires_s is None or state.said_at_s is None:
        return False
    return state.busy_expires_s <= state.said_at_s


def with_current(groups: Sequence[Group]) -> tuple[Group, ...]:
    """Return the groups with a current one: the newest, if the spec's Deployment does not exist.

    Whatever prevents the spec's Deployment, the pods that run are still scaled.
    """
    if not groups or any(item.current for item in groups):
        return tuple(groups)
    newest = max(
        groups,
        key=lambda item: (item.deployment["metadata"].get("creationTimestamp", ""), item.name),
    )
    return tuple(replace(item, current=item is newest) for item in groups)


def decision_pods(groups: Collection[Group]) -> tuple[Pod, ...]:
    """Return the pods as the decision knows them: without those whose node is going."""
    return tuple(
        Pod(name=w.pod.name, phase=w.phase, created_s=w.pod.created_s, busy=w.busy)
        for item in groups
        for w in item.workers
        if w.node is None
    )


def missing_resource(sentence: str) -> str:
    """Return the resource named in the scheduler's message, else the start of the message."""
    _, found, rest = sentence.partition(MISSING_RESOURCE)
    if found:
        return rest.split(",")[0].split(" ")[0].rstrip(".")
    return sentence.split(". ", maxsplit=1)[0][:120]
