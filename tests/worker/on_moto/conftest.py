"""An AWS account on moto, an implementation that shares no code with our own."""

import json
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import pytest

from detection_testing.crashes.killing import calls_in
from detection_testing.crashes.process import Order
from detection_testing.crashes.server import ForkServer

REGION = "us-east-1"
ACCOUNT_ID = "123456789012"


class Receiver(ThreadingHTTPServer):
    """Takes callbacks, or answers 503 while it is down."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.status = 200
        self.got: list[tuple[dict[str, str], bytes, int]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/callback"

    @property
    def accepted(self) -> list[tuple[dict[str, str], bytes]]:
        return [(headers, body) for headers, body, status in self.got if status == 200]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        status = self.server.status
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.got.append((headers, body, status))
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: object) -> None:
        del args


@dataclass
class Account:
    """Buckets, queues, a topic and a bus with names of their own, and a callback receiver."""

    endpoint_url: str
    receiver: Receiver
    forks: ForkServer
    folder: Path
    name: str = field(default_factory=lambda: f"t{uuid.uuid4().hex[:10]}")
    _clients: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.dlq_url = self.queue("dlq")
        policy = {"deadLetterTargetArn": self.arn(self.dlq_url), "maxReceiveCount": "5"}
        self.queue_url = self.queue("work", RedrivePolicy=json.dumps(policy))
        self.outbox_url = self.queue("outbox")
        self.inboxes = {kind: self.queue(kind) for kind in ("topic", "direct", "bus")}
        self.topic = self._topic()
        self.bus = self._bus()
        for kind in ("media", "results", "cache"):
            self.client("s3").create_bucket(Bucket=self.bucket(kind))

    @property
    def environment(self) -> dict[str, str]:
        """What boto3 in another process needs."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint_url,
            "AWS_ACCESS_KEY_ID": "moto",
            "AWS_SECRET_ACCESS_KEY": "moto",
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    @property
    def destinations(self) -> str:
        """ARNs of the topic, the queue and the bus."""
        return ",".join([self.topic, self.arn(self.inboxes["direct"]), self.bus])

    def client(self, service: str, *, region: str = REGION) -> Any:
        key = f"{service} {region}"
        if key not in self._clients:
            self._clients[key] = boto3.client(
                service,
                endpoint_url=self.endpoint_url,
                region_name=region,
                aws_access_key_id="moto",
                aws_secret_access_key="moto",
            )
        return self._clients[key]

    def bucket(self, kind: str) -> str:
        return f"{self.name}-{kind}"

    def queue(self, kind: str, **attributes: str) -> str:
        made = self.client("sqs").create_queue(
            QueueName=f"{self.name}-{kind}", Attributes=attributes
        )
        return str(made["QueueUrl"])

    def arn(self, queue_url: str) -> str:
        return f"arn:aws:sqs:{REGION}:{ACCOUNT_ID}:{queue_url.rpartition('/')[2]}"

    # -- acting --------------------------------------------------------------------------------

    def notify_of_uploads(self) -> None:
        """Let the media bucket send its events to the work queue, and drop S3's test event."""
        configuration = {
            "QueueArn": self.arn(self.queue_url),
            "Events": ["s3:ObjectCreated:*"],
            "Filter": {"Key": {"FilterRules": [{"Name": "prefix", "Value": "uploads/"}]}},
        }
        self.client("s3").put_bucket_notification_configuration(
            Bucket=self.bucket("media"),
            NotificationConfiguration={"QueueConfigurations": [configuration]},
        )

    def upload(self, key: str, content: bytes) -> str:
        self.client("s3").put_object(
            Bucket=self.bucket("media"), Key=key, Body=content, ContentType="image/jpeg"
        )
        return f"s3://{self.bucket('media')}/{key}"

    def send(self, url: str, **fields: object) -> str:
        """Send a message; return its id."""
        body = json.dumps({"sqs_to_ml_url": url, **fields})
        sent = self.client("sqs").send_message(QueueUrl=self.queue_url, MessageBody=body)
        return str(sent["MessageId"])

    def options(self, *more: str) -> list[str]:
        """Return the arguments of a worker that works off the queue once."""
        return [
            *("consume", "--run-once"),
            *("--queue-url", self.queue_url),
            *("--device", "cpu"),
            *("--wait-time", "1"),
            *("--visibility-timeout", "3"),
            "--callback-allow-private",
            *more,
        ]

    def work(self, *more: str, kill: str | None = None) -> int:
        """Run a worker with stub models until it has worked off what it received."""
        return self._run(self.options(*more), kill)

    def deliver(self) -> int:
        """Send what is due in the outbox."""
        return self._run(
            [
                *("deliver", "--run-once"),
                *("--outbox", self.outbox_url),
                *("--wait-time", "1"),
                "--callback-allow-private",
            ],
            None,
        )

    def _run(self, arguments: list[str], kill: str | None) -> int:
        return self.forks.run(
            Order(
                arguments=arguments,
                environment=self.environment,
                calls=str(self.folder / "calls"),
                log=str(self.folder / "log"),
                kill=kill,
                outbox_factor=1000,
            )
        )

    # -- looking -------------------------------------------------------------------------------

    def log(self) -> str:
        return (self.folder / "log").read_text()

    def count(self, call: str) -> int:
        """Return how often workers with stub models called a method of a port."""
        return sum(c.name == call and c.returned for c in calls_in(self.folder / "calls"))

    def stored(self, kind: str = "results") -> dict[str, bytes]:
        """Return the objects of a bucket by key."""
        s3, bucket = self.client("s3"), self.bucket(kind)
        listed = s3.list_objects_v2(Bucket=bucket).get("Contents", [])
        return {
            o["Key"]: s3.get_object(Bucket=bucket, Key=o["Key"])["Body"].read() for o in listed
        }

    def take(self, queue_url: str) -> list[Any]:
        """Return and delete the messages of a queue."""
        sqs, found = self.client("sqs"), []
        while messages := sqs.receive_message(
            QueueUrl=queue_url,
            MaxNumberOfMessages=10,
            AttributeNames=["All"],
            MessageAttributeNames=["All"],
        ).get("Messages"):
            for message in messages:
                sqs.delete_message(QueueUrl=queue_url, ReceiptHandle=message["ReceiptHandle"])
            found += messages
        return found

    def notifications(self, kind: str) -> list[Any]:
        """Return and delete what arrived at the topic, the queue or the bus."""
        return [json.loads(message["Body"]) for message in self.take(self.inboxes[kind])]

    def left(self, queue_url: str) -> int:
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        names.append("ApproximateNumberOfMessagesDelayed")
        shown = self.client("sqs").get_queue_attributes(QueueUrl=queue_url, AttributeNames=names)
        return sum(int(value) for value in shown["Attributes"].values())

    # -- setting up ----------------------------------------------------------------------------

    def _topic(self) -> str:
        sns = self.client("sns")
        arn = str(sns.create_topic(Name=f"{self.name}-topic")["TopicArn"])
        sns.subscribe(
            TopicArn=arn,
            Protocol="sqs",
            Endpoint=self.arn(self.inboxes["topic"]),
            Attributes={"RawMessageDelivery": "true"},
        )
        return arn

    def _bus(self) -> str:
        events, name = self.client("events"), f"{self.name}-bus"
        arn = str(events.create_event_bus(Name=name)["EventBusArn"])
        pattern = json.dumps({"source": ["detection-queue"]})
        events.put_rule(Name="results", EventBusName=name, EventPattern=pattern)
        target = {"Id": "queue", "Arn": self.arn(self.inboxes["bus"])}
        events.put_targets(Rule="results", EventBusName=name, Targets=[target])
        return arn


@pytest.fixture(scope="module")
def forks() -> Iterator[ForkServer]:
    with ForkServer() as running:
        yield running


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def account(
    moto_server: str, receiver: Receiver, forks: ForkServer, tmp_path: Path
) -> Iterator[Account]:
    made = Account(moto_server, receiver, forks, tmp_path)
    (tmp_path / "calls").touch()
    yield made
    for client in made._clients.values():
        client.close()
