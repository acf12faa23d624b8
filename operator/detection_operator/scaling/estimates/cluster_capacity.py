"""How many pods the cluster takes: pending pods stay pending, few are added.

A pending pod costs nothing, and it is what an autoscaler launches a node for and what keeps that
node: deleted, the node arrives empty and is removed again. So no pod is deleted for a lack of
capacity. More are created only as probes, with growing pauses, until nodes come.
"""

from dataclasses import dataclass, replace
from typing import Final

from detection_operator.scaling.observation import Observation
from detection_operator.spec.queue_spec import Capacity

PROMISE_S: Final = 900.0
"""How long an autoscaler's announcement of a node is believed: the default of the Cluster
Autoscaler's ``--max-node-provision-time``."""
LAUNCH_MARGIN: Final = 1.5
"""A node may take this many times as long as the slowest recent launch."""


@dataclass(frozen=True, slots=True)
class ClusterCapacity:
    """Whether the cluster takes more pods.

    Attributes:
        blocked_since_s: Since when it is full; None: as far as known it is not.
        backoff_s: Length of the current pause.
        retry_at_s: When the pause ends; None without one.
        placed: Pods that had a node at the last observation.
        probe: Pods that the last probe added, or the next one will.
        added: Pods that may be created now beyond those that exist.
        why: The resource that was missing last, such as ``nvidia.com/gpu``.
        said: The last event of the scheduler or an autoscaler about it.
    """

    blocked_since_s: float | None = None
    backoff_s: float = 0.0
    retry_at_s: float | None = None
    placed: int = 0
    probe: int = 0
    added: int = 0
    why: str = ""
    said: str = ""

    def moved(self, by_s: float) -> "ClusterCapacity":
        """Return the same on a clock that jumped by ``by_s``."""
        since, retry = self.blocked_since_s, self.retry_at_s
        return replace(
            self,
            blocked_since_s=None if since is None else since + by_s,
            retry_at_s=None if retry is None else retry + by_s,
        )


OPEN = ClusterCapacity()


def patience_s(seen: Observation, limits: Capacity) -> float:
    """Return how long a pod may be unschedulable before the cluster counts as full."""
    return max(float(limits.unschedulable_s), LAUNCH_MARGIN * (seen.launch_s or 0.0))


def learn(
    known: ClusterCapacity, seen: Observation, *, limits: Capacity, wanted: int, now_s: float
) -> ClusterCapacity:
    """Return what is known after another observation of the pods.

    Args:
        known: What was known.
        seen: The pods now.
        limits: The spec's patience.
        wanted: Replicas that the last decision needed.
        now_s: Time of the observation.
    """
    stuck = _is_stuck(seen, limits, now_s)
    first_s = float(min(limits.unschedulable_s, limits.max_backoff_s))
    if known.blocked_since_s is None or known.retry_at_s is None:
        if not stuck:
            return OPEN
        since_s = seen.unschedulable_since_s
        known = ClusterCapacity(
            since_s, first_s, now_s + first_s, seen.placed, limits.probe_replicas
        )
        return _told(known, seen)
    came, due = seen.placed > known.placed, now_s >= known.retry_at_s
    # An autoscaler adds nodes, or all that is needed has one.
    launching = seen.launching > 0 and not stuck
    if launching or ((came or due) and not seen.unschedulable and wanted <= seen.placed):
        return OPEN
    known = replace(_told(known, seen), placed=seen.placed, added=0)
    if came:
        more = 2 * known.probe
        return replace(
            known, backoff_s=first_s, retry_at_s=now_s + first_s, probe=more, added=more
        )
    if due:
        longer_s, more = (
            min(2.0 * known.backoff_s, float(limits.max_backoff_s)),
            limits.probe_replicas,
        )
        return replace(
            known, backoff_s=longer_s, retry_at_s=now_s + longer_s, probe=more, added=more
        )
    return known


def cap(known: ClusterCapacity, seen: Observation) -> int | None:
    """Return the most replicas worth requesting, never fewer than exist; None: no limit known.

    Substitutes of departing ones are requested: only a pending pod brings a node.
    """
    if known.blocked_since_s is None:
        return None
    return max(seen.replicas, seen.placed) + seen.departing + known.added


def is_waiting_in_vain(known: ClusterCapacity, seen: Observation) -> bool:
    """Say whether pods wait for a node that does not come, as far as can be known."""
    return known.blocked_since_s is not None and seen.unschedulable > seen.launching


def _is_stuck(seen: Observation, limits: Capacity, now_s: float) -> bool:
    """Say whether pods wait for a node that is not on its way, as far as can be known."""
    since_s = seen.unschedulable_since_s
    if not seen.unschedulable or since_s is None:
        return False
    if seen.hopeless or seen.launching >= seen.unschedulable:
        return seen.hopeless > 0
    if seen.unpromised_since_s is not None:
        since_s = seen.unpromised_since_s
    return now_s - since_s >= patience_s(seen, limits)


def _told(known: ClusterCapacity, seen: Observation) -> ClusterCapacity:
    """Return ``known`` with the newest events; there are none while no pod is unschedulable."""
    if not seen.unschedulable:
        return known
    return replace(
        known,
        why=seen.unschedulable_why or known.why,
        said=seen.unschedulable_said or known.said,
    )
