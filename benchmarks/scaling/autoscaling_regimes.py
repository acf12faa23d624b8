"""Attainment and cost by regime: how long a cold start takes against the wait that is allowed.

Each trace runs with cold starts of 30 to 240 s and allowed waits of 60 to 300 s. A setting is met
when 99 % of the messages start in time. Cost is the geometric mean of replica-hours over those of
a clairvoyant with the same cold starts. Traces of less than two hours run twice, and the second
round counts: an operator knows its queue. "dominated" counts the settings where a peer was better
in both, or as good in one and better in the other.

    python benchmarks/scaling/autoscaling_regimes.py                      # generated traces
    python benchmarks/scaling/autoscaling_regimes.py a.csv b.csv     # a column SIZE: seconds
    python benchmarks/scaling/autoscaling_regimes.py --policies ours "headroom 1" --each
"""

import argparse
import csv
import hashlib
import json
import math
import multiprocessing
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from detection_operator.simulation import oracle
from detection_operator.simulation.policies import Keda, Ours
from detection_operator.simulation.simulator import Policy, Run, Simulator, World
from detection_operator.simulation.workload import (
    LEAD_S,
    Workload,
    poisson,
    read_trace,
    with_services,
)
from detection_operator.spec.parse import parse_spec
from detection_operator.spec.queue_spec import QueueSpec

COLD_STARTS_S: Final = (30, 60, 120, 240)
WAITS_S: Final = (60, 120, 300)
GOAL_IN_TIME: Final = 0.99
MAX_REPLICAS: Final = 400
MEAN_S: Final = 5.0
"""Service time of traces that name none."""
PAUSE_S: Final = 30.0
SHORT_S: Final = 7200.0
QUEUE_LENGTHS: Final = (1, 2, 3, 4, 5, 7, 10, 14, 20, 28, 40, 50)
REGIMES: Final[Mapping[str, Callable[[float], bool]]] = {
    "C <= W/2": lambda ratio: ratio <= 0.5,
    "C ~ W": lambda ratio: 0.5 < ratio < 2.0,
    "C >= 2W": lambda ratio: ratio >= 2.0,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One trace with one cold start and one allowed wait."""

    trace: str
    cold_start_s: int
    wait_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What one policy did in one setting: share of messages in time, and replica-hours."""

    in_time: float
    hours: float


def read(path: Path) -> Workload:
    """Return a trace. A column SIZE whose values differ holds seconds of work."""
    with path.open(newline="", encoding="utf-8") as lines:
        sizes = [float(row["SIZE"]) for row in csv.DictReader(lines) if row.get("SIZE")]
    if len(set(sizes)) < 2:
        return read_trace(path, mean_s=MEAN_S)
    return read_trace(path, mean_s=sum(sizes) / len(sizes), size_column="SIZE")


def repeated(workload: Workload) -> tuple[Workload, float]:
    """Return ``workload`` twice in a row when it is short, and from when on it counts."""
    length_s = workload.arrivals_s[-1] - LEAD_S + PAUSE_S
    if length_s > SHORT_S:
        return workload, 0.0
    again = tuple(at + length_s for at in workload.arrivals_s)
    twice = replace(
        workload,
        arrivals_s=workload.arrivals_s + again,
        services_s=workload.services_s * 2,
    )
    return twice, LEAD_S + length_s


def _made(
    name: str,
    rate: Callable[[float], float],
    *,
    peak: float,
    hours: float,
    mean_s: float,
    seed: int,
) -> Workload:
    arrivals = poisson(rate, length_s=3600.0 * hours, peak_per_s=peak, seed=seed)
    return with_services(name, arrivals, mean_s=mean_s, cv=0.7, seed=seed + 1)


def _wandering(seed: int, step_s: float, spread: float, mean: float) -> Callable[[float], float]:
    """Return a rate whose logarithm wanders around ``mean``."""
    rng = random.Random(seed)
    level, levels = 0.0, []
    for _ in range(2000):
        level = 0.9 * level + rng.gauss(0.0, spread)
        levels.append(mean * math.exp(level))
    return lambda now_s: levels[int(now_s // step_s)]


def _bursts(seed: int, gap_s: float, length_s: float, rate: float) -> Callable[[float], float]:
    """Return a rate of bursts of about ``length_s`` with pauses of about ``gap_s``."""
    rng = random.Random(seed)
    edges, now_s = [], 0.0
    while now_s < 100_000.0:
        now_s += rng.expovariate(1.0 / gap_s)
        high = rate * rng.uniform(0.3, 1.0)
        edges.append((now_s, now_s + length_s * rng.uniform(0.5, 1.5), high))
        now_s = edges[-1][1]

    def at(now_s: float) -> float:
        return next((high for start, end, high in edges if start <= now_s < end), 0.0)

    return at


def _batches(seed: int) -> Workload:
    """Return batches of Pareto sizes, all of each at once, every ten minutes or so."""
    rng = random.Random(seed)
    arrivals: list[float] = []
    now_s = 0.0
    while (now_s := now_s + rng.expovariate(1 / 600.0)) < 8 * 3600.0:
        count = min(300, int(4.0 * rng.paretovariate(1.2)))
        arrivals += [now_s + rng.random() * 10.0 for _ in range(count)]
    return with_services("batches", arrivals, mean_s=12.0, cv=0.7, seed=seed + 1)


def _day(now_s: float) -> float:
    return 1.2 * max(0.0, math.sin(math.pi * now_s / 14_400.0)) ** 2


def _spiky(now_s: float) -> float:
    """Return a steady rate with a spike every twenty minutes or so, of odd height."""
    number, into_s = divmod(now_s, 1200.0)
    rng = random.Random(int(number) * 7919)
    start_s, height = rng.uniform(0.0, 1000.0), rng.uniform(2.0, 8.0)
    return height if start_s <= into_s < start_s + 60.0 else 0.6


def made() -> Iterator[Workload]:
    """Yield generated traces that differ as much as queues do."""
    yield _made("day", _day, peak=1.2, hours=8.0, mean_s=10.0, seed=3)
    yield _made("bursts", _bursts(5, 900.0, 240.0, 4.0), peak=4.0, hours=5.0, mean_s=5.0, seed=5)
    yield _made(
        "short bursts", _bursts(6, 240.0, 30.0, 6.0), peak=6.0, hours=4.0, mean_s=5.0, seed=6
    )
    yield _made("spikes", _spiky, peak=8.0, hours=5.0, mean_s=5.0, seed=7)
    yield _made(
        "wandering", _wandering(8, 30.0, 0.35, 1.5), peak=12.0, hours=4.0, mean_s=5.0, seed=8
    )
    yield _made(
        "slow wandering", _wandering(9, 300.0, 0.25, 1.0), peak=8.0, hours=6.0, mean_s=8.0, seed=9
    )
    yield _batches(10)


def spec_of(workload: Workload, setting: Setting, **scaling: Any) -> QueueSpec:
    """Return what a user would write for the setting."""
    mean_s = sum(workload.services_s) / len(workload.services_s)
    prior = {"mediaType": "video", "seconds": max(1, round(mean_s))}
    return parse_spec(
        {
            "queue": {"url": "https://sqs.eu-west-1.amazonaws.com/123456789012/video"},
            "slo": {"queueWaitSeconds": setting.wait_s},
            "scaling": {"maxReplicas": MAX_REPLICAS, **scaling},
            "serviceTime": {"priors": [prior], "coldStartSeconds": setting.cold_start_s},
            "worker": {"deploymentRef": {"name": "video"}},
        }
    )


def _per_replica(workload: Workload, setting: Setting, share: float) -> Mapping[str, Any]:
    mean_s = sum(workload.services_s) / len(workload.services_s)
    each = max(1, int(share * setting.wait_s / mean_s))
    return {"policy": "Backlog", "backlogPerReplica": each}


SCALINGS: Final[Mapping[str, Callable[[Workload, Setting], Mapping[str, Any]]]] = {
    "ours": lambda workload, setting: {},
    "Backlog W/S": lambda workload, setting: _per_replica(workload, setting, 1.0),
    "Backlog W/2S": lambda workload, setting: _per_replica(workload, setting, 0.5),
    "headroom 1": lambda workload, setting: {"headroomReplicas": 1},
    "hold 300, headroom 1": lambda workload, setting: {
        "headroomReplicas": 1,
        "scaleDown": {"holdSeconds": 300},
    },
}
KEDAS: Final = tuple(f"KEDA {length}" for length in QUEUE_LENGTHS)
PEERS: Final = tuple(name for name in SCALINGS if name != "ours") + KEDAS


def run_one(name: str, workload: Workload, setting: Setting) -> Result:
    """Run one policy in one setting."""
    twice, from_s = repeated(workload)
    world = World(
        cold_start_s=float(setting.cold_start_s), wait_s=float(setting.wait_s), from_s=from_s
    )
    if name == "oracle":
        best, _ = oracle.best_run(
            workload, replace(world, from_s=0.0), objective=GOAL_IN_TIME, max_replicas=MAX_REPLICAS
        )
        return _result(best, world)
    policy: Policy
    if name in SCALINGS:
        policy = Ours(spec_of(workload, setting, **SCALINGS[name](workload, setting)))
    else:
        length = float(name.removeprefix("KEDA "))
        policy = Keda(queue_length=length, max_replicas=MAX_REPLICAS)
    return _result(Simulator(twice, world, policy).run(), world)


def _result(run: Run, world: World) -> Result:
    return Result(in_time=oracle.attainment(run, world.wait_s), hours=run.replica_s / 3600.0)


def table(results: Mapping[tuple[str, Setting], Result], names: Sequence[str]) -> str:
    """Return a line for each policy: by regime, settings met, mean attainment and cost."""
    settings = list(dict.fromkeys(setting for _, setting in results))
    head = "".join(f"{regime:>31}" for regime in REGIMES)
    lines = [f"{'':<21}{head}"]
    for name in names:
        cells = []
        for belongs in REGIMES.values():
            those = [s for s in settings if belongs(s.cold_start_s / s.wait_s)]
            found = [results[name, setting] for setting in those]
            met = sum(item.in_time >= GOAL_IN_TIME for item in found)
            mean = sum(item.in_time for item in found) / max(1, len(found))
            cost = _geometric(results[name, s].hours / results["oracle", s].hours for s in those)
            cells.append(f"{f'{met} of {len(those)}, {mean:.2%}, {cost:.2f} x':>31}")
        lines.append(f"{name:<21}{''.join(cells)}")
    return "\n".join(lines)


def _geometric(ratios: Iterable[float]) -> float:
    logs = [math.log(ratio) for ratio in ratios]
    return math.exp(sum(logs) / max(1, len(logs)))


def dominated(results: Mapping[tuple[str, Setting], Result]) -> Iterator[str]:
    """Yield a line for each peer that is better than ours in a setting, in time and in cost."""
    for (name, setting), peer in results.items():
        ours = results.get(("ours", setting))
        if name not in PEERS or ours is None:
            continue
        if (
            peer.in_time >= ours.in_time
            and peer.hours <= ours.hours
            and (peer.in_time, -peer.hours) != (ours.in_time, -ours.hours)
        ):
            yield (
                f"dominated by {name}: {_words(setting)}: {peer.in_time:.2%} "
                f"for {peer.hours:.2f} h, ours {ours.in_time:.2%} for {ours.hours:.2f} h"
            )


def _words(setting: Setting) -> str:
    return f"{setting.trace}, C {setting.cold_start_s} s, W {setting.wait_s} s"


_TRACES: dict[str, Workload] = {}


def _task(task: tuple[str, Setting]) -> tuple[tuple[str, Setting], Result]:
    name, setting = task
    return task, run_one(name, _TRACES[setting.trace], setting)


def _stamp(task: tuple[str, Setting]) -> str:
    """Return the name of a result that does not depend on this operator's decisions."""
    name, setting = task
    trace = _TRACES[setting.trace]
    what = (name, asdict(setting), trace.arrivals_s, trace.services_s)
    return hashlib.sha256(repr(what).encode()).hexdigest()[:24]


def run_all(
    tasks: Sequence[tuple[str, Setting]], jobs: int, cache: Path | None
) -> dict[tuple[str, Setting], Result]:
    """Return all results; those of KEDA and of the clairvoyant come from ``cache`` when there."""
    kept = json.loads(cache.read_text()) if cache is not None and cache.exists() else {}
    steady = {task: _stamp(task) for task in tasks if task[0] not in SCALINGS}
    known = {t: Result(**kept[stamp]) for t, stamp in steady.items() if stamp in kept}
    todo = [task for task in tasks if task not in known]
    with multiprocessing.get_context("fork").Pool(jobs) as pool:
        found = dict(pool.imap_unordered(_task, todo))
    if cache is not None:
        kept |= {steady[task]: asdict(found[task]) for task in todo if task in steady}
        cache.write_text(json.dumps(kept))
    return {task: (known | found)[task] for task in tasks}


def main() -> None:
    """Run, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("traces", type=Path, nargs="*", help="CSV of arrival times")
    parser.add_argument("--policies", nargs="+", default=["ours", *PEERS])
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--each", action="store_true", help="print every setting")
    parser.add_argument("--cache", type=Path, help="file with results of policies that stay")
    arguments = parser.parse_args()
    for trace in [read(path) for path in arguments.traces] or list(made()):
        _TRACES[trace.name] = trace
    settings = [
        Setting(trace=name, cold_start_s=cold_start_s, wait_s=wait_s)
        for name in _TRACES
        for cold_start_s in COLD_STARTS_S
        for wait_s in WAITS_S
    ]
    names = list(dict.fromkeys(("oracle", *arguments.policies)))
    tasks = [(name, setting) for setting in settings for name in names]
    results = run_all(tasks, arguments.jobs, arguments.cache)
    if arguments.each:
        for (name, setting), result in results.items():
            ratio = result.hours / results["oracle", setting].hours
            print(f"{_words(setting):<44} {name:<21} {result.in_time:>7.2%} {ratio:>5.2f} x")
    print(table(results, names))
    lines = list(dominated(results))
    print("\n".join([*lines, f"dominated {len(lines)} times"]))


if __name__ == "__main__":
    main()
