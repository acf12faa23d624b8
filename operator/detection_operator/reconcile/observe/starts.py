"""How long worker pods take to start, measured from what is seen of them."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from detection_operator.kube.pods.events import pull_s
from detection_operator.kube.pods.views import FailedPod, PodView
from detection_operator.reconcile.observe.fleet import Worker
from detection_operator.scaling.cold_start import ColdStart, usual
from detection_operator.spec.queue_spec import QueueSpec

COLD_STARTS: Final = 9
"""The median of this many counts: one slow image pull says little about the next."""
LAUNCH_MAX_S: Final = 1800.0
"""A longer wait for a node was no launch: other pods went, or an administrator added capacity."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StartTimes:
    """What is known of how pods start.

    Attributes:
        usual_s: Seconds from a new pod to ready, measured or the spec's.
        cold_start_s: Measured seconds from a new pod to ready; None before the first.
        launch_s: Longest of the recent waits for a node; None before the first.
        rejected: Pods that failed before they were ever ready, in all; never falls.
        parts: What is usual of each part of a cold start; None before the first.
    """

    usual_s: float
    cold_start_s: float | None = None
    launch_s: float | None = None
    rejected: int = 0
    parts: ColdStart | None = None


def _recent() -> deque[Any]:
    return deque(maxlen=COLD_STARTS)


@dataclass(slots=True)
class StartHistory:
    """Measured starts of one DetectionQueue's pods.

    Attributes:
        since_s: Wall time at which this process took over; None before its first reconcile.
        cold_starts: The parts of recent cold starts, newest last.
        launches: Seconds from unschedulable to a node, newest last.
        rejected: Pods that failed before they were ever ready, in all.
    """

    since_s: float | None = None
    cold_starts: deque[ColdStart] = field(default_factory=_recent)
    launches: deque[float] = field(default_factory=_recent)
    rejected: int = 0
    _measured: set[str] = field(default_factory=set)
    _failed: set[str] = field(default_factory=set)

    @property
    def cold_start_s(self) -> float | None:
        """What is usual of a whole cold start, in seconds; None before the first."""
        parts = usual(self.cold_starts)
        return None if parts is None else parts.total_s

    def measures(self, pod: PodView) -> bool:
        """Say whether a pod is ready whose cold start has not been measured so far."""
        return pod.ready and pod.uid not in self._measured

    def times(self, spec: QueueSpec) -> StartTimes:
        """Return what is known of how pods start."""
        measured_s = self.cold_start_s
        return StartTimes(
            usual_s=spec.service_time.cold_start_s if measured_s is None else measured_s,
            cold_start_s=measured_s,
            launch_s=max(self.launches, default=None),
            rejected=self.rejected,
            parts=usual(self.cold_starts),
        )

    def take_over(
        self, now_s: float, *, cold_start: ColdStart | None = None, launch_s: float | None = None
    ) -> None:
        """Begin in this process, with what the status still knew."""
        self.since_s = now_s
        if cold_start is not None:
            self.cold_starts.append(cold_start)
        if launch_s is not None:
            self.launches.append(min(launch_s, LAUNCH_MAX_S))

    def measure(self, worker: Worker, before: Worker | None, *, unschedulable_s: float) -> None:
        """Record the parts of a cold start, once for each pod, from its creation to ready.

        A longer wait for a node than a launch means that the cluster was full, and says nothing
        about the next start.

        Args:
            worker: The worker now; the events about its pulls are among ``events``, if any.
            before: The worker in the last reconcile; None if it is new.
            unschedulable_s: Longest wait for a node that counts as a launch.
        """
        pod = worker.pod
        self._measure_launch(pod, before)
        if pod.ready_s is None or not self.measures(pod):
            return
        self._measured.add(pod.uid)
        # A pod that was ready long before may have failed its probe since then.
        if self.cold_starts and pod.ready_s < (self.since_s or pod.ready_s):
            return
        node_s = pod.created_s if pod.scheduled_s is None else pod.scheduled_s
        launch_s, rest_s = node_s - pod.created_s, pod.ready_s - node_s
        if launch_s > unschedulable_s:
            launch_s = 0.0
        pulled_s = pull_s(worker.events)
        if pulled_s is None:
            # Without the kubelet's event the time until containers run stands for it.
            pulled_s = 0.0 if pod.begun_s is None else pod.begun_s - node_s
        pulled_s = min(max(0.0, pulled_s), rest_s)
        if launch_s >= 0.0 and rest_s >= 0.0:
            self.cold_starts.append(
                ColdStart(launch_s=launch_s, pull_s=pulled_s, start_s=rest_s - pulled_s)
            )

    def _measure_launch(self, pod: PodView, before: Worker | None) -> None:
        """Record how long a pod waited that was unschedulable and has a node now."""
        since_s = before.pod.unschedulable_since_s if before is not None else None
        if since_s is not None and pod.scheduled_s is not None and pod.scheduled_s >= since_s:
            self.launches.append(min(pod.scheduled_s - since_s, LAUNCH_MAX_S))

    def count_failed(self, pods: Iterable[FailedPod]) -> None:
        """Count the pods that failed since the last reconcile before they were ever ready."""
        before, self._failed = self._failed, set()
        for pod in pods:
            self._failed.add(pod.uid)
            # An earlier process counted what failed in its time.
            is_new = pod.uid not in before and pod.at_s >= int(self.since_s or 0.0)
            self.rejected += is_new and not pod.was_ready

    def retain(self, uids: Iterable[str]) -> None:
        """Forget pods that are gone."""
        self._measured.intersection_update(uids)
