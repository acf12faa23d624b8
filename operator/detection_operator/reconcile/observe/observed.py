"""What was observed of one DetectionQueue so far, kept between reconciles. Losing it is safe."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from detection_operator.readers.counters import Counters
from detection_operator.readers.values import QueueReading, WorkerState
from detection_operator.reconcile.observe.fleet import Group, Worker
from detection_operator.reconcile.observe.polling import PollSchedule
from detection_operator.reconcile.observe.restore import Restored
from detection_operator.reconcile.observe.starts import StartHistory

RECENT_S: Final = 60.0
"""Ages of messages that were received longer ago say nothing about the queue now."""
Sighting = tuple[str, int, float]
"""Another writer of replicas: its name, its number, and when that was first seen (monotonic)."""


@dataclass(slots=True)
class Observed:
    """Mutable; only the reconcile of its DetectionQueue touches it.

    Attributes:
        reading: The newest reading of the queue.
        poll: When the queue is read next.
        counters: Messages that workers received, finished and failed.
        starts: How long pods took to start.
        workers: Workers of the last reconcile that were not leaving, by uid.
        other_writers: Who else set the replicas, by Deployment.
        events_at_s: Monotonic time before which Kubernetes events are not read: reading them
            failed.
    """

    reading: QueueReading = field(default_factory=QueueReading)
    poll: PollSchedule = field(default_factory=PollSchedule)
    counters: Counters = field(default_factory=Counters)
    starts: StartHistory = field(default_factory=StartHistory)
    workers: dict[str, Worker] = field(default_factory=dict)
    other_writers: dict[str, Sighting] = field(default_factory=dict)
    events_at_s: float = float("-inf")
    _received: dict[str, tuple[int, float]] = field(default_factory=dict)

    def take_over(self, found: Restored | None, now_s: float) -> None:
        """Begin in this process, with what the status still knew; None: there was no status."""
        if found is None:
            self.starts.take_over(now_s)
            return
        self.counters.since_s = now_s
        self.starts.take_over(now_s, cold_start=found.cold_start, launch_s=found.launch_s)

    def note_state(self, uid: str, state: WorkerState, now_s: float) -> None:
        """Take in the answer of a worker."""
        self.counters.absorb(uid, state)
        before = self._received.get(uid)
        if before is None or before[0] != state.received:
            # When an old worker received its last message is unknown to a new process.
            at_s = now_s if before is not None or state.received == 0 else float("-inf")
            self._received[uid] = (state.received, at_s)

    def oldest_age_s(self, states: Mapping[str, WorkerState], now_s: float) -> float | None:
        """Return the longest wait among the messages that workers received recently."""
        ages = [
            state.received_age_s
            for uid, state in states.items()
            if state.received_age_s is not None
            and now_s - self._received.get(uid, (0, float("-inf")))[1] <= RECENT_S
        ]
        return max(ages, default=None)

    def note_pods(self, groups: Sequence[Group], *, unschedulable_s: float) -> tuple[Worker, ...]:
        """Take in the pods of this reconcile.

        Args:
            groups: The Deployments with their pods.
            unschedulable_s: Longest wait for a node that counts as the launch of one.

        Returns:
            The workers that held a message in the last reconcile and are gone or terminating.
        """
        leaving = {worker.pod.uid for item in groups for worker in item.leaving}
        present = {w.pod.uid: w for item in groups for w in (*item.workers, *item.leaving)}
        terminated = tuple(
            worker
            for uid, worker in self.workers.items()
            if worker.busy and (uid not in present or uid in leaving)
        )
        for uid, worker in present.items():
            self.starts.measure(worker, self.workers.get(uid), unschedulable_s=unschedulable_s)
        self.starts.count_failed(pod for item in groups for pod in item.failed)
        self.workers = {uid: w for uid, w in present.items() if uid not in leaving}
        self._retain(present.keys())
        return terminated

    def _retain(self, uids: Collection[str]) -> None:
        """Forget pods that are gone."""
        self.counters.retain(uids)
        self.starts.retain(uids)
        for uid in self._received.keys() - set(uids):
            del self._received[uid]
