"""Argo CD: its health checks, in Lua, on what the operator reports."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from lupa.lua51 import LuaRuntime

from detection_operator.kube.port import FIELD_MANAGER
from detection_operator.scaling.observation import ReadError
from detection_operator.spec.conditions import CONDITIONS
from detection_testing.scenes.world import MINIMAL, World

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "charts" / "detection-queue" / "examples" / "eks"
CHECKS: dict[str, str] = yaml.safe_load((FOLDER / "argocd-health.yaml").read_text())["data"]
ALLOWED = {"Healthy", "Progressing", "Degraded", "Suspended"}


def health(kind: str, item: dict[str, Any]) -> tuple[str, str]:
    """Run a check as Argo CD does: its object is the global ``obj``; it returns a table."""
    lua = LuaRuntime(unpack_returned_tuples=True)
    lua.globals().obj = lua.table_from(item, recursive=True)
    found = lua.execute(CHECKS[f"resource.customizations.health.detection-queue.dev_{kind}"])
    status = str(found["status"])
    assert status in ALLOWED
    assert found["message"]
    return status, str(found["message"])


def spec(**changes: Any) -> dict[str, Any]:
    made = copy.deepcopy(dict(MINIMAL))
    made["queue"] = {**made["queue"], "pollIntervalSeconds": 1}
    for name, value in changes.items():
        made[name] = {**made.get(name, {}), **value} if isinstance(value, dict) else value
    return made


def after(seconds: float, made: dict[str, Any], prepare: Callable[[World], None]) -> Any:
    """The health of a queue that the operator has reconciled for some time."""
    world = World()
    prepare(world)
    key = world.create_queue("video", made)
    world.start()
    for _ in range(int(seconds)):
        world.step()
    queue = world.cluster.queue(key)
    assert queue is not None
    return health("DetectionQueue", dict(queue))


def nothing(_: World) -> None:
    pass


def unreadable(world: World) -> None:
    world.queue.error = ReadError.ACCESS_DENIED


def pooled(world: World) -> None:
    world.create_pool("gpu", {"replicas": 4})


@pytest.mark.parametrize(
    ("made", "prepare", "expected", "said"),
    [
        pytest.param(spec(), nothing, "Healthy", "", id="at rest"),
        pytest.param(spec(paused=True), nothing, "Suspended", "paused", id="paused"),
        pytest.param(
            spec(paused=True, scaling={"maxReplicas": -1}), nothing, "Degraded", "InvalidSpec: ",
            id="paused and invalid",
        ),
        pytest.param(
            spec(paused=True), unreadable, "Degraded", "AccessDenied: ", id="paused and denied"
        ),
        pytest.param(spec(scaling={"mode": "Shadow"}), nothing, "Healthy", "", id="shadow"),
        pytest.param(spec(), unreadable, "Degraded", "AccessDenied: ", id="denied"),
        pytest.param(
            spec(scaling={"maxReplicas": -1}), nothing, "Degraded", "InvalidSpec: ", id="invalid"
        ),
        pytest.param(
            spec(scaling={"pool": {"name": "gpu"}}), nothing, "Degraded", "PoolNotFound: ",
            id="no pool",
        ),
        pytest.param(
            spec(scaling={"pool": {"name": "gpu"}}), pooled, "Healthy", "", id="in a pool"
        ),
    ],
)  # fmt: skip
def test_the_health_of_a_queue(
    made: dict[str, Any], prepare: Callable[[World], None], expected: str, said: str
) -> None:
    status, message = after(20, made, prepare)

    assert status == expected
    assert said in message


def test_a_queue_progresses_until_the_operator_has_read_its_newest_spec() -> None:
    world = World()
    key = world.create_queue("video", spec())
    fresh = dict(world.cluster.queue(key) or {})
    fresh.pop("status", None)
    world.start()
    for _ in range(5):
        world.step()
    known = dict(world.cluster.queue(key) or {})
    changed = copy.deepcopy(known)
    changed["metadata"]["generation"] += 1

    assert health("DetectionQueue", fresh)[0] == "Progressing"
    assert health("DetectionQueue", known)[0] == "Healthy"
    assert health("DetectionQueue", changed) == (
        "Progressing",
        "waiting for the operator to read the new spec",
    )


def with_condition(name: str, status: str, reason: str) -> dict[str, Any]:
    """A healthy queue, but for one condition."""
    good = {n: (reasons[0].status, reasons[0].name) for n, reasons in CONDITIONS.items()}
    good[name] = (status, reason)
    return {
        "metadata": {"generation": 3},
        "spec": {},
        "status": {
            "observedGeneration": 3,
            "conditions": [
                {"type": n, "status": s, "reason": r, "message": f"about {n}"}
                for n, (s, r) in good.items()
            ],
        },
    }


@pytest.mark.parametrize(
    ("name", "reason"), [(n, r) for n, reasons in CONDITIONS.items() for r in reasons], ids=str
)
def test_every_reason_of_every_condition_has_a_health(name: str, reason: Any) -> None:
    """Only what keeps messages from being worked off degrades an Application."""
    found, _ = health("DetectionQueue", with_condition(name, reason.status, reason.name))

    blocking = {"Ready", "QueueReachable", "CapacityAvailable", "PoolAvailable"}
    if reason.status == "False" and (name in blocking or reason.name == "Conflict"):
        assert found == "Degraded"
    elif name == "Ready" and reason.status != "True":
        assert found == "Progressing"
    else:
        assert found == "Healthy"


@pytest.mark.parametrize(
    ("capacity", "expected"),
    [({"replicas": 4}, "Healthy"), ({"replicas": -4}, "Degraded")],
    ids=["shared", "invalid"],
)
def test_the_health_of_a_pool(capacity: dict[str, Any], expected: str) -> None:
    world = World()
    key = world.create_pool("gpu", capacity)
    world.create_queue("video", spec(scaling={"pool": {"name": "gpu"}}))
    world.start()
    for _ in range(10):
        world.step()
    pool = dict(world.cluster.pool(key) or {})
    unread = {name: value for name, value in pool.items() if name != "status"}

    assert health("WorkerPool", pool)[0] == expected
    assert health("WorkerPool", unread)[0] == "Progressing"


def test_what_the_operator_writes_is_no_difference() -> None:
    _, queues = yaml.safe_load_all((FOLDER / "argocd-application.yaml").read_text())
    [ignored] = queues["spec"]["ignoreDifferences"]

    assert ignored["managedFieldsManagers"] == [FIELD_MANAGER]
    assert ignored["jsonPointers"] == ["/spec/replicas"]
    assert "RespectIgnoreDifferences=true" in queues["spec"]["syncPolicy"]["syncOptions"]
