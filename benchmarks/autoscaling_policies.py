"""Attainment and replica-hours of the four policies, on generated arrivals and on a trace.

Every policy gets the same arrivals, service times, cold start and noisy counts. KEDA runs twice:
with its default queueLength 5, and with the allowed wait divided by the service time, as AWS
advises for a backlog per instance. Ours also runs with the mean load always warm and with a
shorter hold: what attainment costs. "best fleet" is the smallest constant one that meets the
objective, chosen with hindsight: what not foreseeing the bursts costs at least, if nothing is
learned from their past. The oracle knows the arrivals and nothing else: for poison and no-room it
is no bound. A trace also runs three times in a row, for an operator that is not new to its queue.

    python benchmarks/autoscaling_policies.py arrivals.csv     # a TIMESTAMP column, or seconds
    python benchmarks/autoscaling_policies.py --cold-start-s 30 --json
"""

import argparse
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from detection_operator.simulation import compare, oracle, report
from detection_operator.simulation.policies import Fixed
from detection_operator.simulation.simulator import EPOCH_S, Run, Simulator, World
from detection_operator.simulation.workload import (
    LEAD_S,
    SHAPES,
    Workload,
    generated,
    read_trace,
)
from detection_operator.spec.parse import parse_spec

GOAL_IN_TIME = 0.99
GOAL_COST = 1.15
WAIT_S = 120
MAX_REPLICAS = 400
STEP_S = 5.0
PAUSE_S = 30.0
TIMES = 3


def setting(service_s: float, cold_start_s: float, **scaling: Any) -> compare.Setting:
    """Return what all policies get."""
    prior = {"mediaType": "video", "seconds": max(1, round(service_s))}
    spec = parse_spec(
        {
            "queue": {"url": "https://sqs.eu-west-1.amazonaws.com/123456789012/video"},
            "slo": {"queueWaitSeconds": WAIT_S},
            "scaling": {"maxReplicas": MAX_REPLICAS, **scaling},
            "serviceTime": {"priors": [prior], "coldStartSeconds": round(cold_start_s)},
            "worker": {"deploymentRef": {"name": "video"}},
        }
    )
    return compare.Setting(spec=spec, service_s=service_s)


def runs(workload: Workload, service_s: float, cold_start_s: float) -> Mapping[str, Run]:
    """Run everything on one workload."""
    world = World(cold_start_s=cold_start_s, wait_s=WAIT_S)
    base = setting(service_s, cold_start_s)
    wait_rule = replace(base, keda_queue_length=max(1.0, WAIT_S / service_s))
    length_s = workload.arrivals_s[-1] - workload.arrivals_s[0]
    mean = sum(workload.services_s) / max(length_s, 1.0)
    warm = setting(service_s, cold_start_s, minReplicas=max(1, round(mean)))
    results = dict(compare.run_all(("oracle", "ours", "backlog", "keda"), workload, world, base))
    results["keda W/S"] = compare.run_all(("keda",), workload, world, wait_rule)["keda"]
    brief = setting(service_s, cold_start_s, scaleDown={"holdSeconds": 20})
    results["ours, hold 20 s"] = compare.run_all(("ours",), workload, world, brief)["ours"]
    results["ours + warm"] = compare.run_all(("ours",), workload, world, warm)["ours"]
    if (fleet := best_fleet(workload, world)) is not None:
        results["best fleet"] = fleet
    return results


def best_fleet(workload: Workload, world: World) -> Run | None:
    """Return the run of the smallest constant fleet that meets the goal; None: there is none.

    It starts with the first message and stops with the last: the best that hindsight allows.
    """
    first = int(workload.arrivals_s[0] // STEP_S)
    length = int(workload.arrivals_s[-1] // STEP_S) - first + 1
    low, high, best = 1, MAX_REPLICAS, None
    while low <= high:
        count = (low + high) // 2
        policy = Fixed((0,) * first + (count,) * length, step_s=STEP_S, start_s=EPOCH_S)
        run = Simulator(workload, world, policy).run()
        if oracle.attainment(run, world.wait_s) >= GOAL_IN_TIME:
            best, high = run, count - 1
        else:
            low = count + 1
    return best


def repeated(workload: Workload, times: int) -> Workload:
    """Return ``workload`` several times in a row."""
    length_s = workload.arrivals_s[-1] - LEAD_S + PAUSE_S
    return replace(
        workload,
        name=f"{workload.name} x {times}",
        arrivals_s=tuple(at + length_s * n for n in range(times) for at in workload.arrivals_s),
        services_s=workload.services_s * times,
    )


def later(once: Mapping[str, Run], often: Mapping[str, Run]) -> str:
    """Return who was in time in all rounds but the first, which is the same in both."""
    shares = []
    for name in once.keys() & often.keys():
        first, every = once[name], often[name]
        before, judged_before = oracle.in_time_of(first, WAIT_S)
        in_time, judged = oracle.in_time_of(every, WAIT_S)
        shares.append((name, (in_time - before) / (judged - judged_before)))
    return ", ".join(f"{name} {share:.2%}" for name, share in sorted(shares))


def workloads(trace: Path | None, service_s: float) -> Iterator[Workload]:
    """Yield the trace, when there is one, and the generated hours with messages."""
    if trace is not None:
        once = read_trace(trace, mean_s=service_s)
        yield once
        yield repeated(once, TIMES)
    for shape in SHAPES:
        made = generated(shape, mean_s=service_s)
        if made.arrivals_s:
            yield made


def main() -> None:
    """Run, and print a table for each workload."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("trace", type=Path, nargs="?", help="CSV of arrival times")
    parser.add_argument("--service-s", type=float, default=5.0)
    parser.add_argument("--cold-start-s", type=float, default=120.0)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    world = World(cold_start_s=arguments.cold_start_s, wait_s=WAIT_S)
    answers: dict[str, list[dict[str, Any]]] = {}
    once: Mapping[str, Run] = {}
    for workload in workloads(arguments.trace, arguments.service_s):
        found = runs(workload, arguments.service_s, arguments.cold_start_s)
        best = found["oracle"]
        rows = [report.summarise(name, run, world, oracle=best) for name, run in found.items()]
        answers[workload.name] = [asdict(row) for row in rows]
        if not arguments.json:
            print(
                f"\n{workload.name}: {len(workload.arrivals_s)} messages of "
                f"{arguments.service_s:g} s, cold start {arguments.cold_start_s:g} s"
            )
            print(report.table(rows, oracle_hours=best.replica_s / 3600))
            if workload.name.endswith(f" x {TIMES}"):
                print(f"in time after the first round: {later(once, found)}")
        once = found
    if arguments.json:
        print(json.dumps(answers))
    else:
        print(f"\ngoal: ours in time >= {GOAL_IN_TIME:.0%} at <= {GOAL_COST} x oracle")


if __name__ == "__main__":
    main()
