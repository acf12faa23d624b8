"""The outbox on moto, which shares no code with our own SQS: delays, redrive, batches, S3."""

import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest

from detection_worker.sources.base import QueueError

Make = Callable[..., Any]
AWS = {"aws_access_key_id": "moto", "aws_secret_access_key": "moto", "region_name": "us-east-1"}


@pytest.fixture
def client(moto_server: str) -> Callable[[str], Any]:
    return lambda service: boto3.client(service, endpoint_url=moto_server, **AWS)


@pytest.fixture
def moto_queues(client: Callable[[str], Any]) -> tuple[str, str]:
    sqs, name = client("sqs"), f"outbox-{uuid.uuid4().hex[:8]}"
    dlq_url = sqs.create_queue(QueueName=f"{name}-dlq")["QueueUrl"]
    shown = sqs.get_queue_attributes(QueueUrl=dlq_url, AttributeNames=["QueueArn"])
    policy = {"deadLetterTargetArn": shown["Attributes"]["QueueArn"], "maxReceiveCount": "5"}
    made = sqs.create_queue(QueueName=name, Attributes={"RedrivePolicy": json.dumps(policy)})
    return str(made["QueueUrl"]), str(dlq_url)


@pytest.fixture
def on_moto(
    moto_server: str, moto_queues: tuple[str, str], make_real: Callable[..., Any]
) -> Iterator[Any]:
    made = make_real(moto_server, moto_queues[0])
    yield made
    made.sender.stop(timeout_s=10.0)
    made.queue.close()
    made.client.close()


def left(client: Callable[[str], Any], url: str) -> int:
    shown = client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    kinds = ("", "NotVisible", "Delayed")
    return sum(int(shown[f"ApproximateNumberOfMessages{kind}"]) for kind in kinds)


def test_callbacks_are_delayed_delivered_and_dead_lettered(
    client: Callable[[str], Any], moto_queues: tuple[str, str], on_moto: Any, receiver: Any,
    pending: Make, until: Make,
) -> None:  # fmt: skip
    url, dlq_url = moto_queues
    receiver.answers["/gone"] = (410, {})
    body = json.dumps({"segments": ["x"] * 50_000}).encode()
    s3, bucket = client("s3"), f"results-{uuid.uuid4().hex[:8]}"
    s3.create_bucket(Bucket=bucket)
    s3.put_object(Bucket=bucket, Key="r.json", Body=body)
    began_s = time.monotonic()
    threads = [
        threading.Thread(target=on_moto.box.put, args=(pending(receiver.url("/ok"), number),))
        for number in range(30)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    on_moto.box.put(pending(receiver.url("/gone"), 100))
    stored = f"s3://{bucket}/r.json"
    on_moto.box.put(pending(receiver.url("/large"), 101, body=body, result_url=stored))
    missing = f"s3://{bucket}/none.json"
    on_moto.box.put(pending(receiver.url("/none"), 102, body=body, result_url=missing))
    client("sqs").send_message(QueueUrl=url, MessageBody='{"version": 1}')
    on_moto.sender.start()

    until(lambda: left(client, url) == 0, "the outbox is empty", timeout_s=60.0)

    assert time.monotonic() - began_s >= 5.0
    assert len(receiver.accepted()) == 31
    assert {p.body for p in receiver.accepted() if p.path == "/large"} == {body}
    found = client("sqs").receive_message(
        QueueUrl=dlq_url, MaxNumberOfMessages=10, MessageAttributeNames=["All"]
    )["Messages"]
    codes = [m["MessageAttributes"]["DetectionErrorCode"]["StringValue"] for m in found]
    assert sorted(codes) == ["bad_json", "callback_rejected", "result_gone"]


def test_what_fails_waits_for_its_next_attempt(
    client: Callable[[str], Any], moto_queues: tuple[str, str], on_moto: Any, receiver: Any,
    pending: Make, until: Make,
) -> None:  # fmt: skip
    receiver.answers["/down"] = (503, {})
    on_moto.box.put(pending(receiver.url("/down")))
    on_moto.sender.start()

    until(lambda: on_moto.count("retried") == 1, "it was tried", timeout_s=60.0)
    until(lambda: on_moto.sender.held == 0, "it is back")

    shown = client("sqs").get_queue_attributes(QueueUrl=moto_queues[0], AttributeNames=["All"])
    assert shown["Attributes"]["ApproximateNumberOfMessagesDelayed"] == "1"
    assert len(receiver.posts) == 1


def test_a_queue_that_is_gone_is_told(moto_server: str, make_real: Callable[..., Any]) -> None:
    outbox = make_real(moto_server, f"{moto_server}/123456789012/never-made")

    with pytest.raises(QueueError, match="does not exist") as caught:
        outbox.queue.facts()

    assert caught.value.fatal
