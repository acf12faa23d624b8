"""Nodes that are cordoned, interrupted, removed or lost under the workers."""

import copy
from collections.abc import Callable
from typing import Any

import pytest

from detection_operator.kube.port import Key
from detection_testing.scenes.hosts import DISRUPTED, INTERRUPTED, Hosts
from detection_testing.scenes.world import MINIMAL, World

MakeWorld = Callable[[], World]


def spec(**scaling: Any) -> dict[str, Any]:
    made = copy.deepcopy(dict(MINIMAL))
    made["scaling"] = {**made["scaling"], **scaling}
    return made


def working(world: World, workers: int, *, spare: int) -> tuple[Hosts, Key]:
    """Let so many workers run and be busy, with spare nodes beside theirs."""
    hosts = Hosts(world, workers + spare)
    key = world.create_queue("video", spec(minReplicas=workers, maxReplicas=workers))
    world.queue.visible = 30 * workers
    assert world.run(60, until=lambda: len(hosts.busy()) == workers)
    return hosts, key


def drained(world: World) -> int:
    return sum(worker.draining for worker in world.workers.workers.values())


def test_a_busy_worker_on_a_cordoned_node_finishes_after_its_replacement_was_asked_for(
    make_world: MakeWorld,
) -> None:
    world = make_world()
    hosts, key = working(world, 2, spare=1)
    [first, second] = sorted(hosts.busy())

    hosts.cordon(first)
    world.step()

    assert world.replicas == 3
    assert world.run(60, until=lambda: hosts.used() == {second, "host-2"})
    assert world.replicas == 2
    world.step()
    assert world.status(key)["replicas"] == 2
    assert world.run(600, until=lambda: not world.queue.visible + world.queue.in_flight)
    assert (world.lost, world.errors) == ([], [])


def test_the_status_says_which_nodes_are_going(make_world: MakeWorld) -> None:
    world = make_world()
    hosts, key = working(world, 2, spare=0)

    hosts.cordon(sorted(hosts.busy())[0])
    world.run(3)

    capacity = world.condition(key, "CapacityAvailable")
    assert (capacity["status"], capacity["reason"]) == ("True", "Waiting")
    hosts.add("host-9")
    world.nodes.ready_after_s = None
    world.run(3)
    capacity = world.condition(key, "CapacityAvailable")
    assert (capacity["status"], capacity["reason"]) == ("True", "NodesLeaving")
    assert "host-0: it is cordoned" in capacity["message"]
    assert world.status(key)["replicas"] == 3


def test_workers_resume_when_their_node_is_uncordoned(make_world: MakeWorld) -> None:
    world = make_world()
    hosts, _ = working(world, 4, spare=0)
    hosts.cordon("host-0")
    assert world.run(20, until=lambda: drained(world) == 1)
    assert world.replicas == 5

    hosts.cordon("host-0", cordoned=False)

    assert world.run(20, until=lambda: world.replicas == 4 and drained(world) == 0)
    assert hosts.used() == {"host-0", "host-1", "host-2", "host-3"}
    assert world.lost == []


@pytest.mark.parametrize("key", [INTERRUPTED, DISRUPTED, "ToBeDeletedByClusterAutoscaler"])
def test_workers_on_nodes_that_end_within_minutes_all_drain_at_once(
    make_world: MakeWorld, key: str
) -> None:
    world = make_world()
    hosts, _ = working(world, 3, spare=3)

    hosts.taint(key, "host-0", "host-1", "host-2")
    world.step()

    assert world.replicas == 6
    assert drained(world) == 3
    # Long before the two minutes of a spot interruption.
    assert world.run(60, until=lambda: hosts.used() == {"host-3", "host-4", "host-5"})
    assert world.replicas == 3
    assert world.lost == []


def test_twenty_nodes_that_are_cordoned_at_once_are_left_in_turn() -> None:
    world = World()
    world.nodes.ready_after_s = 0.0
    hosts, key = working(world, 20, spare=20)
    world.nodes.ready_after_s = 30.0
    before = [f"host-{number}" for number in range(20)]

    hosts.cordon(*before)
    world.step()

    assert world.replicas == 40
    takers = []
    while not hosts.used().isdisjoint(before):
        world.step()
        takers.append(sum(not w.draining for w in world.workers.workers.values()))
        assert len(takers) < 300
    assert min(takers) >= 15
    assert world.run(20, until=lambda: world.replicas == 20)
    assert world.run(3600, until=lambda: not world.queue.visible + world.queue.in_flight)
    assert world.lost == []
    world.step()
    assert world.status(key)["replicas"] == 20


def test_twenty_nodes_that_are_interrupted_at_once_lose_nothing() -> None:
    world = World()
    hosts, _ = working(world, 20, spare=20)

    hosts.taint(INTERRUPTED, *(f"host-{number}" for number in range(20)))
    world.run(115)
    for number in range(20):
        hosts.end(f"host-{number}")
    world.run(3)

    assert world.replicas == 20
    assert world.lost == []
    assert world.run(3600, until=lambda: not world.queue.visible + world.queue.in_flight)


def test_the_only_worker_on_a_cordoned_node_works_until_its_replacement_is_ready() -> None:
    world = World()
    hosts, _ = working(world, 1, spare=1)
    world.nodes.ready_after_s = 30.0

    hosts.cordon("host-0")
    world.run(25)

    assert (world.replicas, drained(world)) == (2, 0)
    assert world.run(60, until=lambda: hosts.used() == {"host-1"})
    assert world.lost == []


def test_without_room_for_replacements_most_workers_on_cordoned_nodes_go_on() -> None:
    world = World()
    hosts, _ = working(world, 8, spare=0)

    hosts.cordon(*(f"host-{number}" for number in range(8)))
    world.run(400)

    assert drained(world) == 2
    assert world.replicas == 16
    assert len(hosts.used()) == 8


def test_a_node_that_ends_without_notice_costs_no_more_than_its_own_message(
    make_world: MakeWorld,
) -> None:
    world = make_world()
    hosts, _ = working(world, 2, spare=1)

    hosts.end("host-0")
    world.run(5)

    assert hosts.used() == {"host-1", "host-2"}
    assert len(world.lost) == 1
    assert world.run(900, until=lambda: not world.queue.visible + world.queue.in_flight)
    assert len(world.lost) == 1


def test_an_idle_queue_does_not_launch_a_node_for_one_that_goes_for_good(
    make_world: MakeWorld,
) -> None:
    world = make_world()
    hosts = Hosts(world, 2)
    world.create_queue("video", spec(idle={"policy": "Fixed", "fixedSeconds": 20}))
    world.queue.visible = 1
    assert world.run(60, until=lambda: bool(hosts.busy()))
    assert world.run(600, until=lambda: not hosts.busy() and world.replicas == 0)
    hosts.cordon("host-0", "host-1")
    world.run(30)

    assert world.replicas == 0


def test_nothing_scales_in_while_the_queue_cannot_be_read_and_a_node_goes() -> None:
    world = World()
    hosts, _ = working(world, 4, spare=4)
    world.edit_queue(world.keys[0], lambda q: q["spec"]["scaling"].update(minReplicas=0))
    world.queue.error = "Unreachable"  # type: ignore[assignment]
    hosts.taint(INTERRUPTED, "host-0", "host-1")

    assert world.run(60, until=lambda: {"host-4", "host-5"} <= hosts.used())

    world.run(30)
    assert world.replicas == 4
    assert world.lost == []


def test_an_operator_killed_at_any_second_of_a_node_s_drain_ends_it_all_the_same() -> None:
    for second in range(0, 30, 2):
        world = World()
        hosts, _ = working(world, 3, spare=3)
        hosts.taint(INTERRUPTED, "host-0", "host-1")
        world.run(second)
        world.kill()
        world.run(2)
        world.start()

        assert world.run(90, until=lambda: hosts.used() == {"host-2", "host-3", "host-4"})  # noqa: B023
        world.run(10)
        assert world.replicas == 3, second
        assert drained(world) == 0
        assert world.lost == []
