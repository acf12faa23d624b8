"""Attainment of two queues on the same few GPUs: a WorkerPool, maxima of their own, first come.

An interactive queue and a batch queue get the same arrivals, service times, cold starts and noisy
counts in every row, and this operator decides in each. What differs is who may have how many:

- pool: a WorkerPool of the capacity; interactive has priority 100, batch two guaranteed replicas.
- pool, Fair: the same with sharing Fair and equal weights.
- maxima by load: each queue has a maxReplicas of its own, in proportion to its load, known
  beforehand: nothing is lent.
- maxima, half each: the same with half of the capacity each.
- first come: each may have all; pods wait for a node, the oldest first.

"in time" is the share of messages that a worker received within the allowed wait; "asked" the most
replicas that existed at once, those that waited for a node included.

    python benchmarks/pools/sharing.py                          # generated arrivals
    python benchmarks/pools/sharing.py interactive.csv batch.csv
"""

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

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
from detection_operator.simulation.workload import LEAD_S, Workload, generated, read_trace
from detection_operator.spec.parse import parse_spec
from detection_operator.spec.worker_pool import Sharing

HEADINGS = ("", "interactive", "p99 wait", "batch", "p99 wait", "replica-h", "asked", "flaps/h")


def member(
    name: str, workload: Workload, wait_s: int, arguments: argparse.Namespace, **pool: Any
) -> Member:
    """Return a queue that may have the whole pool."""
    mean_s = sum(workload.services_s) / len(workload.services_s)
    spec = parse_spec(
        {
            "queue": {"url": f"https://sqs.eu-west-1.amazonaws.com/123456789012/{name}"},
            "slo": {"queueWaitSeconds": wait_s},
            "scaling": {"maxReplicas": arguments.capacity, "pool": {"name": "gpu", **pool}},
            "serviceTime": {
                "priors": [{"mediaType": "video", "seconds": max(1, round(mean_s))}],
                "coldStartSeconds": round(arguments.cold_start_s),
            },
            "worker": {"deploymentRef": {"name": name}},
        }
    )
    world = World(
        cold_start_s=arguments.cold_start_s,
        wait_s=float(wait_s),
        tail_s=float(arguments.batch_wait_s),
    )
    return Member(name=name, spec=spec, workload=workload, world=world)


def repeated(workload: Workload, until_s: float) -> Workload:
    """Return ``workload`` as often as it begins before ``until_s``."""
    length_s = workload.arrivals_s[-1] - LEAD_S + 1.0
    times = range(max(1, round(until_s / length_s)))
    return replace(
        workload,
        arrivals_s=tuple(at + length_s * n for n in times for at in workload.arrivals_s),
        services_s=workload.services_s * len(times),
    )


def workloads(arguments: argparse.Namespace) -> tuple[Workload, Workload]:
    """Return the arrivals of both queues, the shorter repeated to the length of the longer."""
    interactive_s, batch_s = arguments.interactive_s, arguments.batch_s
    if arguments.traces:
        first, second = arguments.traces
        both = (read_trace(first, mean_s=interactive_s), read_trace(second, mean_s=batch_s))
    else:
        both = (
            generated("spikes", mean_s=interactive_s, seed=1),
            generated("ramp", mean_s=batch_s, seed=2),
        )
    length_s = max(workload.arrivals_s[-1] for workload in both)
    return repeated(both[0], length_s), repeated(both[1], length_s)


def rows(members: Sequence[Member], capacity: int) -> Mapping[str, Callable[[], PoolRun]]:
    """Return what is compared."""
    half = {item.name: capacity // 2 for item in members}
    all_of_it = {item.name: capacity for item in members}
    pool = Pool(name="gpu", capacity=capacity)
    return {
        "pool": lambda: run_pool(members, pool),
        "pool, Fair": lambda: run_pool(members, replace(pool, sharing=Sharing.FAIR)),
        "maxima by load": lambda: run_alone(members, capacity, shares_of_load(members, capacity)),
        "maxima, half each": lambda: run_alone(members, capacity, half),
        "first come": lambda: run_alone(members, capacity, all_of_it),
    }


def cells(name: str, run: PoolRun, members: Sequence[Member]) -> tuple[str, ...]:
    """Return one line of the table."""
    found = [
        report.summarise(item.name, run.runs[item.name], item.world, oracle=None)
        for item in members
    ]
    queues = (
        (
            report.share_of_messages(row.attainment, digits=1),
            report.wait(row.p99_wait_s) + ("+" if row.unserved else ""),
        )
        for row in found
    )
    hours = sum(row.replica_hours for row in found)
    flaps = sum(row.flaps_per_hour for row in found)
    pairs = [cell for queue in queues for cell in queue]
    return (name, *pairs, f"{hours:.1f}", str(run.most_asked), f"{flaps:.1f}")


def main() -> None:
    """Run, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("traces", type=Path, nargs="*", help="CSV of interactive, CSV of batch")
    parser.add_argument("--capacity", type=int, default=16, help="GPUs (default: 16)")
    parser.add_argument("--interactive-s", type=float, default=4.0, help="mean service time")
    parser.add_argument("--batch-s", type=float, default=6.0, help="mean service time")
    parser.add_argument("--guaranteed", type=int, default=2, help="GPUs of batch (default: 2)")
    parser.add_argument("--cold-start-s", type=float, default=60.0)
    parser.add_argument("--batch-wait-s", type=int, default=7200, help="allowed wait of batch")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if len(arguments.traces) not in {0, 2}:
        parser.error("give two traces or none")
    interactive, batch = workloads(arguments)
    members = (
        member("interactive", interactive, 120, arguments, priority=100),
        member("batch", batch, arguments.batch_wait_s, arguments, guaranteed=arguments.guaranteed),
    )
    table = [
        cells(name, run(), members) for name, run in rows(members, arguments.capacity).items()
    ]
    if arguments.json:
        print(json.dumps([dict(zip(HEADINGS, line, strict=True)) for line in table]))
        return
    for item in members:
        load = sum(item.workload.services_s) / item.workload.arrivals_s[-1]
        print(
            f"{item.name}: {item.workload.name}, {len(item.workload.arrivals_s)} messages in "
            f"{item.workload.arrivals_s[-1] / 3600:.1f} h, wait {item.world.wait_s:.0f} s, "
            f"{load:.1f} replicas busy on average"
        )
    print(f"capacity {arguments.capacity}, cold start {arguments.cold_start_s:g} s\n")
    print(report.aligned((HEADINGS, *table)))


if __name__ == "__main__":
    main()
