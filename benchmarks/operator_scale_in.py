"""Count the busy pods that scale-in removes, over thousands of removals in simulated clusters.

The operator's own reconciler runs against an in-memory cluster whose ReplicaSets choose victims as
Kubernetes does, with workers that receive messages while pods are chosen, one or many at a time.
Bursts, the steady traffic between them, service times, start times, holds and poll intervals are
random; now and then the operator is killed, half of the times between two of its writes, and
restarted, and the image changes, so that pods of two Deployments come and go together. In the end
the messages stop: a cluster in which anything is left once as many replicas as it may have would
have done its work and ten more minutes are over, or a message was done twice or never, counts as a
wrong end, and what is left is printed.

    python benchmarks/operator_scale_in.py          # 10,000 removals, 200 kills, some minutes
    python benchmarks/operator_scale_in.py --pods 500 --kills 10 --json
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
from detection_testing.kubernetes.cluster import InMemoryCluster
from detection_testing.kubernetes.controllers import Nodes
from detection_testing.scenes.disturbances import WRITES as OFTEN
from detection_testing.scenes.endings import wrong_end
from detection_testing.scenes.fakes import FakeWorkers
from detection_testing.scenes.world import MINIMAL, World

GOAL = 0
BURSTS = 25
WRITES = (*OFTEN, "delete_deployment")
KILL_SHARE = 0.35
ROLL_OUT_SHARE = 0.1
MAX_REPLICAS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What was counted.

    Attributes:
        removed: Pods removed.
        busy: Pods that were working when they were removed.
        asked_busy: Drains of workers that held a message when asked to drain.
        kills: Kills of the operator.
        between_writes: Kills of those that came between two writes of a reconcile.
        clusters: Clusters that lived to their end.
        wrong_ends: Clusters in which something was left in the end.
        roll_outs: Changes of the image.
        simulated_h: Hours that passed in the clusters.
        wall_s: Seconds that it took.
    """

    removed: int
    busy: int
    asked_busy: int
    kills: int
    between_writes: int
    clusters: int
    wrong_ends: int
    roll_outs: int
    simulated_h: float
    wall_s: float


@dataclass(slots=True)
class Tally:
    """Counts of all clusters so far."""

    removed: int = 0
    busy: int = 0
    asked_busy: int = 0
    kills: int = 0
    between_writes: int = 0
    clusters: int = 0
    wrong_ends: int = 0
    roll_outs: int = 0
    simulated_s: float = 0.0
    started_s: float = field(default_factory=time.monotonic)


class Killed(BaseException):
    """The process is gone: no handler of it runs any more."""


class Mortal(InMemoryCluster):
    """Kills the operator just before a write.

    Attributes:
        left: Writes until then; below 1: never.
    """

    left = 0

    def _trip(self, call: str) -> None:
        if call in WRITES and self.left > 0:
            self.left -= 1
            if self.left == 0:
                raise Killed
        super()._trip(call)


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
        "maxReplicas": MAX_REPLICAS,
        "scaleDown": {"holdSeconds": rng.choice([0, 5, 20]), "maxPercent": 100},
        "idle": {"policy": "Fixed", "fixedSeconds": 5},
    }
    return made


def live(rng: random.Random, tally: Tally) -> str:
    """Let one cluster see some bursts; say what is wrong in its end."""
    world = World()
    cluster = Mortal(world.clock.wall_s)
    world.cluster, world.nodes = cluster, Nodes(cluster)
    world.records = Forgetful()
    world.workers = Watched(world.queue, now_s=world.clock.wall)
    world.start()
    world.workers.service_s = rng.uniform(3.0, 40.0)
    world.workers.lanes = rng.choice([1, 16])
    world.nodes.ready_after_s = rng.choice([0.0, 3.0, 8.0])
    key = world.create_queue("video", spec(rng))
    messages = 0
    for burst in range(BURSTS):
        if rng.random() < KILL_SHARE:
            tally.kills += 1
            tally.between_writes += kill(world, cluster, rng)
        messages += flow(world, rng, tally)
        if rng.random() < ROLL_OUT_SHARE:
            roll_out(world, key, burst)
            tally.roll_outs += 1
    wrong = wrong_end(world, sent=messages, replicas=MAX_REPLICAS)
    tally.wrong_ends += bool(wrong)
    tally.clusters += 1
    tally.removed += len(world.nodes.removed)
    tally.busy += len(world.lost)
    tally.asked_busy += world.workers.asked_busy
    return wrong


def kill(world: World, cluster: Mortal, rng: random.Random) -> bool:
    """Kill the operator and start the next; say whether it was about to write."""
    cluster.left = rng.choice([0, 0, 1, 2, 3, 5])
    try:
        world.run(20 if cluster.left else 0)
    except Killed:
        # Its successor comes when the lease has expired.
        world.kill()
        world.run(15)
        return True
    finally:
        cluster.left = 0
        world.start()
    return False


def flow(world: World, rng: random.Random, tally: Tally) -> int:
    """Let a burst come and some steady traffic after it; return how many messages came."""
    a_second = rng.choice([0, 0, 2, 8])
    seconds = rng.randint(10, 90)
    burst = rng.randint(0, 600)
    world.queue.visible += burst
    for _ in range(seconds):
        world.queue.visible += a_second
        world.step()
    tally.simulated_s += seconds
    return burst + seconds * a_second


def roll_out(world: World, key: Key, number: int) -> None:
    """Give the workers another image."""

    def change(queue: dict[str, Any]) -> None:
        queue["spec"]["worker"]["template"]["image"] = f"worker:{number + 2}"

    world.edit_queue(key, change)


def run(pods: int, kills: int, seed: int, log: Callable[[str], None]) -> Report:
    """Go on until so many pods were removed and the operator was killed so often."""
    rng = random.Random(seed)
    tally = Tally()
    while tally.removed < pods or tally.kills < kills:
        if wrong := live(rng, tally):
            log(f"wrong end: {wrong}")
        log(f"{tally.removed} removed, {tally.busy} of them busy, {tally.kills} kills")
    return Report(
        removed=tally.removed,
        busy=tally.busy,
        asked_busy=tally.asked_busy,
        kills=tally.kills,
        between_writes=tally.between_writes,
        clusters=tally.clusters,
        wrong_ends=tally.wrong_ends,
        roll_outs=tally.roll_outs,
        simulated_h=round(tally.simulated_s / 3600, 1),
        wall_s=round(time.monotonic() - tally.started_s, 1),
    )


def main() -> int:
    """Run, print, and return 1 if a busy pod was removed or an end was wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--pods", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    log: Callable[[str], None] = (lambda _: None) if arguments.json else print
    report = run(arguments.pods, arguments.kills, arguments.seed, log)
    if arguments.json:
        print(json.dumps(asdict(report)))
    else:
        print("\n".join(f"{name:<14} {value}" for name, value in asdict(report).items()))
        print(f"goal: busy = {GOAL}, wrong_ends = {GOAL}")
    return int(report.busy > GOAL or report.wrong_ends > GOAL)


if __name__ == "__main__":
    raise SystemExit(main())
