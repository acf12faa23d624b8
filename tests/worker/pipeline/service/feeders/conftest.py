"""Workers with feeders: real processes on a strict local AWS."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from detection_testing.aws.local_aws import LocalAws

BUCKET = "media"


@dataclass
class Worker:
    """A running ``detection-worker consume``."""

    aws: LocalAws
    queue_url: str
    process: subprocess.Popen[bytes]
    port: int
    log: Path

    def ask(self, path: str, *, method: str = "GET") -> dict[str, Any]:
        """Return the decoded answer of the control server, whatever its status; {} for none."""
        try:
            answer: dict[str, Any] = json.loads(self.text(path, method=method))
        except ValueError:
            return {}
        return answer

    def text(self, path: str, *, method: str = "GET") -> str:
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", method=method)
        try:
            with urllib.request.urlopen(request, timeout=10) as response:
                return str(response.read(), "utf-8")
        except urllib.error.HTTPError as exc:
            return str(exc.read(), "utf-8")
        except urllib.error.URLError:
            return ""

    @staticmethod
    def eventually(condition: Callable[[], object], *, timeout_s: float = 60.0) -> bool:
        deadline_s = time.monotonic() + timeout_s
        while time.monotonic() < deadline_s:
            if condition():
                return True
            time.sleep(0.05)
        return bool(condition())

    def state(self) -> dict[str, Any]:
        return self.ask("/state")

    def metric(self, name: str) -> float:
        """Return the sum of a series over its labels."""
        lines = self.text("/metrics").splitlines()
        found = [
            li for li in lines if li.split("{")[0].split(" ")[0] == f"detection_worker_{name}"
        ]
        return sum(float(text.rpartition(" ")[2]) for text in found)

    def send(self, url: str) -> str:
        request_id = uuid.uuid4().hex
        body = {
            "sqs_to_ml_url": url,
            "callback_url": self.aws.callback_url("/ok"),
            "request_id": request_id,
        }
        self.aws.send(self.queue_url, [json.dumps(body)])
        return request_id

    def results(self) -> dict[str, dict[str, Any]]:
        bodies = (json.loads(callback.body) for callback in self.aws.callbacks())
        return {body["request_id"]: body for body in bodies}

    def queue(self) -> dict[str, int]:
        found: dict[str, int] = self.aws.stats()["queues"][self.queue_url.rpartition("/")[2]]
        return found

    def wait_ready(self) -> None:
        assert self.eventually(lambda: self.state().get("ready")), self.log.read_text()

    def feeders(self) -> list[int]:
        """Return the process ids of the feeders, in their order."""
        return sorted(pid for pid in children(self.process.pid) if b"feeder" in command(pid))

    def decoders(self) -> list[int]:
        """Return the process ids of the feeders' decoders."""
        return [pid for feeder in self.feeders() for pid in children(feeder)]

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]


def children(parent: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, ppid = stat.read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if int(ppid) == parent and state != "Z":
            found.append(int(stat.parent.name))
    return found


def command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


@dataclass
class Starter:
    """Starts workers, and ends those that a test leaves."""

    aws: LocalAws
    folder: Path
    models: Path
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def __call__(self, *options: str, queue_url: str | None = None, **changes: str) -> Worker:
        name = uuid.uuid4().hex
        queue_url = queue_url or self.aws.create_queue(name, max_receive_count=20).queue_url
        with socket.create_server(("127.0.0.1", 0)) as found:
            port: int = found.getsockname()[1]
        log = self.folder / f"{name}.log"
        environment = {
            **os.environ,
            **self.aws.environment(),
            "QUEUE_URL": queue_url,
            "MODELS_DIR": str(self.models),
            "DETECTION_CONTROL_HOST": "127.0.0.1",
            "DETECTION_CONTROL_PORT": str(port),
            "DETECTION_S3_CACHE_DIR": str(self.folder / name),
            "DETECTION_CALLBACK_ALLOW_PRIVATE": "true",
            "DETECTION_DECODERS": "2",
            "DETECTION_TORCH_THREADS": "1",
            "LOG_FORMAT": "json",
            "WAIT_TIME": "1",
            "VISIBILITY_TIMEOUT": "4",
            **changes,
        }
        with log.open("wb") as stderr:
            process = subprocess.Popen(
                [sys.executable, "-m", "detection_worker", "consume", "--feeders", "2", *options],
                env=environment,
                stderr=stderr,
            )
        self.started.append(process)
        return Worker(self.aws, queue_url, process, port, log)


@pytest.fixture(scope="module")
def aws() -> Iterator[LocalAws]:
    with LocalAws.in_process() as running:
        yield running


@pytest.fixture
def start(aws: LocalAws, tmp_path: Path, tiny_models: Path) -> Iterator[Starter]:
    starter = Starter(aws, tmp_path, tiny_models)
    yield starter
    aws.clear_faults()
    for process in starter.started:
        process.kill()
        process.wait(10)
