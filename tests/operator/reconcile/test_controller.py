import threading
import time
from collections.abc import Callable

import pytest

from detection_operator.clock import SystemClock
from detection_operator.errors import cluster_error
from detection_operator.kube.port import Key
from detection_operator.reconcile.controller import (
    LONGEST_RECONCILE_S,
    QUIET_S,
    UNAVAILABLE_BACKOFF_S,
    Controller,
)
from detection_testing.kubernetes.cluster import InMemoryCluster
from detection_testing.scenes.fakes import FakeClock
from detection_testing.scenes.world import MINIMAL, World


def eventually(what: Callable[[], bool], seconds: float = 30.0) -> bool:
    end_s = time.monotonic() + seconds
    while time.monotonic() < end_s:
        if what():
            return True
        threading.Event().wait(0.01)
    return False


def controller(world: World, resync: Callable[[], list[Key]]) -> Controller:
    return Controller(
        world.operator(), SystemClock(), world.metrics, resync=resync, threads=2, resync_s=60.0
    )


def count(world: World, result: str) -> float:
    value = world.metrics.registry.get_sample_value(
        "detection_operator_reconciles_total", {"result": result}
    )
    return value or 0.0


def test_what_the_first_list_finds_is_reconciled() -> None:
    world = World()
    key = world.create_queue("video", MINIMAL)
    running = controller(world, lambda: [key])

    running.start()

    assert eventually(lambda: bool(world.cluster.of_kind("Deployment")))
    running.stop()
    assert running.is_alive()


def test_an_api_server_that_is_down_is_asked_again_later() -> None:
    world = World()
    key = world.create_queue("video", MINIMAL)
    world.cluster.fail("queue", cluster_error(503, "down"), cluster_error(429, "slow down"))
    failed = [cluster_error(0, "no answer")]

    def resync() -> list[Key]:
        if failed:
            raise failed.pop()
        return [key]

    running = controller(world, resync)
    running.start()

    assert eventually(lambda: count(world, "ok") >= 1)
    running.stop()
    assert count(world, "api_error") == 2


def test_a_bug_in_one_reconcile_does_not_stop_the_others() -> None:
    world = World()
    good = world.create_queue("good", MINIMAL)
    assert isinstance(world.cluster, InMemoryCluster)
    world.cluster.objects["DetectionQueue", "default", "bad"] = {"metadata": {}}
    running = controller(world, lambda: [Key("default", "bad"), good])

    running.start()

    assert eventually(lambda: count(world, "bug") >= 1 and count(world, "ok") >= 1)
    running.stop()


def test_a_controller_that_reconciled_nothing_for_three_resyncs_is_dead() -> None:
    world, clock = World(), FakeClock()
    stuck = Controller(
        world.operator(), clock, world.metrics, resync=list, threads=1, resync_s=100.0
    )

    clock.advance(299)
    assert stuck.is_alive()
    clock.advance(2)
    assert not stuck.is_alive()
    assert LONGEST_RECONCILE_S >= 60


def test_nothing_is_reconciled_before_everything_was_listed() -> None:
    world = World()
    key = world.create_queue("video", MINIMAL)
    began, arrives = threading.Event(), threading.Event()

    def resync() -> list[Key]:
        began.set()
        arrives.wait()
        return [key]

    running = controller(world, resync)
    running.start()
    assert began.wait(30)
    running.add(key)

    assert not eventually(lambda: bool(world.records), seconds=1.0)
    arrives.set()
    assert eventually(lambda: bool(world.records))
    running.stop()


def test_a_resync_that_is_asked_for_comes_once_nobody_asks_any_more() -> None:
    world = World()
    resyncs: list[float] = []

    def resync() -> list[Key]:
        resyncs.append(time.monotonic())
        return []

    running = controller(world, resync)
    running.start()
    assert eventually(lambda: len(resyncs) == 1)

    for _ in range(10):
        running.resync_soon()
        time.sleep(0.05)
    asked_s = time.monotonic()

    assert eventually(lambda: len(resyncs) == 2)
    assert resyncs[1] > asked_s
    assert not eventually(lambda: len(resyncs) > 2, seconds=QUIET_S + 0.5)
    running.stop()


def test_a_controller_that_never_listed_ends() -> None:
    world = World()
    running = controller(world, lambda: raising(cluster_error(403, "forbidden")))

    running.start()
    running.add(Key("default", "video"))
    running.stop()

    assert not [t for t in threading.enumerate() if t.name.startswith(("reconcile-", "resync"))]


def raising(error: Exception) -> list[Key]:
    raise error


@pytest.mark.slow
def test_an_api_server_that_is_back_is_noticed_within_seconds_by_all() -> None:
    world = World()
    keys = [world.create_queue(name, MINIMAL) for name in ("a", "b", "c")]
    world.cluster.fail("queue", *[cluster_error(0, "no answer")] * 18)
    running = controller(world, lambda: keys)

    running.start()
    assert eventually(lambda: count(world, "api_error") == 18, seconds=60)
    start_s = time.monotonic()

    assert eventually(lambda: len(world.cluster.of_kind("Deployment")) == 3, seconds=60)
    # Other errors would be 16 to 32 s of backoff by now.
    assert time.monotonic() - start_s <= UNAVAILABLE_BACKOFF_S + 5.0
    running.stop()
