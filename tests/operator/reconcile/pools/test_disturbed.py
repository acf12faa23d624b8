"""Whatever goes wrong while queues share a pool: nothing is lost, and the end is right."""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from detection_operator.kube.port import Key
from detection_operator.kube.store import DEPLOYMENT, POD, POOL
from detection_testing.scenes.disturbances import (
    DISTURBANCES,
    Disturbance,
    watches_are_late,
    watches_fail,
)
from detection_testing.scenes.shared_stage import SharedStage
from detection_testing.scenes.world import MINIMAL

MakeStage = Callable[[], SharedStage]
CAPACITY = 4
LASTS_S = 7
MOMENTS = (0, 4)
"""When a pool or a queue has just changed, and when the first workers drain or start."""
REST_S = 40
"""Longer than a status of a pool may be old."""
CHOSEN = (
    "API server restarts",
    "operator killed",
    "slow lists",
    "watch gap all",
    "late watch all",
    "webhook scale",
    "webhook annotate_pod",
    "overload",
    "conflict scale",
    "nodes full",
    "queue unreadable",
    "workers silent",
)


@pytest.fixture
def stage_type() -> type[SharedStage]:
    return SharedStage


def spec(priority: int = 0) -> dict[str, Any]:
    made = copy.deepcopy(dict(MINIMAL))
    made["queue"] = {"pollIntervalSeconds": 1}
    made["serviceTime"] = {
        "coldStartSeconds": 2,
        "priors": [{"mediaType": "video", "seconds": 10}],
    }
    made["slo"] = {"queueWaitSeconds": 30}
    made["scaling"] = {
        "maxReplicas": 6,
        "scaleDown": {"holdSeconds": 1, "maxPercent": 100},
        "idle": {"policy": "Fixed", "fixedSeconds": 1},
        "pool": {"name": "gpu", "priority": priority},
    }
    return made


def of_pool(stage: SharedStage) -> Key:
    return stage.create_pool("gpu", {"replicas": CAPACITY})


def busy(stage: SharedStage) -> Key:
    """Let one queue have all of a pool, and work."""
    pool = of_pool(stage)
    bulk = stage.add("bulk", spec(), service_s=5.0)
    stage.add("urgent", spec(100), service_s=5.0)
    bulk.queue.visible = 20
    assert stage.run(60, until=lambda: len(bulk.workers.workers) == CAPACITY)
    return pool


def contention(stage: SharedStage) -> tuple[Key | None, int, int]:
    """Let an urgent queue want what another has."""
    pool = busy(stage)
    stage.sides["urgent"].queue.visible = 12
    return pool, 32, CAPACITY


def appearance(stage: SharedStage) -> tuple[Key | None, int, int]:
    """Let a pool come of which two queues speak already; they have more than it."""
    for name, priority in (("bulk", 0), ("urgent", 100)):
        stage.add(name, spec(priority), service_s=5.0).queue.visible = 12
    stage.run(5)
    return of_pool(stage), 24, CAPACITY


def shrinkage(stage: SharedStage) -> tuple[Key | None, int, int]:
    """Let half of a pool go while all of it works."""
    pool = busy(stage)
    stage.edit_queue(pool, lambda obj: obj["spec"]["capacity"].update(replicas=CAPACITY // 2))
    return pool, 20, CAPACITY


def deletion(stage: SharedStage) -> tuple[Key | None, int, int]:
    """Let a pool go of which another queue wants a part: that one may have one replica."""
    pool = busy(stage)
    stage.cluster.delete((POOL, pool.namespace, pool.name))
    stage.touch()
    stage.sides["urgent"].queue.visible = 6
    return None, 26, CAPACITY + 1


def disturbances() -> Iterator[Any]:
    for name in CHOSEN:
        yield pytest.param(DISTURBANCES[name], id=name)
    yield pytest.param(lambda stage: watches_fail(stage, POOL), id="watch gap WorkerPool")
    yield pytest.param(lambda stage: watches_are_late(stage, POOL), id="late watch WorkerPool")


def at_rest(stage: SharedStage) -> bool:
    waiting = any(queue.visible or queue.in_flight for queue, _ in stage.loads)
    return not (waiting or stage.replicas or stage.cluster.of_kind(POD))


def written(stage: SharedStage) -> dict[str, int]:
    return {kind: stage.cluster.writes[kind] for kind in (DEPLOYMENT, "Scale", "Pod")}


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("life", [contention, appearance, shrinkage, deletion])
@pytest.mark.parametrize("disturbance", list(disturbances()))
def test_whatever_comes_between_a_pool_is_never_exceeded_and_the_end_is_right(
    make_stage: MakeStage,
    disturbance: Disturbance,
    life: Callable[[SharedStage], tuple[Key | None, int, int]],
    moment: int,
) -> None:
    stage = make_stage()
    pool, messages, most = life(stage)
    stage.run(moment)

    with disturbance(stage):
        stage.run(LASTS_S)

    assert stage.run(400, until=lambda: at_rest(stage)), stage.sides
    assert stage.lost_by_operators() == []
    assert stage.most_pods <= most
    assert sum(workers.finished for _, workers in stage.loads) == messages
    before = written(stage)
    stage.run(REST_S)
    assert at_rest(stage)
    assert written(stage) == before
    for side in stage.sides.values():
        assert stage.status(side.key)["desiredReplicas"] == 0
        reason = "PoolNotFound" if pool is None else "Shared"
        assert stage.condition(side.key, "PoolAvailable")["reason"] == reason
    if pool is not None:
        status = stage.status(pool)
        assert (status["granted"], status["held"], status["wanted"]) == (0, 0, 0)
        assert {item["status"] for item in status["conditions"]} == {"True"}
