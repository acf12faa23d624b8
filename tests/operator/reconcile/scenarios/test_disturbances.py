"""Everything that may go wrong, at every moment of a queue's life: the end is the same."""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from detection_operator.kube.port import Key
from detection_operator.kube.store import DEPLOYMENT, POD
from detection_testing.scenes.disturbances import DISTURBANCES, Disturbance
from detection_testing.scenes.stage import Stage
from detection_testing.scenes.world import MINIMAL

MakeStage = Callable[[], Stage]
LASTS_S = 7
MOMENTS = (0, 1, 3, 6, 10, 16)
ROLL_OUT_MOMENTS = (2, 20)
"""When the first new worker is about to be ready, and when the old ones are about to finish."""
REST_S = 20


def spec(fewest: int) -> dict[str, Any]:
    made = copy.deepcopy(dict(MINIMAL))
    made["queue"] = {**made["queue"], "pollIntervalSeconds": 1}
    made["serviceTime"] = {
        "coldStartSeconds": 2,
        "priors": [{"mediaType": "video", "seconds": 20}],
    }
    made["slo"] = {"queueWaitSeconds": 30}
    made["scaling"] = {
        "minReplicas": fewest,
        "maxReplicas": 6,
        "scaleDown": {"holdSeconds": 1, "maxPercent": 100},
        "idle": {"policy": "Fixed", "fixedSeconds": 1},
    }
    return made


def burst(stage: Stage) -> tuple[Key, int]:
    """Let messages come to a queue at rest."""
    key = stage.create_queue("video", spec(0))
    stage.run(3)
    stage.queue.visible = 12
    return key, 12


def scale_in(stage: Stage) -> tuple[Key, int]:
    """Let six workers, three of them busy, be too many."""
    key = stage.create_queue("video", spec(6))
    stage.workers.service_s = 25.0
    assert stage.run(60, until=lambda: len(stage.workers.workers) == 6)
    stage.queue.visible = 3
    stage.step()
    stage.edit_queue(key, lambda obj: obj["spec"]["scaling"].update(minReplicas=0))
    return key, 3


def roll_out(stage: Stage) -> tuple[Key, int]:
    """Let the image change while three of four workers are busy, and three messages wait."""
    key = stage.create_queue("video", spec(4))
    stage.workers.service_s = 25.0
    assert stage.run(60, until=lambda: len(stage.workers.workers) == 4)
    stage.queue.visible = 3
    stage.step()

    def change(obj: dict[str, Any]) -> None:
        obj["spec"]["worker"]["template"]["image"] = "worker:2"
        obj["spec"]["scaling"].update(minReplicas=0, maxReplicas=4)

    stage.edit_queue(key, change)
    stage.queue.visible = 3
    return key, 6


def lives() -> Iterator[Any]:
    """Yield lives and moments at which something happens to them."""
    for life in (burst, scale_in, roll_out):
        for moment in ROLL_OUT_MOMENTS if life is roll_out else MOMENTS:
            yield pytest.param(life, moment, id=f"{life.__name__}-{moment}")


def at_rest(stage: Stage) -> bool:
    queue = stage.queue
    return not (queue.visible or queue.in_flight or stage.replicas or stage.cluster.of_kind(POD))


def written(stage: Stage) -> dict[str, int]:
    return {kind: stage.cluster.writes[kind] for kind in (DEPLOYMENT, "Scale", "Pod")}


@pytest.mark.parametrize(("life", "moment"), list(lives()))
@pytest.mark.parametrize(
    "disturbance", [pytest.param(found, id=name) for name, found in DISTURBANCES.items()]
)
def test_whatever_comes_between_no_busy_pod_is_removed_and_the_end_is_right(
    make_stage: MakeStage,
    disturbance: Disturbance,
    life: Callable[[Stage], tuple[Key, int]],
    moment: int,
) -> None:
    stage = make_stage()
    stage.workers.service_s = 5.0
    key, messages = life(stage)
    stage.run(moment)

    with disturbance(stage):
        stage.run(LASTS_S)

    assert stage.run(400, until=lambda: at_rest(stage)), stage.status(key)
    assert stage.lost_by_operators() == []
    assert stage.workers.finished == messages
    before = written(stage)
    stage.run(REST_S)
    assert at_rest(stage)
    assert written(stage) == before
    assert stage.status(key)["desiredReplicas"] == 0
    assert stage.condition(key, "Ready")["status"] == "True"


@pytest.mark.parametrize("moment", range(0, 24, 2))
@pytest.mark.parametrize("life", [burst, scale_in], ids=["burst", "scale-in"])
def test_a_namespace_that_is_deleted_is_left_alone(
    make_stage: MakeStage, life: Callable[[Stage], tuple[Key, int]], moment: int
) -> None:
    stage = make_stage()
    key, _ = life(stage)
    stage.run(moment)

    stage.delete_namespace(key.namespace)

    assert stage.run(60, until=lambda: not stage.cluster.of_kind(DEPLOYMENT))
    stage.run(5)
    before = written(stage)
    stage.run(REST_S)
    assert written(stage) == before
    assert stage.cluster.of_kind(POD) == stage.cluster.of_kind(DEPLOYMENT) == []
