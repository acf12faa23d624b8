"""How many pods the cluster has room for: what waits for a node goes on waiting, little is added.

A pod that waits costs nothing, and it is what an autoscaler starts a node for and what keeps that
node: withdrawn, the node arrives empty and goes again. So nothing is withdrawn for a lack of room.
More is asked for only now and then, with growing pauses, until nodes come.
"""

from dataclasses import dataclass, replace
from typing import Final

from detection_operator.scaling.observation import Observation
from detection_operator.spec.queue_spec import Capacity

PROMISE_S: Final = 900.0
"""An autoscaler's word that a node is on its way is good for so long: the default of the Cluster
Autoscaler's ``--max-node-provision-time``."""
LAUNCH_MARGIN: Final = 1.5
"""A node may take so many times as long as the slowest of late."""


@dataclass(frozen=True, slots=True)
class ClusterCapacity:
    """What is known of the cluster's room.

    Attributes:
        blocked_since_s: Since when there has been none; None: as far as known there is.
        backoff_s: Length of the present pause.
        retry_at_s: When the pause ends; None without one.
        placed: Pods that had a node at the last look.
        probe: Pods that the last probe added, or the next one will.
        added: Pods that may be asked for now beyond those that are.
        why: The resource that was missing last.
        said: What the scheduler or an autoscaler last said of it.
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
        """Return the same room on a clock that jumped by ``by_s``."""
        since, retry = self.blocked_since_s, self.retry_at_s
        return replace(
            self,
            blocked_since_s=None if since is None else since + by_s,
            retry_at_s=None if retry is None else retry + by_s,
        )


OPEN = ClusterCapacity()


def patience_s(seen: Observation, limits: Capacity) -> float:
    """Return how long a pod may wait for a node before that means: no room."""
    return max(float(limits.unschedulable_s), LAUNCH_MARGIN * (seen.launch_s or 0.0))


def learn(
    room: ClusterCapacity, seen: Observation, *, limits: Capacity, wanted: int, now_s: float
) -> ClusterCapacity:
    """Return what is known after another look at the pods.

    Args:
        room: What was known.
        seen: The pods now.
        limits: How patient to be.
        wanted: Replicas that the last decision needed.
        now_s: The present.
    """
    stuck = _is_stuck(seen, limits, now_s)
    first_s = float(min(limits.unschedulable_s, limits.max_backoff_s))
    if room.blocked_since_s is None or room.retry_at_s is None:
        if not stuck:
            return OPEN
        since_s = seen.unschedulable_since_s
        known = ClusterCapacity(
            since_s, first_s, now_s + first_s, seen.placed, limits.probe_replicas
        )
        return _told(known, seen)
    came, due = seen.placed > room.placed, now_s >= room.retry_at_s
    # An autoscaler adds nodes, or all that is needed has one.
    launching = seen.launching > 0 and not stuck
    if launching or ((came or due) and not seen.unschedulable and wanted <= seen.placed):
        return OPEN
    known = replace(_told(room, seen), placed=seen.placed, added=0)
    if came:
        more = 2 * room.probe
        return replace(
            known, backoff_s=first_s, retry_at_s=now_s + first_s, probe=more, added=more
        )
    if due:
        longer_s, more = (
            min(2.0 * room.backoff_s, float(limits.max_backoff_s)),
            limits.probe_replicas,
        )
        return replace(
            known, backoff_s=longer_s, retry_at_s=now_s + longer_s, probe=more, added=more
        )
    return known


def cap(room: ClusterCapacity, seen: Observation) -> int | None:
    """Return the most replicas worth asking for, never fewer than are; None: no limit known."""
    if room.blocked_since_s is None:
        return None
    return max(seen.replicas, seen.placed) + room.added


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


def _told(room: ClusterCapacity, seen: Observation) -> ClusterCapacity:
    """Return the room with the newest words; nobody says anything while no pod waits."""
    if not seen.unschedulable:
        return room
    return replace(
        room,
        why=seen.unschedulable_why or room.why,
        said=seen.unschedulable_said or room.said,
    )
