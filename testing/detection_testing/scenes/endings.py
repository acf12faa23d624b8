"""How a simulated cluster ends once no more messages come."""

import math
from collections.abc import Callable, Iterator

from detection_testing.scenes.world import World

SPARE_S = 600
"""Beside the work itself: for starts, holds, the ends of pods, a restart of the operator, and for
the last messages, which fewer replicas may do within the wait that the queue allows."""


def wrong_end(
    world: World,
    *,
    sent: int,
    replicas: int,
    step: Callable[[], object] | None = None,
    spare_s: int = SPARE_S,
) -> str:
    """Let all messages be done; say what is wrong then.

    Args:
        world: The cluster.
        sent: Messages that came to all queues since the start.
        replicas: How many of them may work at a time (>= 1). A cluster that is not empty once
            these would have done all that is left, and a spare time after it, ends wrong.
        step: Lets a second pass; None: as the cluster does.
        spare_s: That spare time (> 0).

    Returns:
        What is left, or how many messages were done instead; empty if nothing is wrong.
    """
    within_s = math.ceil(work_s(world) / replicas) + spare_s
    for _ in range(within_s):
        (step or world.step)()
        if not any(left(world)):
            break
    else:
        return f"after {within_s} s without new messages: {', '.join(left(world))}"
    finished = sum(workers.finished for _, workers in world.loads)
    return "" if finished == sent else f"{finished} messages were done, {sent} came"


def work_s(world: World) -> float:
    """Return the seconds in which one replica would do all that is left."""
    return sum(
        # Time passes in whole seconds, so a message takes them.
        (queue.visible + queue.in_flight) * math.ceil(workers.service_s) / workers.lanes
        for queue, workers in world.loads
    )


def left(world: World) -> Iterator[str]:
    """Yield what a cluster at rest has none of, the messages first: the rest costs reads."""
    counts: dict[str, Callable[[], int]] = {
        "waiting messages": lambda: sum(queue.visible for queue, _ in world.loads),
        "messages in flight": lambda: sum(queue.in_flight for queue, _ in world.loads),
        "replicas": lambda: world.replicas,
        "pods": lambda: len(world.cluster.of_kind("Pod")),
    }
    for name, count in counts.items():
        if number := count():
            yield f"{number} {name}"
