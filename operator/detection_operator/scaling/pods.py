"""Worker pods, and the one order of scale-in: for plans, for steps and for simulations."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class PodPhase(StrEnum):
    """Phase of a worker pod."""

    UNSCHEDULABLE = "Unschedulable"
    STARTING = "Starting"
    READY = "Ready"
    DRAINING = "Draining"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """One worker pod.

    Attributes:
        name: Name of the pod.
        phase: Its phase.
        created_s: When it was created.
        busy: It holds a message; None when it did not report.
    """

    name: str
    phase: PodPhase
    created_s: float
    busy: bool | None = False


_PHASES: Final = {
    PodPhase.UNSCHEDULABLE: 0,
    PodPhase.STARTING: 1,
    PodPhase.DRAINING: 2,
    PodPhase.READY: 3,
}
_WORK: Final = {False: 0, True: 1, None: 2}
"""A busy worker can be drained; one that does not report cannot even be asked to."""


def rank(
    phase: PodPhase, *, busy: bool | None, created_s: float, name: str
) -> tuple[int, int, float, str]:
    """Return the sort key of scale-in; lower goes first.

    First pods without a node, then starting, draining and ready ones; in each phase the idle
    before the busy before the silent; of these the newest. Draining pods count as removed already,
    even while they are busy.

    Args:
        phase: Phase of the pod.
        busy: It holds a message; None when it did not report.
        created_s: When it was created, in seconds on any clock that all pods share.
        name: Name of the pod, which makes the order total.
    """
    return (_PHASES[phase], _WORK[busy], -created_s, name)


def scale_in_candidates(pods: Iterable[Pod], count: int) -> tuple[str, ...]:
    """Return the names of the ``count`` pods that go first, in their order."""
    if count <= 0:
        return ()
    ordered = sorted(
        pods,
        key=lambda pod: rank(pod.phase, busy=pod.busy, created_s=pod.created_s, name=pod.name),
    )
    return tuple(pod.name for pod in ordered[:count])
