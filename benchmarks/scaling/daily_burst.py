"""Attainment and replica-hours with and without a forecast, on days with a burst at nine.

A burst of an hour starts at nine give or take half a minute (standard deviation), 2 messages a
second of 5 s give or take 15 %; cold start and allowed wait are 120 s. Then weeks in which a day
differs: no burst, a burst at 13:00, a clock that changes, two weeks with weekends, and bursts
at random times. The oracle, which knows every arrival, runs on the first of them.

    python benchmarks/scaling/daily_burst.py               # about five minutes
    python benchmarks/scaling/daily_burst.py --only same
"""

import argparse
import random
from collections.abc import Mapping
from dataclasses import replace

from detection_operator.simulation import oracle
from detection_operator.simulation.days import HOUR_S, Day, workload
from detection_operator.simulation.policies import Ours
from detection_operator.simulation.simulator import Run, Simulator, World
from detection_operator.simulation.workload import Workload
from detection_operator.spec.parse import parse_spec

GOAL_IN_TIME = 0.99
GOAL_COST = 1.3
SERVICE_S = 5
WAIT_S = 120
MAX_REPLICAS = 100
BURST = Day()
CALM = replace(BURST, start_s=None)


def weeks() -> Mapping[str, list[Day]]:
    """Return the days by name."""
    rng = random.Random(1)
    anytime = [replace(BURST, start_s=rng.uniform(1.0, 22.0) * HOUR_S) for _ in range(7)]
    week = [*[BURST] * 5, CALM, CALM]
    return {
        "same": [BURST] * 7,
        "one missing": [*[BURST] * 4, CALM, BURST, BURST],
        "one at 13:00": [*[BURST] * 4, replace(BURST, start_s=13 * HOUR_S), BURST, BURST],
        "clock changes": [*[BURST] * 3, *[replace(BURST, start_s=8 * HOUR_S)] * 4],
        "weekends": week * 2,
        "random": anytime,
    }


def run(work: Workload, forecast: str, cold_start_s: float) -> Run:
    """Run the operator's decision on the days."""
    spec = parse_spec(
        {
            "queue": {"url": "https://sqs.eu-west-1.amazonaws.com/123456789012/video"},
            "slo": {"queueWaitSeconds": WAIT_S},
            "scaling": {"maxReplicas": MAX_REPLICAS, "forecast": forecast},
            "serviceTime": {
                "priors": [{"mediaType": "video", "seconds": SERVICE_S}],
                "coldStartSeconds": round(cold_start_s),
            },
            "worker": {"deploymentRef": {"name": "video"}},
        }
    )
    world = World(cold_start_s=cold_start_s, wait_s=WAIT_S)
    return Simulator(work, world, Ours(spec)).run()


def line(name: str, made: Run, best_s: float | None) -> str:
    """Return a row of the table."""
    ratio = "" if best_s is None else f"  {made.replica_s / best_s:.2f} x oracle"
    hours = made.replica_s / 3600
    return f"{name:<24} {oracle.attainment(made, WAIT_S):8.2%} {hours:8.1f} replica-h{ratio}"


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", choices=weeks(), help="one of the weeks")
    parser.add_argument("--cold-start-s", type=float, default=120.0)
    arguments = parser.parse_args()
    world = World(cold_start_s=arguments.cold_start_s, wait_s=WAIT_S)
    for name, days in weeks().items():
        if arguments.only not in {None, name}:
            continue
        work = workload(name, days, mean_s=SERVICE_S)
        best_s = None
        if name == "same":
            best, _ = oracle.best_run(
                work, world, objective=GOAL_IN_TIME, max_replicas=MAX_REPLICAS
            )
            best_s = best.replica_s
            print(line(f"{name}, oracle", best, best_s), flush=True)
        for forecast in ("Off", "Daily"):
            made = run(work, forecast, arguments.cold_start_s)
            print(line(f"{name}, {forecast}", made, best_s), flush=True)
    print(f"goal: same, Daily in time >= {GOAL_IN_TIME:.0%} at <= {GOAL_COST} x oracle")


if __name__ == "__main__":
    main()
