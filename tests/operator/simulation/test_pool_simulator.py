"""Several simulated queues on the same nodes, with a pool and without."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from detection_operator.scaling.pools.share import Pool
from detection_operator.simulation.oracle import attainment
from detection_operator.simulation.pool_simulator import (
    Member,
    run_alone,
    run_pool,
    shares_of_load,
    without_pool,
)
from detection_operator.simulation.simulator import World
from detection_operator.simulation.workload import with_services
from detection_operator.spec.parse import parse_spec

GPUS = 8
POOL = Pool(name="gpu", capacity=GPUS)


def member(
    name: str, arrivals: Sequence[float], *, wait_s: int = 60, units_each: int = 1, **scaling: Any
) -> Member:
    pool = {"name": "gpu", **scaling.pop("pool", {})}
    spec = parse_spec(
        {
            "queue": {"url": f"https://sqs.eu-west-1.amazonaws.com/123456789012/{name}"},
            "slo": {"queueWaitSeconds": wait_s},
            "scaling": {"maxReplicas": GPUS, "pool": pool, **scaling},
            "serviceTime": {
                "priors": [{"mediaType": "video", "seconds": 10}],
                "coldStartSeconds": 10,
            },
            "worker": {"deploymentRef": {"name": name}},
        }
    )
    return Member(
        name=name,
        spec=spec,
        workload=with_services(name, arrivals, mean_s=10.0, cv=0.1, seed=3),
        world=World(cold_start_s=10.0, wait_s=float(wait_s), tail_s=1800.0),
        units_each=units_each,
    )


def batch(**fields: Any) -> Member:
    """A backlog that keeps all GPUs busy for ten minutes."""
    return member("batch", [0.1 * n for n in range(480)], wait_s=600, **fields)


def urgent(**fields: Any) -> Member:
    """A burst while the batch runs."""
    return member("urgent", [200.0 + 0.5 * n for n in range(30)], **fields)


def in_time(run: Any, members: Sequence[Member]) -> list[float]:
    return [attainment(run.runs[item.name], item.world.wait_s) for item in members]


def test_a_pool_serves_the_urgent_queue_in_time_and_asks_for_no_more_than_there_is() -> None:
    members = (batch(), urgent(pool={"priority": 100}))

    pooled = run_pool(members, POOL)
    first_come = run_alone(members, GPUS, {"batch": GPUS, "urgent": GPUS})

    assert pooled.most_asked == pooled.most_held == GPUS
    assert in_time(pooled, members)[1] > 0.9
    assert in_time(first_come, members)[1] < 0.5
    assert first_come.most_asked > first_come.most_held == GPUS
    for run in pooled.runs.values():
        assert (run.unserved, run.killed_busy) == (0, 0)


def test_what_one_queue_does_not_use_the_other_has() -> None:
    [alone] = run_pool((batch(),), POOL).runs.values()
    beside = run_pool((batch(), member("urgent", [])), POOL).runs["batch"]

    assert max(sample.replicas for sample in beside.samples) == GPUS
    assert beside.waits_s == alone.waits_s


def test_a_guarantee_holds_against_a_higher_priority() -> None:
    members = (
        batch(pool={"guaranteed": 3}),
        urgent(pool={"priority": 100}, minReplicas=8),
    )

    run = run_pool(members, POOL).runs["batch"]

    settled = [sample for sample in run.samples if 420.0 < sample.at_s < 900.0]
    assert settled
    assert {sample.replicas for sample in settled} == {3}


def test_units_are_what_replicas_take() -> None:
    run = run_pool((batch(units_each=3),), POOL)

    assert run.most_held == 6
    assert max(sample.replicas for sample in run.runs["batch"].samples) == 2


def test_the_same_arguments_give_the_same_run() -> None:
    members = (batch(), urgent(pool={"priority": 100}))

    assert run_pool(members, POOL) == run_pool(members, POOL)


def test_a_pool_of_unknown_capacity_cannot_be_simulated() -> None:
    with pytest.raises(ValueError, match="unknown"):
        run_pool((batch(),), replace(POOL, capacity=None))


def test_nobody_runs_on_nothing() -> None:
    assert run_pool((), POOL).runs == {}


def test_maxima_divide_the_nodes_by_load() -> None:
    members = (batch(), urgent())

    most = shares_of_load(members, GPUS)

    assert most["urgent"] == 1
    assert sum(most.values()) == GPUS


def test_a_queue_alone_names_no_pool() -> None:
    assert without_pool(batch().spec).scaling.pool is None
