"""Whether a simulated cluster ends well: in the time that its work takes, with nothing left."""

import copy
from typing import Any

import pytest

from detection_operator.kube.port import Key
from detection_testing.scenes.endings import left, work_s, wrong_end
from detection_testing.scenes.fleet import Fleet
from detection_testing.scenes.world import MINIMAL, World

JOB_S = 19.5
SPARE_S = 40
QUEUES = ("bulk", "urgent")
CAPACITY = 2


def spec(priority: int) -> dict[str, Any]:
    made = copy.deepcopy(dict(MINIMAL))
    made["queue"] = {"pollIntervalSeconds": 1}
    made["slo"] = {"queueWaitSeconds": 20}
    made["scaling"] |= {
        "idle": {"policy": "Fixed", "fixedSeconds": 5},
        "scaleDown": {"holdSeconds": 5, "maxPercent": 100},
        "pool": {"name": "gpu", "priority": priority},
    }
    return made


def pooled(messages: int, *, capacity: int = CAPACITY) -> tuple[Fleet, Key]:
    """Return two queues of a pool, each with so many messages."""
    fleet = Fleet()
    pool = fleet.create_pool("gpu", {"replicas": capacity})
    for priority, name in enumerate(QUEUES):
        fleet.add(name, spec(priority), service_s=JOB_S).queue.visible = messages
    return fleet, pool


def ending(fleet: Fleet, messages: int) -> str:
    """Return what is wrong once as many replicas as the benchmark knows of had their time."""
    return wrong_end(fleet, sent=2 * messages, replicas=CAPACITY, spare_s=SPARE_S)


def test_a_small_pool_with_much_work_is_given_the_time_that_the_work_takes() -> None:
    fleet, _ = pooled(8)

    assert work_s(fleet) == 2 * 8 * 20
    assert ending(fleet, 8) == ""
    assert fleet.clock.monotonic > 2 * 8 * JOB_S / CAPACITY > 3 * SPARE_S
    assert list(left(fleet)) == []


def test_a_pool_that_leaves_capacity_unused_ends_wrong() -> None:
    fleet, _ = pooled(6, capacity=CAPACITY - 1)

    said = ending(fleet, 6)

    assert said.startswith("after 160 s without new messages: 4 waiting messages, ")


def test_what_a_dead_operator_leaves_is_named() -> None:
    fleet, _ = pooled(3)
    assert fleet.run(10, until=lambda: len(fleet.cluster.of_kind("Pod")) == CAPACITY)
    fleet.kill()

    said = ending(fleet, 3)

    assert said == "after 100 s without new messages: 3 waiting messages, 2 replicas, 2 pods"


@pytest.mark.parametrize(("lost", "done"), [(1, 5), (-1, 7)])
def test_a_message_that_is_done_never_or_twice_is_a_wrong_end(lost: int, done: int) -> None:
    fleet, _ = pooled(3)
    fleet.sides["bulk"].queue.visible -= lost

    assert ending(fleet, 3) == f"{done} messages were done, 6 came"


def test_a_pod_that_stays_is_a_wrong_end() -> None:
    fleet, _ = pooled(1)
    fleet.run(5)
    fleet.nodes.ends_after_s = 1e6  # type: ignore[union-attr]

    assert ending(fleet, 1).endswith(": 2 pods")


def test_a_world_of_one_queue_counts_the_messages_that_a_worker_holds_at_a_time() -> None:
    world = World()
    world.workers.lanes, world.workers.service_s = 4, 10.0
    world.queue.visible, world.queue.in_flight = 5, 3

    assert work_s(world) == 8 * 10.0 / 4
