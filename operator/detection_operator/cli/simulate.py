"""``simulate``: compare what policies do with a trace of arrivals."""

import argparse
from pathlib import Path
from typing import Any

import yaml

from detection_contract.user_messages import counted
from detection_operator.errors import Failure
from detection_operator.scaling.records import Record, to_line
from detection_operator.simulation import compare, plot, report
from detection_operator.simulation.policies import Ours
from detection_operator.simulation.pool_simulator import without_pool
from detection_operator.simulation.simulator import Simulator, World
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


def add(commands: Any) -> None:
    """Register the command."""
    parser = commands.add_parser(
        "simulate", help="compare scaling policies on a trace of arrivals"
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--trace",
        type=Path,
        metavar="FILE",
        help="CSV file with a TIMESTAMP column, or with seconds in its first column",
    )
    source.add_argument(
        "--generate", choices=sorted(SHAPES), help="generate one hour of arrivals of this shape"
    )
    parser.add_argument(
        "--policy",
        action="append",
        choices=compare.NAMES,
        help="policy to run; repeat it for several (default: all)",
    )
    parser.add_argument(
        "--spec", type=Path, metavar="FILE", help="manifest of a DetectionQueue (YAML)"
    )
    parser.add_argument(
        "--service-s",
        type=_positive,
        default=5.0,
        metavar="SECONDS",
        help="mean service time (default: 5)",
    )
    parser.add_argument(
        "--service-cv",
        type=_positive,
        default=0.5,
        metavar="RATIO",
        help="standard deviation of the service time / mean (default: 0.5)",
    )
    parser.add_argument(
        "--size-column",
        metavar="NAME",
        help="column of the trace that service times are proportional to",
    )
    parser.add_argument(
        "--cold-start-s",
        type=float,
        metavar="SECONDS",
        help="cold start of a pod (default: the spec's)",
    )
    parser.add_argument(
        "--noise",
        type=float,
        default=0.05,
        metavar="RATIO",
        help="relative error of the queue's counts (default: 0.05)",
    )
    parser.add_argument(
        "--keda-queue-length",
        type=_positive,
        default=compare.KEDA_QUEUE_LENGTH,
        metavar="MESSAGES",
        help="queueLength of KEDA's scaler (default: %(default)g)",
    )
    parser.add_argument("--seed", type=int, default=1, help="random seed (default: 1)")
    parser.add_argument("--png", type=Path, metavar="FILE", help="plot queue, age and replicas")
    parser.add_argument(
        "--record",
        type=Path,
        metavar="FILE",
        help="write the decisions of policy `ours` for `replay`",
    )
    parser.set_defaults(run=_run)


def _positive(text: str) -> float:
    value = float(text)
    if not 0.0 < value < 1e6:
        raise argparse.ArgumentTypeError(f"{text} must be above 0 and below 1000000")
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
    messages = counted(len(workload.arrivals_s), "message")
    print(f"{workload.name}: {messages}, objective {world.wait_s:.0f} s")
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
        # One queue alone has whatever its own bounds allow.
        return without_pool(parse_spec(data["spec"]))
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
