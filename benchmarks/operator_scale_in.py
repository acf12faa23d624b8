"""Count the busy pods that scale-in removes, over thousands of removals in simulated clusters.

The operator's own reconciler runs against an in-memory cluster whose ReplicaSets choose victims as
Kubernetes does, with workers that receive messages while pods are chosen, one or many at a time.
Bursts, the steady traffic between them, service times, start times, holds and poll intervals are
random; now and then the operator is killed and restarted, and the image changes, so that pods
of two Deployments come and go together.

    python benchmarks/operator_scale_in.py                # 10,000 removals, some minutes
    python benchmarks/operator_scale_in.py --pods 500 --json
"""

import argparse
import copy
import json
import random
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from detection_operator.kube.port import Key
from detection_operator.readers.ports import Address
from detection_operator.readers.values import WorkerState
from detection_operator.scaling.records import Record
from detection_testing.scenes.fakes import FakeWorkers
from detection_testing.scenes.world import MINIMAL, World

GOAL_BUSY = 0
BURSTS = 25
RESTART_SHARE = 0.2
ROLL_OUT_SHARE = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What was counted.

    Attributes:
        removed: Pods removed.
        busy: Pods that were working when they were removed.
        asked_busy: Drains of workers that held a message when asked to drain.
        restarts: Kills and restarts of the operator.
        roll_outs: Changes of the image.
        simulated_h: Hours that passed in the clusters.
        wall_s: Seconds that it took.
    """

    removed: int
    busy: int
    asked_busy: int
    restarts: int
    roll_outs: int
    simulated_h: float
    wall_s: float


@dataclass(slots=True)
class Tally:
    """Counts of all clusters so far."""

    removed: int = 0
    busy: int = 0
    asked_busy: int = 0
    restarts: int = 0
    roll_outs: int = 0
    simulated_s: float = 0.0
    started_s: float = field(default_factory=time.monotonic)


class Forgetful(list[Record]):
    """Keeps no decision: thousands of them would fill the memory."""

    def append(self, record: Record, /) -> None:
        """Drop it."""


@dataclass(slots=True)
class Watched(FakeWorkers):
    """Counts the drains of busy workers.

    Attributes:
        asked_busy: How many.
    """

    asked_busy: int = 0

    def drain(self, address: Address) -> WorkerState | None:
        """Stop a worker from receiving."""
        worker = self.workers.get(address.uid)
        self.asked_busy += worker is not None and bool(worker.held) and not worker.draining
        return FakeWorkers.drain(self, address)


def spec(rng: random.Random) -> dict[str, Any]:
    """Return a DetectionQueue's spec that scales in soon."""
    made = copy.deepcopy(dict(MINIMAL))
    made["queue"] = {**made["queue"], "pollIntervalSeconds": rng.choice([1, 5])}
    made["scaling"] = {
        "maxReplicas": 200,
        "scaleDown": {"holdSeconds": rng.choice([0, 5, 20]), "maxPercent": 100},
        "idle": {"policy": "Fixed", "fixedSeconds": 5},
    }
    return made


def live(rng: random.Random, tally: Tally) -> None:
    """Let one cluster see some bursts."""
    world = World()
    world.records = Forgetful()
    world.workers = Watched(world.queue, now_s=world.clock.wall)
    world.start()
    world.workers.service_s = rng.uniform(3.0, 40.0)
    world.workers.lanes = rng.choice([1, 16])
    world.nodes.ready_after_s = rng.choice([0.0, 3.0, 8.0])
    wanted = spec(rng)
    key = world.create_queue("video", wanted)
    for burst in range(BURSTS):
        flow(world, rng, tally)
        if rng.random() < RESTART_SHARE:
            world.start()
            tally.restarts += 1
        if rng.random() < ROLL_OUT_SHARE:
            roll_out(world, key, burst)
            tally.roll_outs += 1
    tally.removed += len(world.nodes.removed)
    tally.busy += len(world.lost)
    tally.asked_busy += world.workers.asked_busy


def flow(world: World, rng: random.Random, tally: Tally) -> None:
    """Let a burst come and some steady traffic after it."""
    a_second = rng.choice([0, 0, 2, 8])
    seconds = rng.randint(10, 90)
    world.queue.visible += rng.randint(0, 600)
    for _ in range(seconds):
        world.queue.visible += a_second
        world.step()
    tally.simulated_s += seconds


def roll_out(world: World, key: Key, number: int) -> None:
    """Give the workers another image."""

    def change(queue: dict[str, Any]) -> None:
        queue["spec"]["worker"]["template"]["image"] = f"worker:{number + 2}"

    world.edit_queue(key, change)


def run(pods: int, seed: int, log: Callable[[str], None]) -> Report:
    """Go on until so many pods were removed."""
    rng = random.Random(seed)
    tally = Tally()
    while tally.removed < pods:
        live(rng, tally)
        log(f"{tally.removed} removed, {tally.busy} of them busy")
    return Report(
        removed=tally.removed,
        busy=tally.busy,
        asked_busy=tally.asked_busy,
        restarts=tally.restarts,
        roll_outs=tally.roll_outs,
        simulated_h=round(tally.simulated_s / 3600, 1),
        wall_s=round(time.monotonic() - tally.started_s, 1),
    )


def main() -> int:
    """Run, print, and return 1 if a busy pod was removed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--pods", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    quiet = arguments.json
    report = run(arguments.pods, arguments.seed, (lambda _: None) if quiet else print)
    if arguments.json:
        print(json.dumps(asdict(report)))
    else:
        print("\n".join(f"{name:<12} {value}" for name, value in asdict(report).items()))
        print(f"goal: busy = {GOAL_BUSY}")
    return int(report.busy > GOAL_BUSY)


if __name__ == "__main__":
    raise SystemExit(main())
