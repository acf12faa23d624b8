"""How many decisions a second one core makes, by state of the queue, and how fast simulations are.

CPU time is measured, so that other work on the machine counts little. Every decision sees a new
reading, with new worker totals where there are workers, and hands its memory to the next.

    python benchmarks/scaling/simulator_speed.py
    python benchmarks/scaling/simulator_speed.py --decisions 5000 --json
"""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

from detection_contract.media_types import MediaKind
from detection_operator.scaling.decision import decide
from detection_operator.scaling.memory import Memory
from detection_operator.scaling.observation import Observation, Served
from detection_operator.simulation.policies import Ours
from detection_operator.simulation.simulator import Simulator, World
from detection_operator.simulation.workload import generated
from detection_operator.spec.parse import parse_spec

GOAL_PER_S = 100_000
START_S = 1_767_225_600.0
SPEC = parse_spec(
    {
        "queue": {"url": "https://sqs.eu-west-1.amazonaws.com/123456789012/video"},
        "scaling": {"maxReplicas": 200},
        "worker": {"deploymentRef": {"name": "video"}},
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """One measurement.

    Attributes:
        case: What was decided on.
        decisions: How many.
        cpu_s: CPU seconds for all.
        per_s: Decisions a CPU second.
    """

    case: str
    decisions: int
    cpu_s: float
    per_s: float


def idle(index: int) -> Observation:
    """Return an empty queue without workers."""
    return Observation(sampled_at_s=START_S + 5.0 * index)


def steady(index: int) -> Observation:
    """Return ten workers that keep up."""
    done = Served(
        media_type=MediaKind.VIDEO, messages=5 * index, seconds=45.0 * index, squares=0.0
    )
    return Observation(
        sampled_at_s=START_S + 5.0 * index,
        in_flight=10,
        replicas=10,
        ready=10,
        busy=10,
        served=(done,),
        received=5 * index,
    )


def backlog(index: int) -> Observation:
    """Return ten workers before a backlog."""
    return replace(steady(index), visible=400)


def measure(case: str, see: Callable[[int], Observation], count: int) -> Speed:
    """Decide ``count`` times in a row."""
    seen = [see(index) for index in range(count)]
    memory = Memory()
    started = time.process_time()
    for what in seen:
        memory = decide(SPEC, what, memory, what.sampled_at_s or 0.0).memory
    cpu_s = time.process_time() - started
    return Speed(case=case, decisions=count, cpu_s=cpu_s, per_s=count / cpu_s)


def simulate() -> Speed:
    """Run one simulated hour, messages and pods included."""
    started = time.process_time()
    run = Simulator(generated("bursty", mean_s=10.0), World(), Ours(SPEC)).run()
    cpu_s = time.process_time() - started
    return Speed(
        case="simulated hour", decisions=run.decisions, cpu_s=cpu_s, per_s=run.decisions / cpu_s
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--decisions", type=int, default=50_000)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    cases = (idle, steady, backlog)
    rows = [measure(case.__name__, case, arguments.decisions) for case in cases]
    rows.append(simulate())
    if arguments.json:
        print(json.dumps([asdict(row) for row in rows]))
        return
    for row in rows:
        print(f"{row.case:<15} {row.per_s:>9,.0f} decisions/s  ({row.cpu_s:.2f} s CPU)")
    print(f"goal            {GOAL_PER_S:>9,} decisions/s")


if __name__ == "__main__":
    main()
