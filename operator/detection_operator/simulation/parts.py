"""Events, pods and messages of the simulator."""

from collections import deque
from dataclasses import dataclass, field
from enum import IntEnum

from detection_operator.scaling.pods import PodPhase, rank


class Event(IntEnum):
    """At equal times in this order: pods become free before the policy looks."""

    DONE = 0
    READY = 1
    ARRIVAL = 2
    RETURN = 3
    ROOM = 4
    LOOK = 5


@dataclass(slots=True, eq=False)
class Pod:
    """A simulated pod."""

    created_s: float
    placed_s: float | None = None
    ready: bool = False
    draining: bool = False
    gone: bool = False
    message: "Message | None" = None
    ahead: "deque[Message]" = field(default_factory=deque)


def rank_of(pod: Pod) -> tuple[int, int, float, str]:
    """Return what draining policies sort by: the operator's own order."""
    phase = PodPhase.READY if pod.ready else PodPhase.STARTING
    if pod.placed_s is None:
        phase = PodPhase.UNSCHEDULABLE
    return rank(phase, busy=pod.message is not None, created_s=pod.created_s, name="")


@dataclass(slots=True, eq=False)
class Message:
    """A simulated message."""

    sent_s: float
    service_s: float
    poison: bool
    receives: int = 0
