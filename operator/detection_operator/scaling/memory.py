"""What one decision leaves for the next: small, and nothing but values.

An empty memory is a safe start: the first decisions hold what runs.
"""

import dataclasses
from dataclasses import dataclass

from detection_operator.scaling.estimates.state import MAX_GAP_S, NOTHING_LEARNED, Learned


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

    learned: Learned = NOTHING_LEARNED
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
