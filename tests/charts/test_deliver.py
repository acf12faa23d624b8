"""What the chart's `deliver` starts is the real program, which sends an outbox that way."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from detection_contract import environment as env
from detection_contract.error_codes import ErrorCode
from detection_testing.aws.local_aws import LocalAws
from detection_worker.metrics import Metrics
from detection_worker.outbox.base import PendingCallback
from detection_worker.outbox.box import SqsOutbox
from detection_worker.outbox.queue import OutboxQueue
from detection_worker.settings import AwsSettings

WAIT_S = 60.0
BODY = b'{"status": "completed"}'


@pytest.fixture
def aws() -> Iterator[LocalAws]:
    with LocalAws.in_process() as running:
        yield running


def eventually(what: str, look: Callable[[], Any]) -> Any:
    end_s = time.monotonic() + WAIT_S
    while time.monotonic() < end_s:
        if found := look():
            return found
        time.sleep(0.1)
    pytest.fail(f"not within {WAIT_S:.0f} s: {what}")


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def keep_callback(aws: LocalAws, outbox_url: str) -> str:
    """Put a callback into the outbox as a worker does; return its webhook-id."""
    session = boto3.Session(
        aws_access_key_id=aws.credentials.access_key_id,
        aws_secret_access_key=aws.credentials.secret_access_key,
    )
    settings = AwsSettings(region=aws.region, endpoint_url=aws.endpoint_url)
    message_id = str(uuid.uuid4())
    callback = PendingCallback(
        url=aws.callback_url("/ok"),
        body=BODY,
        webhook_id=f"msg_{message_id}_0",
        request_id="r-1",
        message_id=message_id,
        result_url=None,
        code=ErrorCode.CALLBACK_UNREACHABLE,
        reason="503",
    )
    queue = OutboxQueue(session, settings, outbox_url, wait_time_s=1)
    SqsOutbox(queue, Metrics().outbox).put(callback)
    queue.close()
    return callback.webhook_id


DELIVERED = 'detection_worker_outbox_entries_total{result="delivered"} 1.0'


def test_the_container_of_the_chart_delivers_and_stops_within_its_grace_period(
    aws: LocalAws, render: Callable[..., list[dict[str, Any]]], tmp_path: Path
) -> None:
    outbox_url = aws.create_queue("outbox").queue_url
    outbox = {
        "name": "media",
        "queueURL": outbox_url,
        "region": aws.region,
        "endpointURL": aws.endpoint_url,
    }
    private = {"name": env.CALLBACK_ALLOW_PRIVATE, "value": "true"}
    values = {"deliver": {"enabled": True, "outboxes": [outbox], "env": [private]}}
    [pod] = [
        item["spec"]["template"]["spec"]
        for item in render(values)
        if item["metadata"]["name"] == "detection-queue-deliver-media"
    ]
    [container] = pod["containers"]
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "detection_worker", *container["args"]],
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            **aws.environment(),
            **{item["name"]: item["value"] for item in container["env"]},
            # A pod has an address of its own.
            env.CONTROL_HOST: "127.0.0.1",
            env.CONTROL_PORT: str(port),
        },
    )
    try:
        webhook_id = keep_callback(aws, outbox_url)

        def answers(probe: str) -> bool:
            assert process.poll() is None
            get = container[probe]["httpGet"]
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}{get['path']}", timeout=10):
                    return True
            except OSError:
                return False

        eventually("alive", lambda: answers("startupProbe") and answers("livenessProbe"))
        eventually("ready", lambda: answers("readinessProbe"))
        [posted] = eventually("a callback", aws.callbacks)

        def counted() -> str | None:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{env.METRICS_PATH}") as page:
                text: str = page.read().decode()
            return text if DELIVERED in text else None

        # The entry is deleted after the callback has been answered, and counted then.
        metrics = eventually("a delivered entry", counted)
        process.send_signal(signal.SIGTERM)
        code = process.wait(pod["terminationGracePeriodSeconds"])
    finally:
        process.kill()
        process.wait()

    assert (posted.headers["webhook-id"], posted.body) == (webhook_id, BODY)
    assert code == env.EXIT_OK
    # Alerts on workers that do not poll or are not ready must not look at it.
    assert "detection_worker_last_poll_age_seconds" not in metrics
    assert "detection_worker_ready" not in metrics
