"""Two implementations of AWS, the strict local one and moto's, behind the same few calls."""

import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import boto3
import pytest
from botocore.config import Config

from detection_testing.aws.local_aws import LocalAws
from detection_worker.sources.base import MessageAttribute, ReceivedMessage
from detection_worker.sources.dead_letters import dead_letter_request

NUMBERS = itertools.count()


@dataclass
class Aws:
    """One of them, with a bucket and a queue of its own for each test."""

    environment: dict[str, str]
    s3: Any
    sqs: Any
    bucket: str = ""
    queue_url: str = ""
    dlq_url: str = ""
    is_moto: bool = False

    def put(self, key: str, body: bytes = b"x", **options: Any) -> None:
        self.s3.put_object(Bucket=self.bucket, Key=key, Body=body, **options)

    def create_queue(self, name: str, **attributes: str) -> str:
        return str(self.sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"])

    def arn(self, url: str) -> str:
        shown = self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
        return str(shown["Attributes"]["QueueArn"])

    def count(self, url: str) -> int:
        names = [
            "ApproximateNumberOfMessages",
            "ApproximateNumberOfMessagesNotVisible",
        ]
        shown = self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)
        return sum(int(value) for value in shown["Attributes"].values())

    def drain(self, url: str) -> list[dict[str, Any]]:
        """Receive and delete every message."""
        found: list[dict[str, Any]] = []
        while messages := self.sqs.receive_message(
            QueueUrl=url,
            MaxNumberOfMessages=10,
            WaitTimeSeconds=1,
            VisibilityTimeout=600,
            MessageAttributeNames=["All"],
            MessageSystemAttributeNames=["All"],
        ).get("Messages"):
            for message in messages:
                self.sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
            found += messages
        return found

    def bodies(self, url: str) -> list[dict[str, Any]]:
        return [json.loads(message["Body"]) for message in self.drain(url)]

    def bury(self, number: int, code: str | None, **body: object) -> str:
        """Put a dead letter in its queue, as a worker does, or as SQS does without a code."""
        text = json.dumps({"sqs_to_ml_url": f"s3://media/{number}.jpg", **body})
        if code is None:
            sent = self.sqs.send_message(QueueUrl=self.dlq_url, MessageBody=text)
            return str(sent["MessageId"])
        message = ReceivedMessage(
            message_id=f"original-{number}",
            receipt_handle="h",
            body=text,
            receive_count=1,
            sent_at_s=None,
            attributes={
                "tenant": MessageAttribute(data_type="String", value="blue"),
                "raw": MessageAttribute(data_type="Binary", value=b"\x00\xff"),
            },
            trace_header="Root=1-5759e988-bd862e3fe1be46a994272793",
        )
        request = dead_letter_request(
            message,
            queue_url=self.dlq_url,
            source_url=self.queue_url,
            code=code,
            reason=f"reason {number}",
        )
        return str(self.sqs.send_message(**request)["MessageId"])


def clients(environment: Mapping[str, str]) -> tuple[Any, Any]:
    session = boto3.Session(
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
        region_name=environment["AWS_REGION"],
    )
    config = Config(s3={"addressing_style": "path"})
    s3, sqs = (
        session.client(name, endpoint_url=environment["AWS_ENDPOINT_URL"], config=config)
        for name in ("s3", "sqs")
    )
    return s3, sqs


def prepared(environment: Mapping[str, str], stack: ExitStack) -> Aws:
    s3, sqs = clients(environment)
    stack.callback(s3.close)
    stack.callback(sqs.close)
    made = Aws(environment=dict(environment), s3=s3, sqs=sqs)
    name = f"batch-{next(NUMBERS)}"
    made.bucket = name
    s3.create_bucket(Bucket=name)
    made.dlq_url = made.create_queue(f"{name}-dlq")
    policy = {"deadLetterTargetArn": made.arn(made.dlq_url), "maxReceiveCount": "5"}
    made.queue_url = made.create_queue(name, RedrivePolicy=json.dumps(policy))
    return made


@pytest.fixture(scope="module")
def strict() -> Iterator[LocalAws]:
    """The strict local AWS."""
    with LocalAws.in_thread() as running:
        yield running


@pytest.fixture
def local(strict: LocalAws) -> Iterator[Aws]:
    """The strict local AWS, with a bucket and a queue."""
    with ExitStack() as stack:
        yield prepared(strict.environment(), stack)
        strict.clear_faults()


@pytest.fixture(params=["local", "moto"])
def aws(request: pytest.FixtureRequest) -> Iterator[Aws]:
    """Each implementation, with a bucket and a queue."""
    if request.param == "local":
        environment = request.getfixturevalue("strict").environment()
    else:
        environment = {
            "AWS_ENDPOINT_URL": request.getfixturevalue("moto_server"),
            "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_REGION": "us-east-1",
        }
    with ExitStack() as stack:
        made = prepared(environment, stack)
        made.is_moto = request.param == "moto"
        yield made


RunOn = Callable[..., Any]


@pytest.fixture
def run_on(run_cli: Any) -> RunOn:
    """Run a command against one of them."""

    def run(aws: Aws, *args: str, stdin: str = "") -> Any:
        return run_cli(*args, stdin=stdin, env=aws.environment)

    return run
