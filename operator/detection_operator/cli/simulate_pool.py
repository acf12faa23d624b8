"""``simulate-pool``: what several queues get from the same few nodes, with a pool and without."""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from detection_contract.user_messages import counted
from detection_operator.crd.manifest import KIND, POOL_KIND
from detection_operator.errors import Failure
from detection_operator.kube.quantities import units_of_pod
from detection_operator.reconcile.pools.capacity import resource_of
from detection_operator.scaling.pools.share import Pool
from detection_operator.simulation import report
from detection_operator.simulation.pool_simulator import (
    Member,
    PoolRun,
    run_alone,
    run_pool,
    shares_of_load,
)
from detection_operator.simulation.simulator import World
from detection_operator.simulation.workload import (
    SHAPES,
    InvalidTrace,
    Workload,
    generated,
    read_trace,
)
from detection_operator.spec.parse import parse_spec
from detection_operator.spec.queue_spec import QueueSpec
from detection_operator.spec.validation import InvalidSpec
from detection_operator.spec.worker_pool import PoolSpec, parse_pool

HEADINGS: Final = (
    "queue",
    "who may have what",
    "in time",
    "p99 wait",
    "replica-h",
    "unserved",
    "flaps/h",
)


@dataclass(frozen=True, slots=True)
class _Manifests:
    """The one WorkerPool of a file and its DetectionQueues by name."""

    name: str
    pool: PoolSpec
    queues: Mapping[str, QueueSpec]


def add(commands: Any) -> None:
    """Register the command."""
    parser = commands.add_parser(
        "simulate-pool", help="compare what queues get with a WorkerPool and without"
    )
    parser.add_argument(
        "file",
        type=Path,
        metavar="FILE",
        help="manifests of one WorkerPool and its DetectionQueues (YAML)",
    )
    parser.add_argument(
        "--arrivals",
        action="append",
        required=True,
        metavar="NAME=SOURCE",
        help="arrivals of a queue: a CSV file as for `simulate`, or one of "
        f"{', '.join(sorted(SHAPES))}; once for each queue",
    )
    parser.add_argument(
        "--capacity",
        type=int,
        metavar="UNITS",
        help="capacity of the pool, where it is read from nodes or a quota",
    )
    parser.add_argument(
        "--noise",
        type=float,
        default=0.05,
        metavar="RATIO",
        help="relative error of the queue's counts (default: 0.05)",
    )
    parser.add_argument("--seed", type=int, default=1, help="random seed (default: 1)")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    manifests = _manifests(arguments.file)
    capacity = _capacity(manifests.pool, arguments.capacity)
    members = _members(manifests, arguments)
    pool = Pool(name=manifests.name, capacity=capacity, sharing=manifests.pool.sharing)
    runs = {
        f"pool, {pool.sharing}": run_pool(members, pool),
        "maxima by load": run_alone(members, capacity, shares_of_load(members, capacity)),
        "first come": run_alone(members, capacity, {item.name: capacity for item in members}),
    }
    print(f"WorkerPool {manifests.name}: {counted(capacity, 'unit')}")
    for item in members:
        messages, wait_s = counted(len(item.workload.arrivals_s), "message"), item.world.wait_s
        print(f"{item.name}: {item.workload.name}, {messages}, objective {wait_s:.0f} s")
    print(table(runs, members))
    return 0


def table(runs: Mapping[str, PoolRun], members: list[Member]) -> str:
    """Return a line for each queue under each way to share."""
    lines = [HEADINGS]
    for item in members:
        for name, run in runs.items():
            row = report.summarise(name, run.runs[item.name], item.world, oracle=None)
            lines.append(
                (
                    item.name,
                    name,
                    report.share_of_messages(row.attainment),
                    report.wait(row.p99_wait_s),
                    f"{row.replica_hours:.2f}",
                    str(row.unserved),
                    f"{row.flaps_per_hour:.1f}",
                )
            )
    return report.aligned(lines)


def _manifests(path: Path) -> _Manifests:
    try:
        documents = list(yaml.safe_load_all(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as exc:
        raise Failure(f"{path}: {exc}") from exc
    pools: dict[str, PoolSpec] = {}
    queues: dict[str, QueueSpec] = {}
    for document in documents:
        kind = document.get("kind") if isinstance(document, Mapping) else None
        if kind not in (KIND, POOL_KIND):
            continue
        try:
            name = str(document["metadata"]["name"])
            if kind == POOL_KIND:
                pools[name] = parse_pool(document["spec"])
            else:
                queues[name] = parse_spec(document["spec"])
        except (TypeError, KeyError) as exc:
            raise Failure(f"{path}: a {kind} without name or spec") from exc
        except InvalidSpec as exc:
            raise Failure(f"{path}: {kind} {name}: {exc}") from exc
    if len(pools) != 1:
        raise Failure(f"{path}: has {len(pools)} WorkerPools, 1 is needed")
    [(name, pool)] = pools.items()
    for queue, spec in queues.items():
        if spec.scaling.pool is None or spec.scaling.pool.name != name:
            raise Failure(f"{path}: DetectionQueue {queue}: scaling.pool.name is not {name}")
    return _Manifests(name, pool, queues)


def _capacity(pool: PoolSpec, given: int | None) -> int:
    fixed = pool.capacity.replicas
    if pool.capacity.resource is not None:
        fixed = pool.capacity.resource.quantity
    units = fixed if given is None else given
    if units is None:
        raise Failure("the capacity is read from the cluster: give --capacity")
    if units < 1:
        raise Failure(f"a capacity of {units} runs nothing")
    return units


def _members(manifests: _Manifests, arguments: argparse.Namespace) -> list[Member]:
    sources = dict(item.partition("=")[::2] for item in arguments.arrivals)
    if sources.keys() != manifests.queues.keys():
        known, named = ", ".join(manifests.queues), ", ".join(sources)
        raise Failure(f"--arrivals names {named}; {arguments.file} has {known or 'no queues'}")
    return [
        Member(
            name=name,
            spec=spec,
            workload=_workload(sources[name], spec, arguments.seed + number),
            world=World(
                cold_start_s=float(spec.service_time.cold_start_s),
                wait_s=float(spec.slo.queue_wait_s),
                noise=arguments.noise,
                seed=arguments.seed,
            ),
            units_each=_units_each(manifests.pool, spec),
        )
        for number, (name, spec) in enumerate(manifests.queues.items())
    ]


def _units_each(pool: PoolSpec, spec: QueueSpec) -> int:
    template, resource = spec.worker.template, resource_of(pool)
    if template is None or resource is None:
        return 1
    return max(1, units_of_pod({"containers": [{"resources": template.resources}]}, resource))


def _workload(source: str, spec: QueueSpec, seed: int) -> Workload:
    """Return the arrivals; service times are the spec's longest prior."""
    mean_s = float(max((prior.seconds for prior in spec.service_time.priors), default=1))
    if source in SHAPES:
        return generated(source, mean_s=mean_s, seed=seed)
    try:
        return read_trace(Path(source), mean_s=mean_s, seed=seed)
    except (InvalidTrace, OSError, UnicodeDecodeError) as exc:
        raise Failure(str(exc)) from exc
