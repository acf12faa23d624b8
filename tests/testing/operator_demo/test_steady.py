"""Real workers under steady traffic, where none of them is ever idle: the surplus goes."""

import contextlib
import json
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest

from detection_contract.environment import STATE_PATH
from detection_operator.kube.pods.views import pod_views
from detection_testing.operator_demo import local_aws, memory, server
from detection_testing.operator_demo.container import LOOPBACK
from detection_testing.operator_demo.local_aws import LocalAws, messages, queue_spec
from detection_testing.operator_demo.node import Node
from detection_testing.operator_demo.options import Backend, Options, missing_extras
from detection_testing.operator_demo.ports import Kubernetes

BURST: Final = 150
MORE: Final = 30
A_SECOND: Final = 3.0
"""Nine callbacks wait at any time: each worker holds some, and one alone could hold them all."""
CALLBACK_S: Final = 3.0
ANSWER_S: Final = 60.0
HOLD_S: Final = 5
TIMEOUT_S: Final = 900


@dataclass
class Steady:
    """Pictures that come at a constant rate, each with a receiver that takes its time."""

    aws: LocalAws
    kubernetes: Kubernetes
    node: Node
    urls: list[str]
    sent: list[str] = field(default_factory=list)
    results: list[str] = field(default_factory=list)

    def live(
        self,
        seconds: float,
        until: Callable[[], bool] = lambda: False,
        *,
        a_second: float = 0.0,
    ) -> bool:
        """Let messages come and pods follow; say whether ``until`` came true in time."""
        start_s = time.monotonic()
        before = len(self.sent)
        while not until():
            passed_s = time.monotonic() - start_s
            if passed_s > seconds:
                return False
            self.send(int(passed_s * a_second) - (len(self.sent) - before))
            self.kubernetes.control()
            self.node.tick()
            self.results += [str(item["request_id"]) for item in self.aws.new_results()]
            time.sleep(0.1)
        return True

    def send(self, count: int) -> None:
        url = f"{self.aws.endpoint_url}/_callback/slow/{CALLBACK_S}"
        bodies = messages(self.urls, count, url)
        for body in bodies:
            body["request_id"] = f"steady-{len(self.sent):05d}"
            self.sent.append(body["request_id"])
        self.aws.send(bodies)

    def busy(self) -> list[bool]:
        """Ask each worker whether it holds something."""
        answers = []
        for pod in pod_views(self.kubernetes.pods()):
            if pod.terminating or not pod.ready:
                continue
            url = f"http://{LOOPBACK}:{pod.port}{STATE_PATH}"
            with urllib.request.urlopen(url, timeout=ANSWER_S) as response:
                answers.append(bool(json.load(response)["busy"]))
        return answers


@contextlib.contextmanager
def steady(backend: Backend, folder: Path) -> Iterator[Steady]:
    with contextlib.ExitStack() as stack:
        aws = stack.enter_context(local_aws.running(folder / "local-aws.log"))
        kubernetes: Kubernetes = (
            stack.enter_context(memory.running("as asked for"))
            if backend is Backend.MEMORY
            else stack.enter_context(server.running(folder / "decisions.jsonl"))
        )
        node = Node(kubernetes, folder / "pods", lambda _: None)
        stack.callback(node.close)
        pictures = [path for path in local_aws.samples() if path.suffix == ".jpg"]
        spec = queue_spec(aws, Options(max_replicas=3, backend=backend))
        spec["scaling"]["scaleDown"] = {"holdSeconds": HOLD_S, "maxPercent": 100}
        kubernetes.create_queue(spec)
        yield Steady(aws, kubernetes, node, aws.upload(pictures))


def check(scene: Steady) -> None:
    scene.send(BURST)

    def all_busy() -> bool:
        # The first to be ready may take a whole burst: there is more until each has its share.
        if scene.aws.depth().visible == 0:
            scene.send(MORE)
        return scene.node.ready == 3 and scene.busy() == [True] * 3

    assert scene.live(240, all_busy, a_second=A_SECOND), "a burst keeps three workers busy"
    assert scene.node.counts.removed == 0, "none leaves before the traffic is steady"

    def alone() -> bool:
        return scene.kubernetes.replicas() == 1 and scene.node.running == 1

    assert scene.live(400, alone, a_second=A_SECOND), scene.kubernetes.status()
    assert scene.kubernetes.status()["desiredReplicas"] == 1
    scene.live(20, a_second=A_SECOND)
    assert scene.kubernetes.replicas() == 1
    assert scene.live(180, lambda: len(scene.results) >= len(scene.sent))
    counts = scene.node.counts
    assert (counts.removed, counts.drained, counts.busy, counts.unclean) == (2, 2, 0, 0)
    assert sorted(scene.results) == scene.sent, "each once"


@pytest.fixture(autouse=True)
def _surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in local_aws.CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    lacking = missing_extras()
    if lacking:
        pytest.skip(f"NO DEMO: extras {lacking} are not installed")


@pytest.mark.slow
@pytest.mark.timeout(TIMEOUT_S)
def test_surplus_workers_go_under_steady_traffic_in_memory(tmp_path: Path) -> None:
    with steady(Backend.MEMORY, tmp_path) as scene:
        check(scene)


@pytest.mark.slow
@pytest.mark.cluster
@pytest.mark.timeout(TIMEOUT_S)
def test_surplus_workers_go_under_steady_traffic_on_a_real_api_server(tmp_path: Path) -> None:
    why = server.reason_against()
    if why:
        pytest.skip(why)
    with steady(Backend.SERVER, tmp_path) as scene:
        check(scene)
