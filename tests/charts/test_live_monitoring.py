"""Operator, worker, API server and Prometheus, all real: does every expression return data?

The operator runs under the chart's service account with the chart's environment. There is no
kubelet: the test binds the one pod to a node and says that it is ready, and the worker that it
stands for is a process of this machine.
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from detection_contract import environment as env
from detection_operator.crd.manifest import KIND
from detection_operator.kube.objects import API_VERSION
from detection_testing.aws.local_aws import LocalAws
from detection_testing.media import sample_media

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(600)]

CRD = "detectionqueues.detection-queue.dev"
POOL_CRD = "workerpools.detection-queue.dev"
ACCOUNT = "detection-queue-operator"
QUEUE = "media"
WAIT_S = 120.0
SLOW_CALLBACK_S = 12
WITHOUT_DATA = re.compile("detection_operator_pool_")
"""Series of alerts on things that this scene does not have; their cases in test_alerts fire."""
EMPTY = {
    "fleet": {"Firing alerts", "Pools", "Short of pool units"},
    "queue": {"Firing alerts", "Share of the pool", "Rule that sets the number of workers"},
    "workers": {"CPU", "Memory", "GPU utilisation", "Score drift"},
}
"""Panels of what this scene does not have: alerts, pools, limits, other exporters, a past week."""


@dataclass(frozen=True, slots=True)
class Prometheus:
    """A running Prometheus."""

    url: str

    def get(self, path: str, **query: str) -> Any:
        with urllib.request.urlopen(
            f"{self.url}{path}?{urllib.parse.urlencode(query)}", timeout=10
        ) as answer:
            return json.load(answer)

    def values(self, expr: str) -> list[Any]:
        found: list[Any] = self.get("/api/v1/query", query=expr)["data"]["result"]
        return found

    def drawn(self, expr: str) -> list[Any]:
        """Return what a panel draws over the last five minutes."""
        now_s = time.time()
        window = {"start": str(now_s - 300), "end": str(now_s), "step": "1"}
        found: list[Any] = self.get("/api/v1/query_range", query=expr, **window)["data"]["result"]
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What the tests look at, once everything has happened."""

    namespace: str
    operator_port: int
    prometheus: Prometheus
    status: dict[str, Any]
    dashboards: Path


def eventually(what: str, look: Callable[[], Any]) -> Any:
    end_s = time.monotonic() + WAIT_S
    while time.monotonic() < end_s:
        found = look()
        if found:
            return found
        time.sleep(0.2)
    pytest.fail(f"not within {WAIT_S:.0f} s: {what}")


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class Processes:
    """Child processes that end with the scene."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running: list[subprocess.Popen[bytes]] = []

    def start(self, name: str, command: list[str], environ: dict[str, str]) -> None:
        with (self._folder / f"{name}.log").open("wb") as log:
            self._running.append(
                subprocess.Popen(
                    command,
                    env={"PATH": os.environ["PATH"], "HOME": str(self._folder), **environ},
                    stdout=log,
                    stderr=log,
                )
            )

    def stop(self) -> None:
        for process in reversed(self._running):
            process.send_signal(signal.SIGTERM)
        for process in reversed(self._running):
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@dataclass(slots=True, kw_only=True)
class Stage:
    """Everything that runs."""

    cluster: Any
    namespace: str
    aws: LocalAws
    queue_url: str
    outbox_url: str
    told_url: str
    worker_port: int
    folder: Path

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        return str(self.cluster.run("-n", self.namespace, *arguments, stdin=stdin).stdout)

    def queue(self) -> dict[str, Any]:
        found: dict[str, Any] = self.cluster.get("-n", self.namespace, "dq", QUEUE)
        status: dict[str, Any] = found.get("status", {})
        return status

    def pods(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.cluster.get("-n", self.namespace, "pods")["items"]
        return [item for item in found if env.LABEL_QUEUE in item["metadata"]["labels"]]

    def send(self, name: str, content: bytes, callback: str = "/ok", *, times: int = 1) -> None:
        url = self.aws.put_object("media", f"{uuid.uuid4().hex}/{name}", content)
        receiver = callback if "://" in callback else self.aws.callback_url(callback)
        body = json.dumps({"sqs_to_ml_url": url, "callback_url": receiver})
        self.aws.send(self.queue_url, [body] * times)

    @property
    def results(self) -> dict[str, Any]:
        """``spec.worker.template.results``: every place that results go to."""
        *_, account, name = self.told_url.split("/")
        return {
            "url": "s3://results/detection/",
            "onSuccess": [f"arn:aws:sqs:{self.aws.region}:{account}:{name}"],
            "cacheURL": "s3://results/cache/",
            "outboxURL": self.outbox_url,
        }

    def play_kubelet(self) -> str:
        """Give the new pod a node and call it ready; the worker's process stands for it."""
        [pod] = eventually("a worker pod", self.pods)
        name = str(pod["metadata"]["name"])
        binding = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": name},
            "target": {"apiVersion": "v1", "kind": "Node", "name": "node-1"},
        }
        path = f"/api/v1/namespaces/{self.namespace}/pods/{name}/binding"
        self.kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(binding))
        self.kubectl("annotate", "pod", name, f"{env.ANNOTATION_CONTROL_PORT}={self.worker_port}")
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        container = {
            "name": env.CONTAINER_WORKER, "image": "", "imageID": "", "ready": True,
            "restartCount": 0, "started": True, "state": {"running": {"startedAt": now}},
        }  # fmt: skip
        conditions = [
            {"type": kind, "status": "True", "lastTransitionTime": now}
            for kind in ("PodScheduled", "Ready")
        ]
        status = {
            "phase": "Running", "podIP": "127.0.0.1", "podIPs": [{"ip": "127.0.0.1"}],
            "conditions": conditions, "containerStatuses": [container],
        }  # fmt: skip
        patch = json.dumps({"status": status})
        self.kubectl("patch", "pod", name, "--subresource=status", "--type=merge", "-p", patch)
        return name

    def media(self) -> str:
        """Send one of everything: sound, broken, with a receiver that fails.

        Returns the URL of a receiver that opens its circuit: nobody listens there.
        """
        image = sample_media.make_image(self.folder / "a.jpg").read_bytes()
        audio = sample_media.make_audio(
            self.folder / "c.wav", codec="pcm_s16le", seconds=3, rate_hz=16000, seed=1
        ).read_bytes()
        for _ in range(3):
            self.send("a.jpg", image)
            self.send("c.wav", audio)
        self.send("text.jpg", b"hello, I am text")
        self.send("a.jpg", image, callback="/status/500")
        down = f"http://localhost:{free_port()}/"
        self.send("a.jpg", image, callback=down, times=4)
        return down


def spec(stage: Stage) -> dict[str, Any]:
    return {
        "queue": {
            "url": stage.queue_url,
            "endpointURL": stage.aws.endpoint_url,
            "region": stage.aws.region,
            "pollIntervalSeconds": 1,
        },
        "scaling": {
            "maxReplicas": 1,
            "activation": {"confirmSamples": 1},
            "idle": {"policy": "Fixed", "fixedSeconds": 5},
            "scaleDown": {"holdSeconds": 0},
        },
        "budget": {"replicaHourCost": "1.006", "maxPerHour": "20", "maxPerDay": "400"},
        "worker": {
            "template": {
                "image": "detection-worker:1",
                "serviceAccountName": "detection-queue-worker",
                "results": stage.results,
            }
        },
    }


@pytest.fixture(scope="module")
def prometheus_binary() -> str:
    found = shutil.which("prometheus")
    if found is None:
        pytest.skip("NOT TESTED: expressions on a real Prometheus: no prometheus on the PATH")
    return found


@pytest.fixture(scope="module")
def scene(
    cluster: Any, chart: Path, prometheus_binary: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("scene")
    namespace = cluster.namespace(f"live-{uuid.uuid4().hex[:6]}")
    with ExitStack() as stack:
        stack.callback(cluster.run, "delete", "crd", CRD, POOL_CRD, check=False)
        cluster.helm("install", "detection-queue", str(chart), "--namespace", namespace)
        cluster.run("wait", "--for=condition=Established", f"crd/{CRD}")
        stack.callback(cluster.helm, "uninstall", "detection-queue", "-n", namespace, check=False)
        aws = stack.enter_context(LocalAws.in_process())
        queue_url, dead_letter_url = aws.create_queue(QUEUE, visibility_s=30, max_receive_count=3)
        aws.s3().create_bucket(Bucket="results")
        stage = Stage(
            cluster=cluster, namespace=namespace, aws=aws, queue_url=queue_url,
            outbox_url=aws.create_queue("outbox").queue_url,
            told_url=aws.create_queue("told").queue_url,
            worker_port=free_port(), folder=folder,
        )  # fmt: skip
        end_pods = ("delete", "pods", "--all", "-n", namespace, "--grace-period=0", "--force")
        stack.callback(cluster.run, *end_pods, check=False)
        processes = Processes(folder)
        stack.callback(processes.stop)
        operator_port = start_operator(stage, processes)
        prometheus = start_prometheus(stage, processes, chart, prometheus_binary, operator_port)
        aws.send(dead_letter_url, ["an old dead letter"])
        status = play(stage, processes, prometheus)
        yield Scene(
            namespace=namespace,
            operator_port=operator_port,
            prometheus=prometheus,
            status=status,
            dashboards=chart / "files" / "dashboards",
        )


def start_operator(stage: Stage, processes: Processes) -> int:
    """Start the operator as its Deployment would, but for the addresses."""
    deployment = stage.cluster.get("-n", stage.namespace, "deployment", ACCOUNT)
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    environ = {item["name"]: item["value"] for item in container["env"] if "value" in item}
    port = free_port()
    token = stage.cluster.token(stage.namespace, ACCOUNT)
    config = yaml.safe_load(stage.cluster.server.kubeconfig().read_text())
    config["users"][0]["user"] = {"token": token}
    kubeconfig = stage.folder / "operator.kubeconfig"
    kubeconfig.write_text(yaml.safe_dump(config))
    processes.start(
        "operator",
        [sys.executable, "-P", "-m", "detection_operator", *container["args"]],
        {
            **stage.aws.environment(),
            **environ,
            "KUBECONFIG": str(kubeconfig),
            "POD_NAME": "operator-0",
            "POD_NAMESPACE": stage.namespace,
            "DETECTION_OPERATOR_HOST": "127.0.0.1",
            "DETECTION_OPERATOR_PORT": str(port),
        },
    )
    eventually("the operator", lambda: answers(f"http://127.0.0.1:{port}{env.READY_PATH}"))
    return port


def start_worker(stage: Stage, processes: Processes) -> None:
    processes.start(
        "worker",
        [sys.executable, "-P", "-m", "detection_worker", "consume"],
        {
            **stage.aws.environment(),
            env.QUEUE_URL: stage.queue_url,
            env.ENDPOINT_URL: stage.aws.endpoint_url,
            env.WAIT_TIME: "1",
            env.CALLBACK_ALLOW_PRIVATE: "true",
            env.CONTROL_HOST: "127.0.0.1",
            env.CONTROL_PORT: str(stage.worker_port),
            env.S3_CACHE_DIR: str(stage.folder / "cache"),
            env.RESULTS_URL: stage.results["url"],
            env.ON_SUCCESS: stage.results["onSuccess"][0],
            env.CACHE_URL: stage.results["cacheURL"],
            env.OUTBOX_URL: stage.outbox_url,
            "DETECTION_CALLBACK_MAX_ELAPSED_S": "2",
            "DETECTION_CALLBACK_READ_TIMEOUT_S": "60",
            "DETECTION_MAX_BACKOFF_S": "1",
            "DETECTION_DECODERS": "1",
            "DETECTION_TORCH_THREADS": "1",
        },
    )


def start_prometheus(
    stage: Stage, processes: Processes, chart: Path, binary: str, operator_port: int
) -> Prometheus:
    """Scrape as the chart's monitors would: their labels, their honouring of labels."""
    port = free_port()
    worker = {"namespace": stage.namespace, "queue": QUEUE, "pod": "worker-0"}
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(chart / "files" / "alerts.yaml")],
        "scrape_configs": [
            {
                "job_name": "operator",
                "honor_labels": True,
                "static_configs": [
                    {
                        "targets": [f"127.0.0.1:{operator_port}"],
                        "labels": {"namespace": "operator", "pod": "operator-0"},
                    }
                ],
            },
            {
                "job_name": "worker",
                "static_configs": [
                    {"targets": [f"127.0.0.1:{stage.worker_port}"], "labels": worker}
                ],
            },
        ],
    }
    path = stage.folder / "prometheus.yml"
    path.write_text(yaml.safe_dump(config))
    command = [
        binary, f"--config.file={path}", f"--storage.tsdb.path={stage.folder / 'tsdb'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]  # fmt: skip
    processes.start("prometheus", command, {})
    eventually("Prometheus", lambda: answers(f"http://127.0.0.1:{port}/-/ready"))
    return Prometheus(f"http://127.0.0.1:{port}")


def play(stage: Stage, processes: Processes, prometheus: Prometheus) -> dict[str, Any]:
    """Let a busy worker vanish, then work, then idle; return the status after the work."""
    manifest = {
        "apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": QUEUE}, "spec": spec(stage),
    }  # fmt: skip
    stage.kubectl("apply", "-f", "-", stdin=json.dumps(manifest))
    image = sample_media.make_image(stage.folder / "slow.jpg").read_bytes()
    stage.send("slow.jpg", image, callback=f"/slow/{SLOW_CALLBACK_S}")
    eventually("a worker pod", stage.pods)
    start_worker(stage, processes)
    ready = f"http://127.0.0.1:{stage.worker_port}{env.READY_PATH}"
    eventually("a ready worker", lambda: answers(ready))
    name = stage.play_kubelet()
    eventually("a busy worker", lambda: stage.queue().get("busyReplicas") == 1)
    stage.kubectl("delete", "pod", name, "--grace-period=0", "--force", "--wait=false")
    lost = "detection_operator_busy_terminated_total > 0"
    eventually("the loss of a busy worker noticed", lambda: prometheus.values(lost))
    down = stage.media()
    stage.play_kubelet()
    shut = "detection_worker_callback_circuits_open > 0"
    eventually("an open circuit", lambda: prometheus.values(shut))
    stage.send("slow.jpg", image, callback=down)
    deferred = "detection_worker_callbacks_deferred_total"
    eventually("a callback that is put off untried", lambda: prometheus.values(deferred))
    works = 'detection_worker_messages_total{outcome="deleted"} > 4'
    eventually("work done", lambda: prometheus.values(works))
    status = eventually("a learned status", lambda: attained(stage.queue()))
    drained = 'detection_operator_drains_total{result="asked"}'
    eventually("a drain", lambda: prometheus.values(drained))
    eventually("no worker asked for", lambda: stage.queue().get("desiredReplicas") == 0)
    eventually("some scrapes more", lambda: settled(prometheus, drained))
    return dict(status)


def attained(status: dict[str, Any]) -> dict[str, Any] | None:
    return status if "attainmentPercent" in status.get("slo", {}) else None


def settled(prometheus: Prometheus, series: str) -> bool:
    found = prometheus.values(f"count_over_time({series}[1m]) > 3")
    return bool(found)


def test_every_target_is_up(scene: Scene) -> None:
    assert {item["value"][1] for item in scene.prometheus.values("up")} == {"1"}
    assert len(scene.prometheus.values("up")) == 2


def drawn_by(board: dict[str, Any], choices: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the title of each panel with an expression of it as Prometheus gets it."""
    for panel in board["panels"]:
        for each in panel["panels"] if panel["type"] == "row" else [panel]:
            for target in each["targets"]:
                yield (
                    each["title"],
                    re.sub(
                        r"\$(\w+)", lambda found: choices.get(found[1], found[0]), target["expr"]
                    ),
                )


@pytest.mark.parametrize("queue", [QUEUE, ".*"])
@pytest.mark.parametrize("name", ["fleet", "queue", "workers"])
def test_every_expression_of_a_dashboard_returns_data(scene: Scene, name: str, queue: str) -> None:
    board = json.loads((scene.dashboards / f"{name}.json").read_text())
    choices = {
        "__rate_interval": "1m", "__range": "5m", "__interval": "1s",
        "cluster": ".*", "namespace": scene.namespace, "queue": queue,
    }  # fmt: skip
    empty = {title for title, expr in drawn_by(board, choices) if not scene.prometheus.drawn(expr)}

    assert empty == EMPTY[name]


def test_every_rule_is_healthy_and_looks_at_data(scene: Scene) -> None:
    groups = scene.prometheus.get("/api/v1/rules")["data"]["groups"]
    rules = [(group["interval"], rule) for group in groups for rule in group["rules"]]
    queries = " ".join(rule["query"] for _, rule in rules)
    named = set(re.findall(r"\bdetection_(?:operator|worker)_\w+", queries))
    seen = {name for name in named if scene.prometheus.values(f"last_over_time({name}[1h])")}

    assert {rule["health"] for interval_s, rule in rules if interval_s == 1} == {"ok"}
    # The groups that look at days are evaluated every few minutes.
    assert {rule["health"] for _, rule in rules} <= {"ok", "unknown"}
    assert {name for name in named - seen if not WITHOUT_DATA.match(name)} == set()
    assert len(named) > 40


def test_messages_in_time_and_late_are_recorded_by_queue(scene: Scene) -> None:
    [burn] = scene.prometheus.values("detection_queue:error_budget:burn_rate1h")
    [received] = scene.prometheus.values("detection_operator_received_messages_total")

    assert (burn["metric"]["namespace"], burn["metric"]["name"]) == (scene.namespace, QUEUE)
    assert float(received["value"][1]) > 5


def test_the_operator_was_refused_nothing(scene: Scene) -> None:
    codes = {
        item["metric"]["code"]
        for item in scene.prometheus.values("detection_operator_api_requests_total")
    }

    assert "200" in codes
    assert "201" in codes
    assert not {code for code in codes if code in {"0", "401", "403", "422"}}


def test_the_status_told_of_real_work(scene: Scene) -> None:
    assert scene.status["queue"]["deadLetter"] >= 1
    assert scene.status["cost"]["perHour"]
    assert {item["type"] for item in scene.status["conditions"]} >= {"Ready", "QueueReachable"}


def test_helm_test_s_pod_would_pass(
    scene: Scene, render: Callable[..., list[dict[str, Any]]]
) -> None:
    [pod] = [item for item in render() if item["kind"] == "Pod"]
    code, _, _ = pod["spec"]["containers"][0]["args"]
    url = f"http://127.0.0.1:{scene.operator_port}"

    done = subprocess.run(
        [sys.executable, "-c", code, url, "1"], capture_output=True, text=True, check=False
    )

    assert done.stdout == "the operator is ready and leads\n"
