"""``consume --run-once``: it ends, and its exit code says what became of the messages."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from detection_testing.aws.faults import Fault
from detection_testing.aws.local_aws import LocalAws
from detection_testing.media import sample_media
from detection_worker.api import SQSDeepfakeConsumer
from detection_worker.errors import UsageError

pytestmark = pytest.mark.slow
MISSING = "https://sqs.us-east-1.amazonaws.com/123456789012/q"


@pytest.fixture(scope="module")
def aws() -> Iterator[LocalAws]:
    with LocalAws.in_process() as local:
        yield local


@pytest.fixture(autouse=True)
def _no_faults(aws: LocalAws) -> Iterator[None]:
    yield
    aws.clear_faults()


@pytest.fixture
def queue_url(aws: LocalAws, request: pytest.FixtureRequest) -> str:
    name = "".join(char if char.isalnum() else "-" for char in request.node.name)[:70]
    return aws.create_queue(name).queue_url


@pytest.fixture
def picture(aws: LocalAws, tmp_path: Path) -> str:
    image = sample_media.make_image(tmp_path / "a.jpg", width=160, height=160)
    return aws.put_object("media", "a.jpg", image.read_bytes())


@pytest.fixture
def run(aws: LocalAws, run_forked: Callable[..., Any], queue_url: str) -> Callable[..., Any]:
    def consume(*options: str, **changes: str) -> Any:
        env = {**aws.environment(), "QUEUE_URL": queue_url, "MAX_MESSAGES": "10", **changes}
        options = ("--wait-time", "1", "--callback-allow-private", *options)
        return run_forked("consume", "--run-once", *options, env=env)

    return consume


@contextmanager
def refusing() -> Iterator[str]:
    with socket.socket() as bound:  # bound but not listening: refuses
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"


def job(url: str, callback_url: str | None = None) -> str:
    body = {"sqs_to_ml_url": url, "request_id": "r"}
    return json.dumps({**body, "callback_url": callback_url} if callback_url else body)


def test_an_empty_queue_is_no_failure(run: Callable[..., Any]) -> None:
    assert run().code == 0


def test_finished_messages_are_success(
    run: Callable[..., Any], aws: LocalAws, queue_url: str, picture: str
) -> None:
    folder = {"eventSource": "aws:s3", "eventName": "ObjectCreated:Put"} | {
        "s3": {"bucket": {"name": "media"}, "object": {"key": "x/", "size": 0}}
    }
    aws.send(
        queue_url,
        [job(picture), job(picture, aws.callback_url()), json.dumps({"Records": [folder]})],
    )

    ended = run()

    assert ended.code == 0, ended.err
    assert "Statistics: 3 processed, 0 failed, 0 to retry" in ended.err


@pytest.mark.parametrize(
    ("make", "said"),
    [
        pytest.param(lambda aws, _: job("s3://media/none.jpg"), "dead-lettered", id="no file"),
        pytest.param(lambda aws, _: "{", "dead-lettered", id="no message"),
        pytest.param(
            lambda aws, url: job(url, aws.callback_url("/status/404")),
            "dead-lettered: callback_rejected",
            id="callback rejected",
        ),
        pytest.param(
            lambda aws, url: job(url, aws.callback_url("/status/500")),
            "will be tried again",
            id="callback not delivered",
        ),
    ],
)
def test_one_message_that_was_not_finished_is_a_failure(
    make: Callable[[LocalAws, str], str],
    said: str,
    run: Callable[..., Any],
    aws: LocalAws,
    queue_url: str,
    picture: str,
) -> None:
    aws.send(queue_url, [job(picture), make(aws, picture)])

    ended = run(DETECTION_CALLBACK_ATTEMPTS="1")

    assert ended.code == 1, ended.err
    assert said in ended.err
    assert "1 of 2 message(s) not finished" in ended.err


def test_a_queue_that_cannot_be_reached_ends_it(run: Callable[..., Any]) -> None:
    with refusing() as url:
        ended = run(
            QUEUE_URL=f"{url}/123456789012/q", AWS_ENDPOINT_URL=url, DETECTION_ENDPOINT_URL=url
        )

    assert ended.code == 1
    assert "cannot reach the queue: SQS cannot be reached: " in ended.err
    assert "Traceback" not in ended.err


def test_a_control_port_changes_nothing(run: Callable[..., Any]) -> None:
    with refusing() as url, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
        free.close()
        ended = run(
            *("--control-host", "127.0.0.1", "--control-port", port),
            QUEUE_URL=f"{url}/123456789012/q",
            DETECTION_ENDPOINT_URL=url,
        )

    assert ended.code == 1


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        pytest.param(
            Fault(operation="sqs.ReceiveMessage", kind="error", status=500),
            "cannot reach the queue",
            id="SQS fails",
        ),
        pytest.param(
            Fault(operation="sqs.*", kind="throttle"), "cannot reach the queue", id="throttled"
        ),
    ],
)
def test_a_passing_failure_of_the_queue_is_a_failure(
    fault: Fault, said: str, run: Callable[..., Any], aws: LocalAws
) -> None:
    aws.inject(fault)

    ended = run()

    assert ended.code == 1
    assert said in ended.err


@pytest.mark.parametrize("operation", ["sqs.*", "sqs.ReceiveMessage"])
def test_denied_access_is_a_matter_of_set_up(
    operation: str, run: Callable[..., Any], aws: LocalAws
) -> None:
    aws.inject(Fault(operation=operation, kind="access_denied"))

    ended = run()

    assert ended.code == 2
    assert "Error: Access to the SQS queue is denied: " in ended.err


def test_a_missing_queue_is_a_matter_of_set_up(run: Callable[..., Any], aws: LocalAws) -> None:
    ended = run(QUEUE_URL=f"{aws.endpoint_url}/123456789012/no-such-queue")

    assert ended.code == 2
    assert "Error: SQS queue does not exist: " in ended.err


def test_a_dry_run_ends_as_well(run: Callable[..., Any]) -> None:
    with refusing() as url:
        ended = run("--dry-run", QUEUE_URL=f"{url}/123456789012/q", DETECTION_ENDPOINT_URL=url)

    assert ended.code == 1
    assert "cannot reach the queue" in ended.err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_hands_back_what_is_not_finished(
    number: signal.Signals,
    code: int,
    aws: LocalAws,
    queue_url: str,
    picture: str,
    clean_environment: dict[str, str],
) -> None:
    aws.send(queue_url, [job(picture)])
    aws.inject(Fault(operation="s3.GetObject", kind="latency", seconds=60))
    with subprocess.Popen(
        [sys.executable, "-m", "detection_worker", "consume", "--run-once"],
        env={
            **clean_environment,
            **aws.environment(),
            "QUEUE_URL": queue_url,
            "DETECTION_SHUTDOWN_GRACE_S": "4",
        },
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "Processing deepfake detection" in line:
                break
        os.kill(process.pid, number)
        rest = process.stderr.read()

    assert process.returncode == code, rest
    deadline = time.monotonic() + 20
    name = queue_url.rpartition("/")[2]
    while aws.stats()["queues"][name]["visible"] != 1 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert aws.stats()["queues"][name] == {"visible": 1, "in_flight": 0, "delayed": 0}


def test_the_help_names_every_exit_code(run_cli: Callable[..., Any]) -> None:
    text = run_cli("consume", "--help").out

    assert "exit codes:" in text
    codes = text.partition("exit codes:")[2]
    assert all(f"\n  {code}" in codes for code in (0, 1, 2, 130))


def test_python_gets_the_same(
    aws: LocalAws, queue_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in aws.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)

    def once(url: str, endpoint_url: str) -> int:
        consumer = SQSDeepfakeConsumer(url, endpoint_url=endpoint_url, wait_time=0, decoders=1)
        return consumer.start_consuming(run_once=True)

    assert once(queue_url, aws.endpoint_url) == 0
    aws.send(queue_url, [job("s3://media/none.jpg")])
    assert once(queue_url, aws.endpoint_url) == 1
    with refusing() as url:
        assert once(f"{url}/123456789012/q", url) == 1
    with pytest.raises(UsageError, match="SQS queue does not exist: "):
        once(f"{aws.endpoint_url}/123456789012/none", aws.endpoint_url)
