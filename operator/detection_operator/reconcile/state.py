"""What the operator remembers of one DetectionQueue between reconciles. Losing it is safe."""

import statistics
from collections import deque
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from detection_operator.kube.pods.views import FailedPod, PodView
from detection_operator.readers.counters import Counters
from detection_operator.readers.values import QueueReading, WorkerState
from detection_operator.reconcile.act.disruption import BudgetWatch
from detection_operator.reconcile.act.rejected_deployment import Refusal
from detection_operator.reconcile.observe.fleet import Worker
from detection_operator.reconcile.observe.observation import StartTimes
from detection_operator.reconcile.observe.restore import Restored
from detection_operator.reconcile.report.transitions import Scaled
from detection_operator.scaling.memory import Memory
from detection_operator.spec.queue_spec import QueueSpec

COLD_STARTS: Final = 9
"""Of these the median counts: one slow image pull says little of the next."""
RECENT_S: Final = 60.0
"""Ages of messages that were received longer ago say nothing of the queue now."""
LAUNCH_MAX_S: Final = 1800.0
"""A longer wait for a node was no launch: somebody made room, or mended something."""
EVASIVE_S: Final = 300.0
"""A worker that refused to drain is left alone for so long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DesiredSpec:
    """What a generation of a DetectionQueue asks for.

    Attributes:
        generation: Of the spec.
        spec: Parsed.
        manifest: Of the Deployment that should exist; None for an adopted one.
        problems: What of it is not followed, a sentence each.
    """

    generation: int
    spec: QueueSpec
    manifest: Mapping[str, Any] | None
    problems: tuple[str, ...] = ()

    @property
    def adopts(self) -> str | None:
        """Name of the Deployment that the spec refers to; None when the operator makes one."""
        reference = self.spec.worker.deployment_ref
        return None if reference is None else reference.name


@dataclass(slots=True)
class QueueState:
    """Mutable; only the reconcile of its key touches it.

    Attributes:
        uid: Of the DetectionQueue; another one of the same name is another one.
        desired_spec: Of the newest generation; parsing takes longer than everything else at rest.
        former: Names of Deployments that earlier generations referred to, until their workers
            were given back.
        memory: Of the decision.
        reading: The newest of the queue.
        poll_at_s: Monotonic time of the next read.
        counters: What workers did.
        cold_starts: Seconds from a new pod to ready, newest last.
        measured: Uids of pods whose cold start was measured.
        launches: Seconds from no room to a node, newest last.
        rejected: Pods that failed before they were ever ready.
        failed: Uids of pods that failed of late.
        deaf_until_s: Monotonic time until which events are not asked for: they may not be read.
        evasive: Uids of workers that refused to drain, with the monotonic time until which they
            are left.
        drains: Uids of workers that were asked to drain, with the mark that they bear and when it
            was first seen (monotonic).
        written: Replicas written last, by Deployment.
        rivals: Who else set the replicas, to what, and when that was first seen (monotonic), by
            Deployment.
        applied: Digest of the spec that the server kept, by Deployment.
        budget: What is known of the disruption budget.
        refused: The API server's answer to the Deployment, while it refuses it.
        starved_readings: See ``doctor``.
        known: Workers of the last look, by uid.
        dismissed: Uids of pods that may go.
        scaled: Replicas that were written and are not told yet.
        status: As last written.
        status_at_s: When; None before the first.
        since_s: When the present operator took over; None before its first look.
    """

    uid: str
    desired_spec: DesiredSpec | None = None
    former: set[str] = field(default_factory=set)
    memory: Memory = field(default_factory=Memory)
    reading: QueueReading = field(default_factory=QueueReading)
    poll_at_s: float = float("-inf")
    counters: Counters = field(default_factory=Counters)
    cold_starts: deque[float] = field(default_factory=lambda: deque(maxlen=COLD_STARTS))
    measured: set[str] = field(default_factory=set)
    launches: deque[float] = field(default_factory=lambda: deque(maxlen=COLD_STARTS))
    rejected: int = 0
    failed: set[str] = field(default_factory=set)
    deaf_until_s: float = float("-inf")
    evasive: dict[str, float] = field(default_factory=dict)
    drains: dict[str, tuple[float, float]] = field(default_factory=dict)
    written: dict[str, int] = field(default_factory=dict)
    rivals: dict[str, tuple[str, int, float]] = field(default_factory=dict)
    applied: dict[str, str] = field(default_factory=dict)
    budget: BudgetWatch = field(default_factory=BudgetWatch)
    refused: Refusal | None = None
    starved_readings: int = 0
    known: dict[str, Worker] = field(default_factory=dict)
    dismissed: set[str] = field(default_factory=set)
    scaled: list[Scaled] = field(default_factory=list)
    status: Mapping[str, Any] | None = None
    status_at_s: float | None = None
    since_s: float | None = None
    _received: dict[str, tuple[int, float]] = field(default_factory=dict)

    @property
    def cold_start_s(self) -> float | None:
        """Measured seconds from a new pod to ready; None before the first."""
        return statistics.median(self.cold_starts) if self.cold_starts else None

    def start_times(self, spec: QueueSpec) -> StartTimes:
        """Return what is known of how pods start."""
        measured_s = self.cold_start_s
        return StartTimes(
            usual_s=spec.service_time.cold_start_s if measured_s is None else measured_s,
            cold_start_s=measured_s,
            launch_s=max(self.launches, default=None),
            rejected=self.rejected,
        )

    def take_over(self, found: Restored | None, now_s: float) -> None:
        """Go on from what the status still knew; None: there was none."""
        self.since_s = now_s
        if found is None:
            return
        self.memory = found.memory
        self.counters.since_s = now_s
        if found.cold_start_s is not None:
            self.cold_starts.append(found.cold_start_s)
        if found.launch_s is not None:
            self.launches.append(min(found.launch_s, LAUNCH_MAX_S))

    @property
    def adopted(self) -> set[str]:
        """Names of Deployments of others whose workers may have been drained."""
        present = None if self.desired_spec is None else self.desired_spec.adopts
        return self.former | ({present} if present is not None else set())

    def follow(self, wanted: DesiredSpec) -> None:
        """Go by a new generation."""
        before, self.desired_spec = self.desired_spec, wanted
        self.former.discard(wanted.adopts or "")
        if before is not None and before.adopts not in {None, wanted.adopts}:
            self.former.add(str(before.adopts))
            # Its workers are nobody's concern any more: they are out of sight, not gone.
            self.known.clear()

    def hear(self, uid: str, state: WorkerState, now_s: float) -> None:
        """Take in what a worker said."""
        self.counters.absorb(uid, state)
        before = self._received.get(uid)
        if before is None or before[0] != state.received:
            # What an old worker received before anybody listened is no news.
            at_s = now_s if before is not None or state.received == 0 else float("-inf")
            self._received[uid] = (state.received, at_s)

    def oldest_age_s(self, states: Mapping[str, WorkerState], now_s: float) -> float | None:
        """Return the longest wait among the messages that workers received of late."""
        ages = [
            state.received_age_s
            for uid, state in states.items()
            if state.received_age_s is not None
            and now_s - self._received.get(uid, (0, float("-inf")))[1] <= RECENT_S
        ]
        return max(ages, default=None)

    def measure(self, worker: Worker) -> None:
        """Note a cold start, once for each pod, from the time that it was made to ready.

        A node that is made for a pod takes its time at each start; a longer wait for one says that
        there was no room, and nothing of the next start.
        """
        pod = worker.pod
        self._note_launch(pod)
        if pod.ready_s is None or pod.uid in self.measured:
            return
        self.measured.add(pod.uid)
        # A pod that was ready long before may have failed its probe since then.
        if self.cold_starts and pod.ready_s < (self.since_s or pod.ready_s):
            return
        begun_s = pod.created_s
        if pod.scheduled_s is not None and self.desired_spec is not None:
            limits = self.desired_spec.spec.capacity
            if pod.scheduled_s - pod.created_s > limits.unschedulable_s:
                begun_s = pod.scheduled_s
        waited_s = pod.ready_s - begun_s
        if waited_s >= 0.0:
            self.cold_starts.append(waited_s)

    def _note_launch(self, pod: PodView) -> None:
        """Note how long a pod waited that found no room at the last look and has a node now."""
        before = self.known.get(pod.uid)
        since_s = before.pod.unschedulable_since_s if before is not None else None
        if since_s is not None and pod.scheduled_s is not None and pod.scheduled_s >= since_s:
            self.launches.append(min(pod.scheduled_s - since_s, LAUNCH_MAX_S))

    def count_failed(self, pods: Iterable[FailedPod]) -> None:
        """Count the pods that failed since the last look before they were ever ready."""
        before, self.failed = self.failed, set()
        for pod in pods:
            self.failed.add(pod.uid)
            # What failed under another operator was counted by it.
            news = pod.uid not in before and pod.at_s >= int(self.since_s or 0.0)
            self.rejected += news and not pod.was_ready

    def drain_ages(self, workers: Iterable[Worker], now_s: float) -> Mapping[str, float]:
        """Return for how long each worker has been asked to drain, by uid.

        The times that pods bear are of a wall clock, which may jump: a mark counts from when this
        process first saw it, so that nothing can shorten a drain.

        Args:
            workers: All of them.
            now_s: Monotonic seconds.
        """
        before, self.drains = self.drains, {}
        for worker in workers:
            mark, uid = worker.pod.drain_since_s, worker.pod.uid
            if mark is not None:
                known = before.get(uid)
                self.drains[uid] = known if known and known[0] == mark else (mark, now_s)
        return {uid: now_s - seen_s for uid, (_, seen_s) in self.drains.items()}

    def avoided(self, now_s: float) -> Collection[str]:
        """Return the uids of workers that refused to drain of late, by monotonic seconds."""
        self.evasive = {uid: end_s for uid, end_s in self.evasive.items() if end_s > now_s}
        return self.evasive.keys()

    def retain(self, uids: Collection[str]) -> None:
        """Forget pods that are gone."""
        self.counters.retain(uids)
        self.measured &= set(uids)
        self.dismissed &= set(uids)
        for uid in self._received.keys() - set(uids):
            del self._received[uid]
