"""Simulated nodes and workers: what a pod does from its deletion to its end."""

import copy
from typing import Any

from detection_testing.kubernetes.controllers import Nodes
from detection_testing.scenes.fakes import FakeQueue, FakeWorkers
from detection_testing.scenes.fleet import Fleet
from detection_testing.scenes.world import MINIMAL


def started(messages: int, **nodes: float) -> tuple[Fleet, Nodes]:
    fleet = Fleet()
    assert isinstance(fleet.nodes, Nodes)
    for name, seconds in nodes.items():
        setattr(fleet.nodes, name, seconds)
    spec: dict[str, Any] = copy.deepcopy(dict(MINIMAL))
    fleet.add("video", spec, service_s=60.0).queue.visible = messages
    assert fleet.run(10, until=lambda: bool(fleet.cluster.of_kind("Pod")))
    return fleet, fleet.nodes


def remove_all(fleet: Fleet) -> None:
    fleet.kill()
    for item in fleet.cluster.of_kind("Deployment"):
        fleet.cluster.scale_by("kubectl", "default", item["metadata"]["name"], 0)


def test_a_pod_that_was_deleted_before_it_is_ready_never_takes_a_message() -> None:
    fleet, _ = started(1, ready_after_s=3.0, ends_after_s=20.0)
    remove_all(fleet)

    fleet.run(15)

    assert len(fleet.cluster.of_kind("Pod")) == 1
    assert (fleet.sides["video"].queue.visible, fleet.lost) == (1, [])


def test_a_pod_that_holds_a_message_when_it_is_deleted_counts_once_and_takes_no_more() -> None:
    fleet, _ = started(2, ends_after_s=100.0)
    queue, workers = fleet.sides["video"].queue, fleet.sides["video"].workers
    assert fleet.run(10, until=lambda: queue.in_flight > 0)
    busy = len(workers.workers)
    remove_all(fleet)

    fleet.run(90)
    assert (len(fleet.lost), workers.finished, queue.in_flight) == (busy, busy, 0)
    fleet.run(20)
    assert (len(fleet.lost), workers.workers) == (busy, {})


def test_deployments_are_followed_late_by_slow_controllers() -> None:
    fleet, nodes = started(1, acts_after_s=4.0)
    remove_all(fleet)

    fleet.run(3)
    assert nodes.removed == []
    fleet.run(3)
    assert len(nodes.removed) == 1


def test_a_worker_answers_while_it_loads_and_takes_nothing() -> None:
    queue = FakeQueue(visible=1)
    workers = FakeWorkers(queue)

    workers.follow([], loading=["a"])
    workers.work(1.0)
    assert (list(workers.workers), queue.visible) == (["a"], 1)

    workers.follow(["a"])
    workers.work(1.0)
    assert queue.visible == 0
