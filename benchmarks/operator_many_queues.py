"""What one operator process costs with very many DetectionQueues.

The whole operator runs in this process against a real API server; queues are real ones of the
local SQS, in a process of its own, so that signing requests and parsing answers is paid for.
Measured are memory, CPU at rest, writes to the API server at rest, the time until all were
reconciled again, and reconciles without anything to do a second. Needs ``kube-apiserver`` and
``etcd`` in ``KUBEBUILDER_ASSETS``.

All queues are empty and of one account, whose rate they share.

    python benchmarks/operator_many_queues.py                    # 1,000 queues, about 10 minutes
    python benchmarks/operator_many_queues.py --queues 100 --settle-s 60 --json
"""

import argparse
import copy
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import boto3

from detection_operator.crd.manifest import manifest
from detection_operator.kube.objects import key_of
from detection_operator.kube.port import Key
from detection_operator.kube.rest import Rest
from detection_operator.runtime.operator import Operator
from detection_operator.settings import OperatorSettings
from detection_testing.kubernetes.apiserver import ApiServer, NoBinaries, running
from detection_testing.operator_demo import local_aws
from detection_testing.scenes.api_scene import ApiScene
from detection_testing.scenes.world import MINIMAL

GOALS = {"rss_mib": 250.0, "cores": 0.3, "resync_s": 15.0, "noop_per_s": 300.0}
NAMESPACE = "many"
REST_S = 60.0
LONGEST_START_S = 300.0
SETTLE_S = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What was measured.

    Attributes:
        queues: DetectionQueues.
        started_s: Until the status of each was written.
        young_cores: CPU cores in the first quiet minute.
        cores: CPU cores in a minute at rest.
        sqs_calls_per_s: Requests to SQS in that minute.
        writes: To the API server in that minute, by kind; the lease is renewed every two seconds.
        rss_mib: Memory of the process then.
        resync_s: Until all were reconciled, asked for at once.
        noop_per_s: Reconciles that change nothing, a second of that time.
    """

    queues: int
    started_s: float
    young_cores: float
    cores: float
    sqs_calls_per_s: float
    writes: dict[str, float]
    rss_mib: float
    resync_s: float
    noop_per_s: float


def rss_mib() -> float:
    """Return the resident memory of this process."""
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def counted(operator: Operator, name: str) -> float:
    """Return the sum of a counter's samples."""
    return sum(
        sample.value
        for family in operator.metrics.registry.collect()
        for sample in family.samples
        if sample.name == f"detection_operator_{name}"
    )


def writes_by_kind(operator: Operator) -> dict[str, float]:
    """Return the writes to the API server so far."""
    return {
        sample.labels["kind"]: sample.value
        for family in operator.metrics.registry.collect()
        for sample in family.samples
        if sample.name == "detection_operator_api_writes_total"
    }


def spec(url: str, endpoint_url: str) -> Mapping[str, Any]:
    """Return a DetectionQueue's spec."""
    made = copy.deepcopy(dict(MINIMAL))
    made["queue"] = {"url": url, "endpointURL": endpoint_url, "region": local_aws.REGION}
    return made


def make_queues(scene: ApiScene, endpoint_url: str, count: int) -> None:
    """Create SQS queues and a DetectionQueue for each."""
    sqs = boto3.client(
        "sqs",
        endpoint_url=endpoint_url,
        region_name=local_aws.REGION,
        aws_access_key_id=local_aws.CREDENTIALS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=local_aws.CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
    )
    for number in range(count):
        url = sqs.create_queue(QueueName=f"many-{number:04d}")["QueueUrl"]
        scene.create_queue(f"q-{number:04d}", spec(url, endpoint_url))
    sqs.close()


def wait_until_told(scene: ApiScene, count: int) -> float:
    """Wait until every status was written; return the seconds."""
    started_s = time.monotonic()
    while time.monotonic() - started_s < LONGEST_START_S:
        found = scene.queues()
        if sum(1 for queue in found if queue.get("status", {}).get("plan")) >= count:
            break
        time.sleep(1.0)
    return time.monotonic() - started_s


def cores(seconds: float) -> float:
    """Return the mean number of CPU cores that this process uses over ``seconds``."""
    cpu_s, wall_s = time.process_time(), time.monotonic()
    time.sleep(seconds)
    return (time.process_time() - cpu_s) / (time.monotonic() - wall_s)


def resync(operator: Operator, keys: list[Key]) -> float:
    """Ask for every DetectionQueue at once; return the seconds until all were reconciled."""
    before = counted(operator, "reconciles_total")
    started_s = time.monotonic()
    for key in keys:
        operator._controller.add(key)  # noqa: SLF001 - what an event of the cluster does
    while counted(operator, "reconciles_total") - before < len(keys):
        time.sleep(0.02)
        if time.monotonic() - started_s > LONGEST_START_S:
            break
    return time.monotonic() - started_s


def measure(operator: Operator, scene: ApiScene, count: int, settle_s: float) -> Report:
    """Return the figures of a running operator."""
    started_s = wait_until_told(scene, count)
    print(f"{count} told after {started_s:.1f} s, {rss_mib():.0f} MiB", file=sys.stderr)
    young_cores = cores(REST_S)
    print(f"first minute: {young_cores:.2f} cores", file=sys.stderr)
    time.sleep(max(0.0, settle_s - REST_S))
    before = writes_by_kind(operator)
    calls = counted(operator, "sqs_requests_total")
    used = cores(REST_S)
    after = writes_by_kind(operator)
    writes = {kind: after[kind] - before.get(kind, 0.0) for kind in after}
    calls = counted(operator, "sqs_requests_total") - calls
    memory = rss_mib()
    keys = sorted(key_of(queue) for queue in scene.queues())
    resync_s = resync(operator, keys)
    return Report(
        queues=count,
        started_s=round(started_s, 1),
        young_cores=round(young_cores, 3),
        cores=round(used, 3),
        sqs_calls_per_s=round(calls / REST_S, 1),
        writes={kind: count for kind, count in writes.items() if count},
        rss_mib=round(memory),
        resync_s=round(resync_s, 2),
        noop_per_s=round(len(keys) / resync_s),
    )


def run(server: ApiServer, count: int, settle_s: float) -> Report:
    """Start everything, measure, and stop it."""
    own, admin = Rest(server.configuration()), Rest(server.configuration())
    definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    admin.call("POST", definitions, manifest())
    time.sleep(2.0)
    scene = ApiScene(own, admin, NAMESPACE)
    with (
        tempfile.TemporaryDirectory() as folder,
        local_aws.running(Path(folder, "aws.log")) as aws,
    ):
        make_queues(scene, aws.endpoint_url, count)
        settings = OperatorSettings(
            namespaces=(NAMESPACE,),
            namespace=NAMESPACE,
            identity="many",
            host="127.0.0.1",
            port=0,
            kubeconfig=server.kubeconfig(),
        )
        operator = Operator(settings)
        thread = threading.Thread(target=operator.run)
        thread.start()
        try:
            return measure(operator, scene, count, settle_s)
        finally:
            operator.stop()
            thread.join(20.0)
            own.close()
            admin.close()


def main() -> int:
    """Measure and print; 2 without an API server."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--queues", type=int, default=1000)
    parser.add_argument(
        "--settle-s", type=float, default=SETTLE_S, help="quiet seconds before the measurement"
    )
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    os.environ.update(local_aws.CREDENTIALS)
    try:
        with running() as server:
            report = run(server, arguments.queues, arguments.settle_s)
            version = server.version
    except NoBinaries as exc:
        print(exc, file=sys.stderr)
        return 2
    if arguments.json:
        print(json.dumps(asdict(report)))
        return 0
    print(f"kube-apiserver {version}")
    for name, value in asdict(report).items():
        goal = GOALS.get(name)
        print(f"{name:<16} {value}" + ("" if goal is None else f"   (goal {goal:g})"))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
