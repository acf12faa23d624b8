"""How long worker pods take to start, measured from what is seen of them."""

import statistics
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from detection_operator.kube.pods.views import FailedPod, PodView
from detection_operator.reconcile.observe.fleet import Worker
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
    """

    usual_s: float
    cold_start_s: float | None = None
    launch_s: float | None = None
    rejected: int = 0


def _recent() -> deque[float]:
    return deque(maxlen=COLD_STARTS)


@dataclass(slots=True)
class StartHistory:
    """Measured starts of one DetectionQueue's pods.

    Attributes:
        since_s: Wall time at which this process took over; None before its first reconcile.
        cold_starts: Seconds from a new pod to ready, newest last.
        launches: Seconds from unschedulable to a node, newest last.
        rejected: Pods that failed before they were ever ready, in all.
    """

    since_s: float | None = None
    cold_starts: deque[float] = field(default_factory=_recent)
    launches: deque[float] = field(default_factory=_recent)
    rejected: int = 0
    _measured: set[str] = field(default_factory=set)
    _failed: set[str] = field(default_factory=set)

    @property
    def cold_start_s(self) -> float | None:
        """Median of the measured cold starts in seconds; None before the first."""
        return statistics.median(self.cold_starts) if self.cold_starts else None

    def times(self, spec: QueueSpec) -> StartTimes:
        """Return what is known of how pods start."""
        measured_s = self.cold_start_s
        return StartTimes(
            usual_s=spec.service_time.cold_start_s if measured_s is None else measured_s,
            cold_start_s=measured_s,
            launch_s=max(self.launches, default=None),
            rejected=self.rejected,
        )

    def take_over(
        self, now_s: float, *, cold_start_s: float | None = None, launch_s: float | None = None
    ) -> None:
        """Begin in this process, with what the status still knew."""
        self.since_s = now_s
        if cold_start_s is not None:
            self.cold_starts.append(cold_start_s)
        if launch_s is not None:
            self.launches.append(min(launch_s, LAUNCH_MAX_S))

    def measure(self, worker: Worker, before: Worker | None, *, unschedulable_s: float) -> None:
        """Record a cold start, once for each pod, from its creation to ready.

        The launch of a node for the pod counts as part of it. A longer wait for a node means that
        the cluster was full, and says nothing about the next start.

        Args:
            worker: The worker now.
            before: The worker in the last reconcile; None if it is new.
            unschedulable_s: Longest wait for a node that counts as a launch.
        """
        pod = worker.pod
        self._measure_launch(pod, before)
        if pod.ready_s is None or pod.uid in self._measured:
            return
        self._measured.add(pod.uid)
        # A pod that was ready long before may have failed its probe since then.
        if self.cold_starts and pod.ready_s < (self.since_s or pod.ready_s):
            return
        begun_s = pod.created_s
        if pod.scheduled_s is not None and pod.scheduled_s - pod.created_s > unschedulable_s:
            begun_s = pod.scheduled_s
        waited_s = pod.ready_s - begun_s
        if waited_s >= 0.0:
            self.cold_starts.append(waited_s)

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
