"""What one decision leaves for the next: small, and nothing but values.

An empty memory is a safe start: the first decisions hold what runs.
"""

import dataclasses
from dataclasses import dataclass
from typing import Final

from detection_operator.scaling.arrivals import Arrivals
from detection_operator.scaling.capacity import OPEN, Room
from detection_operator.scaling.caution import CALM, Caution
from detection_operator.scaling.dead_letters import UNSEEN, DeadLetters
from detection_operator.scaling.service import ServiceTimes
from detection_operator.scaling.starts import SOUND, Starts
from detection_operator.scaling.waiting import Waiting

MAX_GAP_S: Final = 900.0
"""A longer silence between decisions is a stopped operator or a clock that jumped. The slowest
regular interval is 300 s."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failures:
    """Attempts of workers, older ones fading.

    Attributes:
        failed: That failed.
        served: That succeeded.
        dead: Messages that went to the dead-letter queue.
        seen: Totals when last looked at: failed, served, dead (-1 unknown).
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
        seen: Totals when last looked at: received, late.
    """

    hours: tuple[tuple[int, int, int], ...] = ()
    seen: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """What the observations of one DetectionQueue taught.

    Attributes:
        now_s: Time of the last decision; None before the first.
        sampled_at_s: The newest reading that was learned from.
        arrivals: None before the first reading.
        dead: Messages seen to enter the dead-letter queue, in all.
        dead_letters: What is known of its depth.
        service: None before the first decision.
        failures: Attempts that failed and succeeded.
        attainment: Messages in time and late.
        caution: How much is kept for bursts because of that.
        confirmed: Readings in a row with enough messages to start a replica.
        depth_since_s: Since when messages wait; None while none do.
        waiting: How long they do, at least; None while none do.
        idle_since_s: Since when there is nothing at all to do; None while there is.
        packed_since_s: Since when no worker that takes messages was seen idle; None while some is.
        gaps: Histogram of idle times, by ``idle.EDGES_S``.
        down: Start of the minute of scale-in and the most replicas in it.
        up: Start of the minute of scale-out and the fewest replicas in it.
        room: What is known of the cluster's room.
        starts: What is known of pods that do not start.
        day: Days since the epoch that ``replica_s`` counts.
        replica_s: Replica seconds of that day, without waits for a node.
        unread_since_s: Since when the queue cannot be read; None while it can.
    """

    now_s: float | None = None
    sampled_at_s: float | None = None
    arrivals: Arrivals | None = None
    dead: int = 0
    dead_letters: DeadLetters = UNSEEN
    service: ServiceTimes | None = None
    failures: Failures = Failures()
    attainment: Attainment = Attainment()
    caution: Caution = CALM
    confirmed: int = 0
    depth_since_s: float | None = None
    waiting: Waiting | None = None
    idle_since_s: float | None = None
    packed_since_s: float | None = None
    gaps: tuple[float, ...] = ()
    down: tuple[float, int] | None = None
    up: tuple[float, int] | None = None
    room: Room = OPEN
    starts: Starts = SOUND
    day: int = 0
    replica_s: float = 0.0
    unread_since_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Marks:
    """What earlier plans said.

    Attributes:
        needed: ``(last time it was needed, replicas)``, falling; for the hold.
        wanted: Replicas that the last decision needed, within maxReplicas and the budget.
        desired: Replicas of the last plan.
        added_at_s: When the plan last rose.
    """

    needed: tuple[tuple[float, int], ...] = ()
    wanted: int = 0
    desired: int | None = None
    added_at_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """State of one DetectionQueue between decisions.

    Attributes:
        learned: From observations.
        marks: From plans.
    """

    learned: Learned = Learned()
    marks: Marks = Marks()


def rebased(memory: Memory, now_s: float) -> Memory:
    """Return ``memory`` with its times moved so that the last decision was just now.

    For a clock that jumped: everything keeps its age, so that no hold ends and no idle time
    passes by the jump. The estimates of rates start anew. Nothing scales in on a jump.
    """
    learned, marks = memory.learned, memory.marks
    if learned.now_s is None or 0.0 <= now_s - learned.now_s <= MAX_GAP_S:
        return memory
    by_s = now_s - learned.now_s
    return Memory(
        learned=dataclasses.replace(
            learned,
            now_s=now_s,
            sampled_at_s=None,
            arrivals=None,
            depth_since_s=_moved(learned.depth_since_s, by_s),
            waiting=None if learned.waiting is None else learned.waiting.moved(by_s),
            dead_letters=learned.dead_letters.moved(by_s),
            idle_since_s=_moved(learned.idle_since_s, by_s),
            packed_since_s=_moved(learned.packed_since_s, by_s),
            down=None,
            up=None,
            room=learned.room.moved(by_s),
            starts=learned.starts.moved(by_s),
            unread_since_s=_moved(learned.unread_since_s, by_s),
            caution=dataclasses.replace(
                learned.caution, cold_at_s=_moved(learned.caution.cold_at_s, by_s)
            ),
        ),
        marks=dataclasses.replace(
            marks,
            needed=tuple((now_s, count) for _, count in marks.needed[:1]),
            added_at_s=_moved(marks.added_at_s, by_s),
        ),
    )


def _moved(time_s: float | None, by_s: float) -> float | None:
    return None if time_s is None else time_s + by_s
