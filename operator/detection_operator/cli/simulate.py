"""``simulate``: what policies would have done with a trace of arrivals."""

import argparse
from pathlib import Path
from typing import Any

import yaml

from detection_operator.errors import Failure
from detection_operator.scaling.records import Record, to_line
from detection_operator.simulation import compare, plot, report
from detection_operator.simulation.policies import Ours
from detection_operator.simulation.simulator import Simulator, World
from detection_operator.simulation.workload import (
    SHAPES,
    InvalidTrace,
    Workload,
    generated,
    read_trace,
)
from detection_operator.spec.parse import InvalidSpec, parse_spec
from detection_operator.spec.queue_spec import QueueSpec


def add(commands: Any) -> None:
    """Register the command."""
    parser = commands.add_parser("simulate", help="run policies on a trace of arrivals")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--trace", type=Path, metavar="FILE", help="CSV with a TIMESTAMP column, or of seconds"
    )
    source.add_argument("--generate", choices=sorted(SHAPES), help="generated arrivals, one hour")
    parser.add_argument(
        "--policy",
        action="append",
        choices=compare.NAMES,
        help="which policy, several times for several; all by default",
    )
    parser.add_argument("--spec", type=Path, help="manifest of a DetectionQueue (YAML)")
    parser.add_argument("--service-s", type=_positive, default=5.0, help="mean service time")
    parser.add_argument("--service-cv", type=_positive, default=0.5, help="its spread / mean")
    parser.add_argument("--size-column", help="column that the service time is proportional to")
    parser.add_argument("--cold-start-s", type=float, help="default: the spec's")
    parser.add_argument("--noise", type=float, default=0.05, help="of the counts, 0.05 is 5 %%")
    parser.add_argument("--keda-queue-length", type=_positive, default=compare.KEDA_QUEUE_LENGTH)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--png", type=Path, help="draw queue, age and replicas into this file")
    parser.add_argument("--record", type=Path, help="write the decisions of ours for `replay`")
    parser.set_defaults(run=_run)


def _positive(text: str) -> float:
    value = float(text)
    if not 0.0 < value < 1e6:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1000000")
    return value


def _run(arguments: argparse.Namespace) -> int:
    spec = _spec(arguments)
    workload = _workload(arguments)
    cold_start_s = arguments.cold_start_s
    world = World(
        cold_start_s=spec.service_time.cold_start_s if cold_start_s is None else cold_start_s,
        wait_s=spec.slo.queue_wait_s,
        noise=arguments.noise,
        seed=arguments.seed,
    )
    setting = compare.Setting(
        spec=spec,
        service_s=arguments.service_s,
        keda_queue_length=arguments.keda_queue_length,
    )
    names = tuple(dict.fromkeys(arguments.policy or compare.NAMES))
    runs = compare.run_all(names, workload, world, setting)
    best = runs.get("oracle")
    rows = [report.summarise(name, run, world, oracle=best) for name, run in runs.items()]
    print(f"{workload.name}: {len(workload.arrivals_s)} messages, objective {world.wait_s:.0f} s")
    print(report.table(rows, oracle_hours=None if best is None else best.replica_s / 3600))
    try:
        if arguments.png is not None:
            plot.draw(runs, world, arguments.png, title=workload.name)
        if arguments.record is not None:
            _record(arguments.record, workload, world, spec)
    except (plot.PlotUnavailable, OSError) as exc:
        raise Failure(str(exc)) from exc
    return 0


def _spec(arguments: argparse.Namespace) -> QueueSpec:
    if arguments.spec is None:
        prior = {"mediaType": "video", "seconds": max(1, round(arguments.service_s))}
        return parse_spec(
            {
                "queue": {"url": "https://sqs.us-east-1.amazonaws.com/000000000000/simulated"},
                "scaling": {"maxReplicas": 300},
                "serviceTime": {"priors": [prior]},
                "worker": {"deploymentRef": {"name": "simulated"}},
            }
        )
    try:
        data = yaml.safe_load(arguments.spec.read_text(encoding="utf-8"))
        return parse_spec(data["spec"])
    except (OSError, UnicodeDecodeError, yaml.YAMLError, InvalidSpec) as exc:
        raise Failure(f"{arguments.spec}: {exc}") from exc
    except (TypeError, KeyError) as exc:
        raise Failure(f"{arguments.spec}: no manifest with a spec") from exc


def _workload(arguments: argparse.Namespace) -> Workload:
    mean_s, cv, seed = arguments.service_s, arguments.service_cv, arguments.seed
    if arguments.generate is not None:
        return generated(arguments.generate, mean_s=mean_s, cv=cv, seed=seed)
    try:
        return read_trace(
            arguments.trace, mean_s=mean_s, cv=cv, size_column=arguments.size_column, seed=seed
        )
    except (InvalidTrace, OSError, UnicodeDecodeError) as exc:
        raise Failure(str(exc)) from exc


def _record(path: Path, workload: Workload, world: World, spec: QueueSpec) -> None:
    records: list[Record] = []
    Simulator(workload, world, Ours(spec, records.append)).run()
    with path.open("w", encoding="utf-8") as lines:
        lines.writelines(to_line(record) + "\n" for record in records)
