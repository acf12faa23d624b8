"""Count the busy pods that pools remove when they take replicas from one queue for another.

The operator's own reconciler runs against a cluster in memory whose ReplicaSets choose victims as
Kubernetes does, some of them seconds late, and whose pods start and end slowly. Three queues of
different priority share a pool; bursts, service times, guarantees, capacities and sharing are
random; now and then the operator is killed and restarted, and the capacity is cut. Each fall of a
queue's share below what it holds is a reclaim. A pod that holds a message when it is deleted is a
busy one, whatever its grace period; the history of each is printed. In the end the messages stop:
a cluster in which anything is left once the capacity would have done its work and ten more minutes
are over, or a message was done twice or never, counts as a wrong end, and what is left is printed.

    python benchmarks/pools/reclaims.py                 # 500 reclaims
    python benchmarks/pools/reclaims.py --reclaims 50 --json
    KUBEBUILDER_ASSETS=DIR python benchmarks/pools/reclaims.py --reclaims 5 --real
"""

import argparse
import contextlib
import copy
import json
import random
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from detection_contract.environment import ANNOTATION_DELETION_COST, ANNOTATION_DRAIN
from detection_operator.crd.kinds import KINDS
from detection_operator.crd.manifest import manifest
from detection_operator.kube.objects import condition
from detection_operator.kube.port import Key
from detection_operator.kube.rest import Rest
from detection_operator.scaling.records import Record
from detection_testing.kubernetes.apiserver import running
from detection_testing.kubernetes.controllers import Nodes
from detection_testing.scenes.api_scene import ApiScene
from detection_testing.scenes.endings import wrong_end
from detection_testing.scenes.fleet import Fleet
from detection_testing.scenes.world import MINIMAL

GOAL_BUSY = 0
PRIORITIES = {"low": 0, "middle": 50, "high": 100}
ROUNDS = 12
RESTART_SHARE = 0.2
CUT_SHARE = 0.15
LOADS_S = 2.0
"""A worker answers while it loads its model, and receives when it is ready."""
ENDING_S = 40
"""For a capacity that was cut: the longest job, the end of its pod and the steps between."""


@dataclass(slots=True, kw_only=True)
class Tally:
    """What was counted.

    Attributes:
        reclaims: Times that a queue's share fell below what it held.
        removed: Pods removed.
        busy: Pods that were working when they were removed.
        over: Seconds in which more pods existed than the capacity, apart from cuts.
        late_cuts: Cuts of the capacity that took longer than the longest job.
        cuts: All of them.
        restarts: Kills and restarts of the operator.
        clusters: Clusters that lived to their end.
        wrong_ends: Clusters in which something was left in the end.
        simulated_h: Hours that passed in the clusters.
        cpu_s: CPU seconds that it took.
    """

    reclaims: int = 0
    removed: int = 0
    busy: int = 0
    over: int = 0
    late_cuts: int = 0
    cuts: int = 0
    restarts: int = 0
    clusters: int = 0
    wrong_ends: int = 0
    simulated_h: float = 0.0
    cpu_s: float = 0.0


class Forgetful(list[Record]):
    """Keeps no decision: thousands of them would fill the memory."""

    def append(self, record: Record, /) -> None:
        """Drop it."""


@dataclass(slots=True)
class Contest:
    """One cluster with a pool.

    Attributes:
        fleet: Its queues.
        pool: Key of the pool.
        capacity: The pool's capacity now.
        tally: Counts of all clusters.
        below: Queues whose share is below what they hold.
        history: What was seen of each pod, by uid, oldest first.
        cut_until_s: Monotonic time until which more may exist than the capacity.
        sent: Messages that came.
    """

    fleet: Fleet
    pool: Key
    capacity: int
    tally: Tally
    below: set[str]
    history: dict[str, list[str]] = field(default_factory=dict)
    cut_until_s: float = 0.0
    sent: int = 0

    def send(self, name: str, messages: int) -> None:
        """Let messages come to a queue."""
        self.fleet.sides[name].queue.visible += messages
        self.sent += messages

    def run(self, seconds: int) -> None:
        """Let time pass, and count."""
        for _ in range(seconds):
            self._step()

    def wrong_end(self) -> str:
        """Let all messages be done; say what is wrong then."""
        return wrong_end(self.fleet, sent=self.sent, replicas=self.capacity, step=self._step)

    def _step(self) -> None:
        self.fleet.step()
        self.tally.simulated_h += 1 / 3600
        self._note()
        self._count()

    def _note(self) -> None:
        workers = {
            u: w for side in self.fleet.sides.values() for u, w in side.workers.workers.items()
        }
        for pod in self.fleet.cluster.of_kind("Pod"):
            metadata = pod["metadata"]
            marks = metadata.get("annotations", {})
            worker = workers.get(metadata["uid"])
            state = {
                "ready": (condition(pod, "Ready") or {}).get("status"),
                "cost": marks.get(ANNOTATION_DELETION_COST),
                "asked": marks.get(ANNOTATION_DRAIN),
                "deleted": "deletionTimestamp" in metadata,
                "draining": worker is not None and worker.draining,
                "holds": 0 if worker is None else len(worker.held),
            }
            seen = self.history.setdefault(metadata["uid"], [])
            if not seen or not seen[-1].endswith(str(state)):
                seen.append(f"{self.fleet.clock.monotonic:.0f} s: {metadata['name']} {state}")

    def _count(self) -> None:
        reconciler = self.fleet.reconciler
        if reconciler is None:
            return
        allocation = reconciler.pools.ledger.allocation(self.pool)
        if allocation is None:
            return
        below = {
            name
            for name, demand in allocation.demands.items()
            if allocation.grants[name].share < demand.held
        }
        self.tally.reclaims += len(below - self.below)
        self.below = below
        pods = len(self.fleet.cluster.of_kind("Pod"))
        if pods > self.capacity and self.fleet.clock.monotonic > self.cut_until_s:
            self.tally.over += 1


def spec(rng: random.Random, name: str) -> dict[str, Any]:
    """Return a DetectionQueue's spec that takes part in the pool."""
    made = copy.deepcopy(dict(MINIMAL))
    made["queue"] = {"pollIntervalSeconds": rng.choice([1, 5])}
    made["scaling"] = {
        "maxReplicas": 40,
        "scaleDown": {"holdSeconds": rng.choice([0, 5, 20]), "maxPercent": 100},
        "idle": {"policy": "Fixed", "fixedSeconds": 5},
        "pool": {
            "name": "gpu",
            "priority": PRIORITIES[name],
            "guaranteed": rng.choice([0, 0, 1, 2]),
            "weight": rng.choice([1, 1, 3]),
        },
    }
    return made


def contest(rng: random.Random, fleet: Fleet, tally: Tally) -> list[str]:
    """Let three queues of one cluster contend for a while; return what went wrong, in lines."""
    fleet.records = Forgetful()
    capacity = rng.randint(4, 16)
    sharing = rng.choice(["Priority", "Priority", "Fair"])
    pool = fleet.create_pool("gpu", {"replicas": capacity}, sharing=sharing)
    if isinstance(fleet.nodes, Nodes):
        fleet.nodes.ends_after_s = rng.choice([0.0, 2.0, 6.0])
        fleet.nodes.ready_after_s = rng.choice([0.0, 3.0, 8.0])
        fleet.nodes.acts_after_s = rng.choice([0.0, 0.0, 2.0, 5.0])
        fleet.nodes.loads_s = LOADS_S
    for name in PRIORITIES:
        fleet.add(name, spec(rng, name), service_s=rng.uniform(3.0, 20.0))
    seen = Contest(fleet=fleet, pool=pool, capacity=capacity, tally=tally, below=set())
    for _ in range(ROUNDS):
        seen.send(rng.choice(list(PRIORITIES)), rng.randint(0, 200))
        seen.run(rng.randint(5, 60))
        if rng.random() < RESTART_SHARE:
            fleet.start()
            tally.restarts += 1
        if rng.random() < CUT_SHARE:
            cut(seen, rng)
    wrong = seen.wrong_end()
    tally.wrong_ends += bool(wrong)
    tally.clusters += 1
    tally.removed += len(fleet.nodes.removed)
    tally.busy += len(fleet.lost)
    lines = [line for uid in fleet.lost for line in seen.history[uid]]
    return [*lines, f"wrong end: {wrong}"] if wrong else lines


def cut(seen: Contest, rng: random.Random) -> None:
    """Set another capacity, and see that what is above it goes in time."""
    fleet, tally = seen.fleet, seen.tally
    seen.capacity = rng.randint(3, 16)
    seen.cut_until_s = fleet.clock.monotonic + ENDING_S
    fleet.edit_queue(seen.pool, lambda obj: obj["spec"]["capacity"].update(replicas=seen.capacity))
    tally.cuts += 1
    seen.run(ENDING_S)
    tally.late_cuts += len(fleet.cluster.of_kind("Pod")) > seen.capacity


@contextlib.contextmanager
def fleets(*, real: bool) -> Iterator[Callable[[], Fleet]]:
    """Yield what makes fleets, in memory or on a real API server."""
    if not real:
        yield Fleet
        return
    with running() as server, contextlib.ExitStack() as stack:
        admin = stack.enter_context(contextlib.closing(Rest(server.configuration())))
        for kind in KINDS:
            path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
            admin.call("POST", path, manifest(kind))
            server.wait_for(f"/apis/detection-queue.dev/v1alpha1/{kind.plural}")

        def make() -> Fleet:
            rest = stack.enter_context(contextlib.closing(Rest(server.configuration())))
            return Fleet(cluster=ApiScene(rest, admin, f"pool-{uuid.uuid4().hex[:8]}"))

        yield make


def run(reclaims: int, seed: int, make: Callable[[], Fleet], log: Callable[[str], None]) -> Tally:
    """Go on until so many reclaims were seen."""
    rng, tally, began_s = random.Random(seed), Tally(), time.process_time()
    while tally.reclaims < reclaims:
        for line in contest(rng, make(), tally):
            log(line)
        log(f"{tally.reclaims} reclaims, {tally.removed} pods removed, {tally.busy} of them busy")
    tally.cpu_s = round(time.process_time() - began_s, 1)
    tally.simulated_h = round(tally.simulated_h, 1)
    return tally


def main() -> int:
    """Run, print, and return 1 if a busy pod was removed, or a capacity or an end was not kept."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--reclaims", type=int, default=500)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--real", action="store_true", help="on an API server: KUBEBUILDER_ASSETS")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    log: Callable[[str], None] = (lambda _: None) if arguments.json else print
    with fleets(real=arguments.real) as make:
        tally = run(arguments.reclaims, arguments.seed, make, log)
    if arguments.json:
        print(json.dumps(asdict(tally)))
    else:
        print("\n".join(f"{name:<12} {value}" for name, value in asdict(tally).items()))
        print(f"goal: busy = {GOAL_BUSY}, over = 0, late_cuts = 0, wrong_ends = 0")
    missed = (tally.busy > GOAL_BUSY, tally.over, tally.late_cuts, tally.wrong_ends)
    return int(any(missed))


if __name__ == "__main__":
    raise SystemExit(main())
