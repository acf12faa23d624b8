"""This operator and KEDA on one control plane, with the same burst and the same scale-in.

Both read the same queue over HTTP, want the same number of replicas (messages / 5), and see pods
that are ready at once. Measured is what users see:

- reaction: seconds from the burst until the first replica is asked for;
- ramp: seconds until all replicas that the burst needs are asked for;
- overshoot: replicas above that;
- busy removed: pods that were working when scale-in removed them, of how many removed; three in
  four workers hold a message that takes longer than the stabilization window;
- memory, writes to the API server (all but leases and events) and SQS calls of the whole run.

Needs kube-apiserver, etcd and kube-controller-manager in ``KUBEBUILDER_ASSETS``. KEDA runs from
its own binaries where ``KEDA_OPERATOR``, ``KEDA_METRICS_APISERVER`` and ``KEDA_CRDS`` name them;
otherwise this operator runs alone, and the reason is printed.

    python benchmarks/keda/comparison.py                      # about six minutes with KEDA
    python benchmarks/keda/comparison.py --polling 30 --stabilization 300 --json
"""

import argparse
import contextlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from detection_operator.crd.manifest import manifest
from detection_operator.errors import ClusterError
from detection_operator.kube.rest import Rest, namespaced
from detection_testing.http.proxy import Proxy
from detection_testing.kubernetes import keda
from detection_testing.kubernetes.apiserver import ApiServer, NoBinaries, running
from detection_testing.scenes.site import ENVIRON, Site
from detection_testing.scenes.site import site as new_site

QUEUE_LENGTH: Final = 5
LONGEST_S: Final = 600.0
SQS_PATH: Final = "123456789012/video"
NAME: Final = "video"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One autoscaler's figures.

    Attributes:
        who: Its name.
        reaction_s: Seconds until the first replica.
        ramp_s: Seconds until all that the burst needs; None if that did not happen.
        overshoot: Replicas above that.
        removed: Pods that scale-in removed.
        busy_removed: Those of them that were working.
        empty_s: Seconds from the last message until no replica is left; None if one stayed.
        memory_mib: Resident memory of its processes, without the HPA controller.
        writes: Successful writes to the API server but leases and events, by the HPA too.
        sqs_calls: Reads of the queue.
    """

    who: str
    reaction_s: float | None
    ramp_s: float | None
    overshoot: int
    removed: int
    busy_removed: int
    empty_s: float | None
    memory_mib: float
    writes: int
    sqs_calls: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What both get.

    Attributes:
        messages: Size of the burst.
        polling_s: Interval of reads.
        stabilization_s: How long replicas must be surplus before they go.
    """

    messages: int
    polling_s: int
    stabilization_s: int

    @property
    def replicas(self) -> int:
        """Replicas that the burst needs."""
        return -(-self.messages // QUEUE_LENGTH)


def writes(proxy: Proxy) -> int:
    """Return how many writes passed that users would count."""
    return sum(item.wrote and "/events" not in item.path for item in proxy.seen)


def awaited(site: Site, until: Callable[[], bool]) -> float | None:
    """Return after how many seconds something came to be; None if it did not."""
    start_s = time.monotonic()
    return time.monotonic() - start_s if site.live(LONGEST_S, until) else None


def measure(
    site: Site, load: Load, who: str, *, memory_mib: Callable[[], float], proxy: Proxy
) -> Result:
    """Let the burst come, three in four of the workers stay busy, and all messages end."""
    most = [0]

    def asked(replicas: int) -> Callable[[], bool]:
        def is_so() -> bool:
            most[0] = max(most[0], site.replicas)
            return site.replicas >= replicas

        return is_so

    site.workers.service_s = 1e6
    site.queue.visible = load.messages
    reaction_s = awaited(site, asked(1))
    more_s = awaited(site, asked(load.replicas)) if reaction_s is not None else None
    # What comes after the ramp counts as overshoot too.
    site.live(60.0, lambda: not asked(load.replicas)())
    keep_busy(site, load)
    site.live(load.stabilization_s + 45.0)
    finish(site)
    empty_s = awaited(site, lambda: site.replicas == 0 and not site.scene.of_kind("Pod"))
    return Result(
        who=who,
        reaction_s=rounded(reaction_s),
        ramp_s=rounded(None if reaction_s is None or more_s is None else reaction_s + more_s),
        overshoot=max(0, most[0] - load.replicas),
        removed=len(site.nodes.removed),
        busy_removed=len(site.lost),
        empty_s=rounded(empty_s),
        memory_mib=round(memory_mib(), 1),
        writes=writes(proxy),
        sqs_calls=site.queue.reads,
    )


def rounded(seconds: float | None) -> float | None:
    """Return seconds with one digit."""
    return None if seconds is None else round(seconds, 1)


def keep_busy(site: Site, load: Load) -> None:
    """Take away what waits, and let every fourth worker finish what it holds."""
    with site.control.lock:
        site.queue.visible = 0
        held = [worker for worker in site.workers.workers.values() if worker.held]
        for worker in held[: load.replicas // 4]:
            worker.left_s = 0.1


def finish(site: Site) -> None:
    """Let every worker finish, and messages of the lost be done by those that are left."""
    site.workers.service_s = 0.1
    with site.control.lock:
        for worker in site.workers.workers.values():
            worker.left_s = None if worker.left_s is None else 0.1


def ours(site: Site, load: Load, server: ApiServer) -> Result:
    """Measure this operator, with the policy that divides by messages as KEDA does."""
    with contextlib.closing(Proxy(server.url, server.ca_file)) as proxy:
        operator = site.operator("--no-leader-election", by_way_of=proxy.url)
        key = site.create_queue(
            policy="Backlog",
            backlogPerReplica=QUEUE_LENGTH,
            maxReplicas=2 * load.replicas,
            scaleDown={"holdSeconds": load.stabilization_s, "maxPercent": 100},
            idle={"policy": "Fixed", "fixedSeconds": load.stabilization_s},
        )
        site.edit_queue(key, {"queue": {"pollIntervalSeconds": load.polling_s}})
        site.live(30.0, lambda: operator.decided() > 2)
        return measure(
            site, load, "this operator", memory_mib=operator.service.memory_mib, proxy=proxy
        )


def scaled_object(site: Site, load: Load) -> dict[str, Any]:
    """Return the ScaledObject."""
    endpoint = f"http://127.0.0.1:{site.sqs.port}"
    trigger = {
        "type": "aws-sqs-queue",
        "metadata": {
            "queueURL": f"{endpoint}/{SQS_PATH}",
            "queueLength": str(QUEUE_LENGTH),
            "awsRegion": "eu-west-1",
            "awsEndpoint": endpoint,
            "identityOwner": "operator",
        },
    }
    down = {"scaleDown": {"stabilizationWindowSeconds": load.stabilization_s}}
    return {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": {"name": NAME},
        "spec": {
            "scaleTargetRef": {"name": NAME},
            "pollingInterval": load.polling_s,
            "cooldownPeriod": load.stabilization_s,
            "minReplicaCount": 0,
            "maxReplicaCount": 2 * load.replicas,
            "advanced": {"horizontalPodAutoscalerConfig": {"behavior": down}},
            "triggers": [trigger],
        },
    }


def deployment() -> dict[str, Any]:
    """Return the Deployment that KEDA scales."""
    labels = {"app": NAME}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": NAME},
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "worker", "image": "worker:1"}]},
            },
        },
    }


def theirs(site: Site, load: Load, server: ApiServer, found: keda.Binaries) -> Result:
    """Measure KEDA.

    Raises:
        RuntimeError: One of its processes ended; the message has its last words.
    """
    with keda.running(server, found, site.folder, ENVIRON) as parts:
        site.scene.create(deployment())
        path = namespaced("keda.sh/v1alpha1", site.scene.namespace, "scaledobjects")
        site.scene.admin.call("POST", path, scaled_object(site, load))
        hpas = namespaced("autoscaling/v2", site.scene.namespace, "horizontalpodautoscalers")

        def is_watched() -> bool:
            ended = [part for part in (parts.operator, parts.metrics, parts.hpa) if died(part)]
            if ended:
                raise RuntimeError(f"a process of KEDA ended: {ended[0].words()}")
            return bool(site.scene.admin.call("GET", hpas)["items"]) and site.queue.reads > 1

        if not site.live(120.0, is_watched):
            raise RuntimeError(f"KEDA does not read the queue: {parts.operator.words()}")
        return measure(
            site,
            load,
            "KEDA",
            memory_mib=lambda: parts.operator.memory_mib() + parts.metrics.memory_mib(),
            proxy=parts.proxy,
        )


def died(part: Any) -> bool:
    """Say whether a process ended."""
    return part.ended() is not None


def run(server: ApiServer, load: Load, found: keda.Binaries | None) -> Iterator[Result]:
    """Measure one after the other on a running API server."""
    with contextlib.closing(Rest(server.configuration())) as admin:
        definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
        admin.call("POST", definitions, manifest())
    server.wait_for("/apis/detection-queue.dev/v1alpha1/detectionqueues")
    with tempfile.TemporaryDirectory() as folder:
        with new_site(server, "ours", made(folder, "ours")) as site:
            yield ours(site, load, server)
        if found is not None:
            with new_site(server, "theirs", made(folder, "theirs")) as site:
                yield theirs(site, load, server, found)


def made(folder: str, name: str) -> Path:
    """Return a new folder."""
    path = Path(folder) / name
    path.mkdir()
    return path


def told(result: Result, version: str) -> Result:
    """Say at once on stderr what was measured: the next one takes minutes."""
    facts = "  ".join(f"{name} {value}" for name, value in asdict(result).items())
    print(f"kube-apiserver {version}  {facts}", file=sys.stderr, flush=True)
    return result


def main() -> int:
    """Measure and print; 1 if this operator removed a busy pod, 2 without an API server."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--messages", type=int, default=100)
    parser.add_argument("--polling", type=int, default=5, help="seconds; KEDA's default is 30")
    parser.add_argument(
        "--stabilization", type=int, default=60, help="seconds; the HPA's default is 300"
    )
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    load = Load(
        messages=arguments.messages,
        polling_s=arguments.polling,
        stabilization_s=arguments.stabilization,
    )
    found, why = None, ""
    try:
        found = keda.binaries(os.environ)
    except keda.NoKeda as exc:
        why = f"without KEDA: {exc}"
    try:
        with running() as server:
            results = [told(result, server.version) for result in run(server, load, found)]
    except (NoBinaries, RuntimeError, ClusterError) as exc:
        print(exc, file=sys.stderr)
        return 2
    if arguments.json:
        print(json.dumps([asdict(result) for result in results]))
    if why:
        print(why, file=sys.stderr)
    return int(results[0].busy_removed > 0)


if __name__ == "__main__":
    raise SystemExit(main())
