"""Pods by hand, and a stand-in for the worker's process that starts at once."""

import itertools
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from detection_contract import environment as env
from detection_operator.kube.port import Object
from detection_testing.operator_demo.node import Node

WORKER = """
import http.server, json, os, signal, sys
state = {"busy": os.environ.get("BUSY") == "1", "in_flight": 0, "drained": True}
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(state).encode())
    def log_message(self, *_):
        pass
def leave(*_):
    sys.exit(int(os.environ.get("CODE", "0")))
if os.environ.get("LOADING") == "1":
    signal.pause()
signal.signal(signal.SIGTERM, leave)
if os.environ.get("CRASH") == "1":
    sys.exit(3)
address = os.environ["DETECTION_CONTROL_HOST"], int(os.environ["DETECTION_CONTROL_PORT"])
http.server.HTTPServer(address, Handler).serve_forever()
"""


class HandMadePods:
    """Implements ``Pods``: what a node did to each."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self._numbers = itertools.count(1)

    def add(self, **environ: str) -> str:
        """Create a pod and return its name."""
        name = f"pod-{next(self._numbers)}"
        variables = [{"name": key, "value": value} for key, value in environ.items()]
        self.objects[name] = {
            "metadata": {"name": name, "uid": f"uid-{name}", "namespace": "demo"},
            "spec": {"containers": [{"name": env.CONTAINER_WORKER, "env": variables}]},
            "status": {"phase": "Pending"},
        }
        return name

    def delete(self, name: str) -> None:
        """Ask for the end of a pod, as Kubernetes does."""
        self.objects[name]["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"

    def ready(self, name: str) -> bool:
        """Say whether the node called a pod ready."""
        found = self.objects[name]["status"].get("conditions", ())
        return any(c["type"] == "Ready" and c["status"] == "True" for c in found)

    def pods(self) -> list[Object]:
        return list(self.objects.values())

    def bind(self, pod: Object) -> None:
        self.objects[pod["metadata"]["name"]]["spec"]["nodeName"] = "here"

    def annotate(self, pod: Object, annotations: Mapping[str, str]) -> None:
        self.objects[pod["metadata"]["name"]]["metadata"]["annotations"] = dict(annotations)

    def set_status(self, pod: Object, status: Mapping[str, Any]) -> None:
        self.objects[pod["metadata"]["name"]]["status"].update(status)

    def remove(self, pod: Object) -> None:
        del self.objects[pod["metadata"]["name"]]


@pytest.fixture
def pods() -> HandMadePods:
    return HandMadePods()


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def node(pods: HandMadePods, tmp_path: Path, said: list[str]) -> Iterator[Node]:
    made = Node(pods, tmp_path / "pods", said.append, command=(sys.executable, "-c", WORKER))
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def turn_until(node: Node) -> Callable[[Callable[[], bool]], None]:
    """Let the node act until something is so."""

    def wait(so: Callable[[], bool]) -> None:
        end_s = time.monotonic() + 60
        while not so():
            assert time.monotonic() < end_s, "it did not happen within 60 s"
            node.tick()
            time.sleep(0.02)

    return wait
