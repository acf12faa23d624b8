"""How many pods the cluster has room for: back off when there is none, probe, double on success.

Asking again and again for nodes that do not exist has a price for the whole cluster, so pods
that found no room are withdrawn for a while, and the pauses double.
"""

from dataclasses import dataclass, replace

from detection_operator.scaling.values import Observation
from detection_operator.spec.queue_spec import Capacity


@dataclass(frozen=True, slots=True)
class Room:
    """What is known of the cluster's room.

    Attributes:
        blocked_since_s: Since when there has been none; None: as far as known there is.
        backoff_s: Length of the present pause.
        retry_at_s: When the pause ends; None while a probe runs.
        placed: Pods that had a node when the probe started.
        probe: Pods that the probe asks for beyond these.
    """

    blocked_since_s: float | None = None
    backoff_s: float = 0.0
    retry_at_s: float | None = None
    placed: int = 0
    probe: int = 0

    def moved(self, by_s: float) -> "Room":
        """Return the same room on a clock that jumped by ``by_s``."""
        since, retry = self.blocked_since_s, self.retry_at_s
        return replace(
            self,
            blocked_since_s=None if since is None else since + by_s,
            retry_at_s=None if retry is None else retry + by_s,
        )


OPEN = Room()


def learn(room: Room, seen: Observation, *, limits: Capacity, wanted: int, now_s: float) -> Room:
    """Return what is known after another look at the pods.

    Args:
        room: What was known.
        seen: The pods now.
        limits: How patient to be.
        wanted: Replicas that the last decision needed.
        now_s: The present.
    """
    since_s = seen.unschedulable_since_s
    stuck = bool(seen.unschedulable) and since_s is not None
    stuck = stuck and now_s - (since_s or 0.0) >= limits.unschedulable_s
    if room.blocked_since_s is None:
        first_s = _first_pause_s(limits)
        return Room(since_s, first_s, now_s + first_s) if stuck else room
    if room.retry_at_s is None:
        return _probed(
            room, seen, limits=limits, wanted=wanted, stuck_at_s=now_s if stuck else None
        )
    if now_s < room.retry_at_s:
        return room
    return Room(room.blocked_since_s, room.backoff_s, None, _placed(seen), limits.probe_replicas)


def _probed(
    room: Room, seen: Observation, *, limits: Capacity, wanted: int, stuck_at_s: float | None
) -> Room:
    """Return what a running probe has shown; ``stuck_at_s`` is the present when it failed."""
    placed = _placed(seen)
    if stuck_at_s is not None:
        longer_s = min(2.0 * room.backoff_s, float(limits.max_backoff_s))
        return Room(room.blocked_since_s, longer_s, stuck_at_s + longer_s)
    if wanted <= placed:
        return OPEN
    if placed >= room.placed + room.probe:
        return Room(room.blocked_since_s, _first_pause_s(limits), None, placed, 2 * room.probe)
    return room


def _placed(seen: Observation) -> int:
    return seen.ready + seen.starting + seen.draining


def _first_pause_s(limits: Capacity) -> float:
    return float(min(limits.unschedulable_s, limits.max_backoff_s))


def cap(room: Room, seen: Observation) -> int | None:
    """Return the most replicas worth asking for; None: no limit known."""
    if room.blocked_since_s is None:
        return None
    if room.retry_at_s is None:
        return room.placed + room.probe
    return _placed(seen)
