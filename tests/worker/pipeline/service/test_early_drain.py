"""A worker that is told to drain before it is ready."""

import json
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from detection_testing.aws.local_aws import LocalAws
from detection_worker.pipeline.service.consumer import Consumer
from detection_worker.settings import AwsSettings, ConsumerSettings, DataSettings, Settings


def eventually(condition: Callable[[], bool]) -> bool:
    deadline_s = time.monotonic() + 30
    while time.monotonic() < deadline_s:
        if condition():
            return True
        time.sleep(0.05)
    return condition()


class Control:
    """The control server of a worker that may not be up yet."""

    def __init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as found:
            self.port: int = found.getsockname()[1]

    def ask(self, path: str, *, method: str = "GET") -> dict[str, Any]:
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", method=method)
        try:
            with urllib.request.urlopen(request, timeout=5) as response:
                answer: dict[str, Any] = json.load(response)
        except urllib.error.URLError:
            return {}
        return answer


@pytest.mark.slow
def test_a_drain_before_the_worker_is_ready_is_kept_until_resume(tmp_path: Path) -> None:
    control = Control()
    with LocalAws.in_thread() as aws:
        keys = AwsSettings(
            access_key_id=aws.credentials.access_key_id,
            secret_access_key=aws.credentials.secret_access_key,
            endpoint_url=aws.endpoint_url,
        )
        consumer = Consumer(
            Settings(aws=keys, data=DataSettings(s3_cache_dir=tmp_path)),
            ConsumerSettings(
                queue_url=f"{aws.endpoint_url}/123456789012/late",
                wait_time_s=1,
                decoders=1,
                control_port=control.port,
            ),
        )
        thread = threading.Thread(target=consumer.run)
        thread.start()
        try:
            assert eventually(lambda: "ready" in control.ask("/state"))
            asked = control.ask("/drain", method="POST")
            queue_url, _ = aws.create_queue("late")
            aws.send(queue_url, ["{}"])
            assert eventually(lambda: control.ask("/state").get("ready") is True)
            ready = control.ask("/state")
            resumed = control.ask("/resume", method="POST")

            assert (asked["ready"], asked["draining"], asked["drained"]) == (False, True, True)
            assert (ready["draining"], ready["received"], ready["polling"]) == (True, 0, 0)
            assert not resumed["draining"]
            assert eventually(lambda: control.ask("/state").get("received") == 1)
        finally:
            consumer.request_stop()
            thread.join(40)
