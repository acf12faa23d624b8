"""How long from a burst in SQS until the Deployment asks for the replicas that it needs.

The operator's own process loop (informer, work queue, poll schedule, server-side apply) runs
against a real API server and reads scripted queue depths, which jump at a random time. Measured is
what users wait for: from the jump until an observer of the Deployments sees the new number. Needs
``kube-apiserver`` and ``etcd`` in ``KUBEBUILDER_ASSETS``.

"idle" bursts hit queues that were empty and had no replicas, "active" ones such as work already.

    python benchmarks/operator_reaction.py                 # 60 queues, two bursts each
    python benchmarks/operator_reaction.py --queues 20 --json
"""

import argparse
import copy
import json
import random
import statistics
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from detection_operator.crd.manifest import manifest
from detection_operator.kube.rest import Rest
from detection_operator.readers.values import QueueReading
from detection_operator.runtime.operator import Operator
from detection_operator.settings import OperatorSettings
from detection_operator.spec.queue_spec import QueueRef
from detection_testing.kubernetes.apiserver import ApiServer, NoBinaries, running
from detection_testing.scenes.api_scene import ApiScene
from detection_testing.scenes.fakes import HEALTHY, FakeQueue, FakeWorkers
from detection_testing.scenes.world import MINIMAL

GOAL_MEAN_S = 3.0
GOAL_P99_S = 6.0
POLL_S = 5
NAMESPACE = "reaction"
WARM_UP_S = 20.0
"""All queues were polled several times, and none at the same moment as all others."""
SPREAD_S = 15.0
"""Bursts come at random within this time, three polls long."""
LONGEST_S = 60.0
FIRST, SECOND = 200, 900
"""Messages of the bursts: some 20 and 90 replicas' worth at 10 s each within the allowed 120 s."""
LOOK_S = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Reaction:
    """Seconds from the burst to the written number.

    Attributes:
        case: Where the burst hit.
        bursts: How many.
        unanswered: Bursts without an answer within a minute.
        mean_s: Mean.
        p50_s: Median.
        p99_s: 99th percentile.
        worst_s: Longest.
    """

    case: str
    bursts: int
    unanswered: int
    mean_s: float
    p50_s: float
    p99_s: float
    worst_s: float


class Depths:
    """A queue reader of scripted depths, by queue URL."""

    def __init__(self) -> None:
        self.visible: dict[str, int] = {}

    def read(
        self,
        queue: QueueRef,
        before: QueueReading,
        now_s: float,
        *,
        outbox: QueueRef | None = None,
    ) -> QueueReading:
        """Return the depth of now."""
        del before, outbox
        return QueueReading(
            sampled_at_s=now_s,
            visible=self.visible.get(queue.url, 0),
            in_flight=0,
            settings=HEALTHY,
            dead_letter=0,
            dead_letter_retention_s=1_209_600,
        )


def url(number: int) -> str:
    """Return a queue's URL."""
    return f"https://sqs.eu-west-1.amazonaws.com/123456789012/reaction-{number:04d}"


def spec(number: int) -> Mapping[str, Any]:
    """Return a DetectionQueue's spec, polled every 5 s."""
    made = copy.deepcopy(dict(MINIMAL))
    made["queue"] = {"url": url(number), "pollIntervalSeconds": POLL_S}
    made["scaling"] = {"maxReplicas": 200}
    made["worker"] = {"template": {"image": "worker:1"}}
    return made


def asked(rest: Rest) -> dict[str, int]:
    """Return the replicas that Deployments ask for, by DetectionQueue."""
    found = rest.call("GET", f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments")
    return {
        item["metadata"]["ownerReferences"][0]["name"]: int(item["spec"]["replicas"])
        for item in found["items"]
    }


def burst(
    rest: Rest, depths: Depths, *, count: int, messages: int, rng: random.Random
) -> list[float]:
    """Let every queue jump once at a random time; return the seconds to each answer."""
    started_s = time.monotonic()
    planned = {number: started_s + rng.uniform(0.0, SPREAD_S) for number in range(count)}
    before = asked(rest)
    waiting = dict(planned)
    took: list[float] = []
    while waiting and time.monotonic() - started_s < SPREAD_S + LONGEST_S:
        now_s = time.monotonic()
        for number, at_s in waiting.items():
            if at_s <= now_s:
                depths.visible[url(number)] = messages
        time.sleep(LOOK_S)
        now = asked(rest)
        seen_s = time.monotonic()
        for number in list(waiting):
            name = f"q-{number:04d}"
            jumped = depths.visible.get(url(number)) == messages
            if jumped and now.get(name, 0) > before.get(name, 0):
                took.append(seen_s - waiting.pop(number))
    return took


def summary(case: str, took: list[float], count: int) -> Reaction:
    """Return the figures of one case."""
    ordered = sorted(took) or [float("nan")]
    return Reaction(
        case=case,
        bursts=count,
        unanswered=count - len(took),
        mean_s=round(statistics.fmean(ordered), 2),
        p50_s=round(statistics.median(ordered), 2),
        p99_s=round(ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))], 2),
        worst_s=round(ordered[-1], 2),
    )


def run(server: ApiServer, count: int, seed: int) -> list[Reaction]:
    """Measure both cases on a running API server."""
    rng = random.Random(seed)
    depths = Depths()
    own, admin = Rest(server.configuration()), Rest(server.configuration())
    definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    admin.call("POST", definitions, manifest())
    time.sleep(2.0)
    scene = ApiScene(own, admin, NAMESPACE)
    operator = Operator(
        OperatorSettings(
            namespaces=(NAMESPACE,),
            namespace=NAMESPACE,
            identity="reaction",
            host="127.0.0.1",
            port=0,
            kubeconfig=server.kubeconfig(),
        ),
        reader=depths,
        workers=FakeWorkers(FakeQueue()),
    )
    thread = threading.Thread(target=operator.run)
    thread.start()
    try:
        for number in range(count):
            scene.create_queue(f"q-{number:04d}", spec(number))
        time.sleep(WARM_UP_S)
        idle = burst(admin, depths, count=count, messages=FIRST, rng=rng)
        time.sleep(WARM_UP_S)
        active = burst(admin, depths, count=count, messages=SECOND, rng=rng)
    finally:
        operator.stop()
        thread.join(20.0)
        own.close()
        admin.close()
    return [summary("idle", idle, count), summary("active", active, count)]


def main() -> int:
    """Measure and print; 1 if a goal was missed, 2 without an API server."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--queues", type=int, default=60)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    try:
        with running() as server:
            version = server.version
            rows = run(server, arguments.queues, arguments.seed)
    except NoBinaries as exc:
        print(exc, file=sys.stderr)
        return 2
    if arguments.json:
        print(json.dumps([asdict(row) for row in rows]))
    else:
        print(f"kube-apiserver {version}, poll every {POLL_S} s")
        for row in rows:
            print("  ".join(f"{name} {value}" for name, value in asdict(row).items()))
        print(f"goal: mean <= {GOAL_MEAN_S} s, p99 <= {GOAL_P99_S} s")
    missed = any(
        row.unanswered or row.mean_s > GOAL_MEAN_S or row.p99_s > GOAL_P99_S for row in rows
    )
    return int(missed)


if __name__ == "__main__":
    raise SystemExit(main())
