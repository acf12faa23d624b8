"""Which pods go first. Never a busy one."""

from collections.abc import Iterable
from typing import Final

from detection_operator.scaling.values import Pod, PodPhase

_ORDER: Final = {
    PodPhase.UNSCHEDULABLE: 0,
    PodPhase.STARTING: 1,
    PodPhase.DRAINING: 2,
    PodPhase.READY: 3,
}


def victims(pods: Iterable[Pod], count: int) -> tuple[str, ...]:
    """Return at most ``count`` names: without a node, starting, draining, idle; newest first.

    Draining pods already go, so they take a place in the list even when they are still busy: they
    will be idle soon and nobody else need go for them. Ready pods that are busy or did not report
    are never in it.
    """
    if count <= 0:
        return ()
    able = [pod for pod in pods if pod.phase is not PodPhase.READY or pod.busy is False]
    able.sort(key=lambda pod: (_ORDER[pod.phase], -pod.created_s, pod.name))
    return tuple(pod.name for pod in able[:count])
