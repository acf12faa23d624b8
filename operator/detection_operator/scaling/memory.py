"""What one decision keeps for the next: small, and values only.

An empty memory is a safe start: the first decisions hold what runs.
"""

import dataclasses
from dataclasses import dataclass

from detection_operator.scaling.estimates.state import MAX_GAP_S, NOTHING_ESTIMATED, EstimatorState


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanHistory:
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
        estimators: What observations taught.
        history: What earlier plans said.
    """

    estimators: EstimatorState = NOTHING_ESTIMATED
    history: PlanHistory = PlanHistory()


def rebased(memory: Memory, now_s: float) -> Memory:
    """Return ``memory`` with its times moved so that the last decision was just now.

    For a clock that jumped: everything keeps its age, so that no hold ends and no idle time
    passes by the jump. The estimates of rates start over. Nothing scales in on a jump.
    """
    state, history = memory.estimators, memory.history
    if state.now_s is None or 0.0 <= now_s - state.now_s <= MAX_GAP_S:
        return memory
    by_s = now_s - state.now_s
    return Memory(
        estimators=dataclasses.replace(
            state,
            now_s=now_s,
            sampled_at_s=None,
            arrivals=None,
            recent_load=state.recent_load.moved(by_s),
            depth_since_s=_moved(state.depth_since_s, by_s),
            queue_age=None if state.queue_age is None else state.queue_age.moved(by_s),
            dead_letters=state.dead_letters.moved(by_s),
            idle_since_s=_moved(state.idle_since_s, by_s),
            packed_since_s=_moved(state.packed_since_s, by_s),
            down=None,
            up=None,
            capacity=state.capacity.moved(by_s),
            pod_starts=state.pod_starts.moved(by_s),
            stuck_since_s=_moved(state.stuck_since_s, by_s),
            unread_since_s=_moved(state.unread_since_s, by_s),
        ),
        history=dataclasses.replace(
            history,
            needed=tuple((now_s, count) for _, count in history.needed[:1]),
            added_at_s=_moved(history.added_at_s, by_s),
        ),
    )


def _moved(time_s: float | None, by_s: float) -> float | None:
    return None if time_s is None else time_s + by_s
