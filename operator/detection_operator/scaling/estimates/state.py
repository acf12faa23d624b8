"""What the observations of one DetectionQueue taught so far. Values only."""

from dataclasses import dataclass
from typing import Final

from detection_operator.scaling.estimates.arrivals import Arrivals
from detection_operator.scaling.estimates.cluster_capacity import OPEN, ClusterCapacity
from detection_operator.scaling.estimates.dead_letters import UNSEEN, DeadLetters
from detection_operator.scaling.estimates.pod_starts import SOUND, PodStarts
from detection_operator.scaling.estimates.profile import UNKNOWN, Profile
from detection_operator.scaling.estimates.queue_age import QueueAgeEstimate
from detection_operator.scaling.estimates.recent_load import NO_LOAD, RecentLoad
from detection_operator.scaling.estimates.service_time import ServiceTimes

MAX_GAP_S: Final = 900.0
"""A longer silence between decisions is a stopped operator or a clock that jumped. The slowest
regular interval is 300 s."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failures:
    """Attempts of workers, older ones fading.

    Attributes:
        failed: Attempts that failed.
        served: Attempts that succeeded.
        dead: Messages that went to the dead-letter queue.
        seen: Totals at the last observation: failed, served, dead (-1 unknown).
    """

    failed: float = 0.0
    served: float = 0.0
    dead: float = 0.0
    seen: tuple[int, int, int] = (0, 0, -1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attainment:
    """How many messages came in time, by hour.

    Attributes:
        hours: ``(hour since the epoch, first receives, late ones)``, oldest first, 24 at most.
        seen: Totals at the last observation: received, late.
    """

    hours: tuple[tuple[int, int, int], ...] = ()
    seen: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class EstimatorState:
    """What the observations of one DetectionQueue taught.

    Attributes:
        now_s: Time of the last decision; None before the first.
        sampled_at_s: The newest reading that was learned from.
        arrivals: None before the first reading.
        profile: Messages by the time of day.
        recent_load: Arrivals of the last hour.
        dead: Messages seen to enter the dead-letter queue, in all.
        dead_letters: Depth of that queue above which messages are new.
        service: None before the first decision.
        failures: Attempts that failed and succeeded.
        attainment: Messages in time and late.
        confirmed: Readings in a row with enough messages to start a replica.
        depth_since_s: Since when messages wait; None while none do.
        queue_age: How long they have waited, at least; None while none do.
        idle_since_s: Since when there is nothing at all to do; None while there is.
        packed_since_s: Since when no worker that takes messages was seen idle; None while some is.
        gaps: Histogram of idle times, by ``idle.EDGES_S``.
        down: Start of the minute of scale-in and the most replicas in it.
        up: Start of the minute of scale-out and the fewest replicas in it.
        capacity: Whether the cluster takes more pods.
        pod_starts: Whether new pods start.
        stuck_since_s: Since when pods wait for a node without hope, or cannot be created; None
            while none do.
        day: Days since the epoch that ``replica_s`` counts.
        replica_s: Replica seconds of that day, without waits for a node.
        unread_since_s: Since when the queue cannot be read; None while it can.
    """

    now_s: float | None = None
    sampled_at_s: float | None = None
    arrivals: Arrivals | None = None
    profile: Profile = UNKNOWN
    recent_load: RecentLoad = NO_LOAD
    dead: int = 0
    dead_letters: DeadLetters = UNSEEN
    service: ServiceTimes | None = None
    failures: Failures = Failures()
    attainment: Attainment = Attainment()
    confirmed: int = 0
    depth_since_s: float | None = None
    queue_age: QueueAgeEstimate | None = None
    idle_since_s: float | None = None
    packed_since_s: float | None = None
    gaps: tuple[float, ...] = ()
    down: tuple[float, int] | None = None
    up: tuple[float, int] | None = None
    capacity: ClusterCapacity = OPEN
    pod_starts: PodStarts = SOUND
    stuck_since_s: float | None = None
    day: int = 0
    replica_s: float = 0.0
    unread_since_s: float | None = None


NOTHING_ESTIMATED: Final = EstimatorState()
"""Before the first observation."""
