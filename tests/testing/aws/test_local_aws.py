"""Starting and stopping, in a thread and in a process; the control interface."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from detection_testing.aws.check_report import check_total_queue
from detection_testing.aws.faults import Fault
from detection_testing.aws.local_aws import LocalAws
from detection_testing.aws.server import arguments_of
from detection_testing.aws.services import LocalOptions
from detection_testing.aws.sqs.values import Disorder


def port_of(aws: LocalAws) -> int:
    return int(aws.endpoint_url.rpartition(":")[2])


def listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize("own_process", [False, True], ids=["thread", "process"])
def test_the_same_works_in_a_thread_and_in_a_process(*, own_process: bool, tmp_path: Path) -> None:
    (tmp_path / "media").mkdir()
    (tmp_path / "media" / "a.bin").write_bytes(b"file")
    options = LocalOptions(s3_folder=tmp_path, disorder=Disorder(max_in_flight=1))

    with LocalAws(options, own_process=own_process) as aws:
        port = port_of(aws)
        url, dlq_url = aws.create_queue("jobs", visibility_s=300, max_receive_count=3)
        aws.inject(Fault(operation="sqs.SendMessage", kind="throttle", count=5))
        ids = aws.send(url, [f"m{n}" for n in range(25)])
        [got] = aws.sqs().receive_message(QueueUrl=url, MaxNumberOfMessages=10)["Messages"]
        file = aws.s3().get_object(Bucket="media", Key="a.bin")["Body"].read()
        held = aws.in_flight("jobs")
        stats = aws.stats()
        report = check_total_queue(aws.journal(), aws.callbacks())
        since = aws.journal(since=25)
        cpu_s = aws.cpu_seconds()

    assert len(set(ids)) == 25
    assert dlq_url == f"{url}-dlq"
    assert file == b"file"
    assert [h.message_id for h in held] == [got["MessageId"]]
    assert round(held[0].due_s - held[0].received_s, 3) == 300
    assert stats["queues"]["jobs"] == {"visible": 24, "in_flight": 1, "delayed": 0}
    assert stats["requests"]["sqs.SendMessageBatch"] == 3
    assert (report.sent, report.pending, report.orphaned) == (25, 25, 1)
    assert [e.kind for e in since] == ["received"]
    assert 0 < cpu_s < 30
    assert not listens(port)


def test_stopping_twice_is_harmless() -> None:
    aws = LocalAws.in_thread()
    aws.start()
    aws.stop()
    aws.stop()


def test_stopping_ends_a_long_poll(name: str) -> None:
    aws = LocalAws.in_thread()
    aws.start()
    url = aws.create_queue(name).queue_url
    poll = json.dumps({"QueueUrl": url, "WaitTimeSeconds": 20}).encode()
    with socket.create_connection(("127.0.0.1", port_of(aws)), timeout=30) as client:
        head = (
            "POST / HTTP/1.1\r\nHost: h\r\nX-Amz-Target: AmazonSQS.ReceiveMessage\r\n"
            f"Authorization: Credential={aws.credentials.access_key_id}/x\r\n"
            f"Content-Length: {len(poll)}\r\n\r\n"
        )
        client.sendall(head.encode() + poll)
        while not aws.stats()["requests"].get("sqs.ReceiveMessage"):
            time.sleep(0.005)
        started_s = time.monotonic()

        aws.stop()

        assert time.monotonic() - started_s < 15  # of the poll's 20
        assert client.recv(1) == b""


def test_a_purge_by_the_control_interface_may_be_repeated(aws: LocalAws, name: str) -> None:
    url = aws.create_queue(name).queue_url
    for _ in range(2):
        aws.send(url, ["a"])
        aws.purge(url)

    assert aws.stats()["queues"][name]["visible"] == 0


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "nothing", b"", 404),
        ("POST", "faults", b"{}", 400),
        ("POST", "faults", b"no json", 400),
        ("POST", "clock", b'{"advance_s": -1}', 400),
        ("GET", "in_flight?queue=nobody", b"", 400),
    ],
)
def test_a_control_request_that_means_nothing_is_refused(
    aws: LocalAws, method: str, path: str, body: bytes, status: int
) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port_of(aws))
    try:
        connection.request(method, f"/_local/{path}", body=body)
        response = connection.getresponse()
        assert (response.status, "error" in json.loads(response.read())) == (status, True)
    finally:
        connection.close()


def test_every_option_reaches_the_process() -> None:
    options = LocalOptions(
        require_credentials=False,
        orphan_on_disconnect=False,
        disorder=Disorder(seed=1, window=2, duplicate_rate=0.25, max_in_flight=3),
        s3_folder=Path("/a"),
        sts_expiry_s=4.0,
        web_identity_token_file=Path("/b"),
        seed=5,
    )

    arguments = arguments_of(options)

    for flag in ("--allow-unsigned", "--keep-on-disconnect", "--s3-folder", "--sts-expiry-s"):
        assert flag in arguments
    pairs = dict(pairwise(arguments))
    assert pairs["--shuffle-window"] == "2"
    assert pairs["--duplicate-rate"] == "0.25"
    assert pairs["--web-identity-token-file"] == "/b"


@pytest.mark.slow
def test_the_process_ends_when_its_parent_is_killed() -> None:
    program = (
        "import sys, time\n"
        "from detection_testing.aws.local_aws import LocalAws\n"
        "aws = LocalAws.in_process(); aws.start()\n"
        "print(aws.endpoint_url, flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        port = int(parent.stdout.readline().decode().rpartition(":")[2])
        assert listens(port)

        os.kill(parent.pid, signal.SIGKILL)
        parent.wait()

    deadline_s = time.monotonic() + 60
    while listens(port):
        assert time.monotonic() < deadline_s, "the local AWS outlived its parent"
        time.sleep(0.1)


@pytest.mark.slow
def test_run_by_hand_it_prints_its_endpoint_and_ends_on_sigterm() -> None:
    command = [sys.executable, "-m", "detection_testing.aws.local_aws", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        ready = json.loads(process.stdout.readline())
        assert listens(int(ready["endpoint_url"].rpartition(":")[2]))

        process.terminate()

        assert process.wait(60) == 0
    assert ready["pid"] == process.pid


def test_calls_tell_who_asked_for_what(aws: LocalAws, name: str) -> None:
    since = len(aws.calls())
    url = aws.create_queue(name).queue_url
    aws.put_object(f"calls-{name}", "a/b", b"x")
    topic = aws.create_topic(f"calls-{name}", url)
    config = Config(user_agent_appid="worker-1")
    worker = boto3.client(
        "s3",
        endpoint_url=aws.endpoint_url,
        region_name=aws.region,
        aws_access_key_id=aws.credentials.access_key_id,
        aws_secret_access_key=aws.credentials.secret_access_key,
        config=config,
    )

    worker.get_object(Bucket=f"calls-{name}", Key="a/b")
    with pytest.raises(ClientError):
        aws.s3().get_object(Bucket=f"calls-{name}", Key="c")
    aws.sqs().receive_message(QueueUrl=url, WaitTimeSeconds=1)
    aws.sns().publish(TopicArn=topic, Message="m")

    gets = aws.calls(since=since, operation="s3.GetObject")
    assert [(c.resource, c.caller, c.status) for c in gets] == [
        (f"calls-{name}/a/b", "worker-1", 200),
        (f"calls-{name}/c", aws.credentials.access_key_id, 404),
    ]
    [poll] = aws.calls(since=since, operation="sqs.ReceiveMessage", resource=name)
    [publish] = aws.calls(since=since, operation="sns.Publish")
    assert (poll.status, publish.resource) == (200, topic)
    assert gets[0].at_s <= poll.at_s <= publish.at_s
