"""A place where workers die: local AWS, subscribers of every kind, and what all of them saw."""

import json
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from detection_testing.aws.journal import RecordedCallback
from detection_testing.aws.local_aws import LocalAws
from detection_testing.crashes.killing import Call, calls_in
from detection_testing.crashes.process import Order
from detection_testing.crashes.server import ForkServer

VISIBILITY_S = 3


class Seen(NamedTuple):
    """What the world saw of one message.

    Attributes:
        downloads: Times that the media object was sent to a worker, by the journal of S3.
        inferences: Forward passes.
        topic: Notifications of the SNS topic.
        queue: Notifications of the SQS queue.
        bus: Events of the EventBridge bus.
        callbacks: Callbacks that were answered with 200.
    """

    downloads: int
    inferences: int
    topic: int
    queue: int
    bus: int
    callbacks: int


@dataclass
class Scene:
    """One message, its worker, and everyone whom the worker tells."""

    aws: LocalAws
    forks: ForkServer
    folder: Path
    name: str
    options: list[str] = field(default_factory=list)
    callback_path: str = ""
    message_id: str = ""

    def __post_init__(self) -> None:
        aws, name = self.aws, self.name
        self.calls = self.folder / "calls"
        self.calls.touch()
        self.queue_url, self.dlq_url = aws.create_queue(f"{name}-work", max_receive_count=20)
        self.outbox_url, self.outbox_dlq_url = aws.create_queue(f"{name}-outbox")
        self.inboxes = [f"{name}-{kind}" for kind in ("topic", "queue", "bus")]
        urls = [aws.create_queue(inbox, dead_letter=False).queue_url for inbox in self.inboxes]
        topic = aws.create_topic(f"{name}-topic", urls[0])
        self.destinations = ",".join(
            [topic, aws.queue_arn(urls[1]), self._bus(aws.queue_arn(urls[2]))]
        )
        for bucket in (f"{name}-media", f"{name}-results", f"{name}-cache"):
            aws.s3().create_bucket(Bucket=bucket)

    # -- acting --------------------------------------------------------------------------------

    def send(self, content: bytes = b"\x07 a photo", *, callback: str = "/ok") -> str:
        """Send a message for a new object; return its id."""
        url = self.aws.put_object(f"{self.name}-media", "a.png", content)
        self.callback_path = f"{callback}/{self.name}"
        body = {
            "sqs_to_ml_url": url,
            "callback_url": self.aws.callback_url(self.callback_path),
            "request_id": self.name,
        }
        [self.message_id] = self.aws.send(self.queue_url, [json.dumps(body)])
        return self.message_id

    def run(self, kill: str | None = None, *, command: Sequence[str] = ()) -> int:
        """Run a worker until it has worked off what it received, or dies; return its exit code."""
        return self.forks.run(self._order(kill, command or self._consume()))

    def freeze(self, step: str) -> int:
        """Run a worker until it freezes at a step; return its process id."""
        return self.forks.freeze(self._order(step, self._consume()))

    def resume(self, pid: int) -> int:
        """Let a frozen worker go on, and return its exit code."""
        return self.forks.resume(pid)

    def deliver(self, kill: str | None = None) -> int:
        """Send what is due in the outbox; return the exit code."""
        return self.run(
            kill,
            command=[
                *("deliver", "--run-once"),
                *("--outbox", self.outbox_url),
                *("--wait-time", "1"),
                "--callback-allow-private",
            ],
        )

    def wait(self, seconds: float = VISIBILITY_S + 1) -> None:
        """Let time pass for SQS: what a dead worker held becomes visible again."""
        self.aws.advance(seconds)

    def log(self) -> str:
        """Return what the workers logged."""
        return (self.folder / "log").read_text()

    def _order(self, kill: str | None, command: Sequence[str]) -> Order:
        return Order(
            arguments=command,
            environment=self.aws.environment(),
            calls=str(self.calls),
            log=str(self.folder / "log"),
            kill=kill,
            outbox_factor=1000,
        )

    def _consume(self) -> list[str]:
        return [
            *("consume", "--run-once"),
            *("--queue-url", self.queue_url),
            *("--device", "cpu"),
            *("--wait-time", "1"),
            *("--visibility-timeout", str(VISIBILITY_S)),
            "--callback-allow-private",
            *self.options,
        ]

    # -- looking -------------------------------------------------------------------------------

    def seen(self) -> Seen:
        """Return what the world saw."""
        return Seen(
            downloads=len(self.downloads()),
            inferences=len(self.returned("Detector.logits")),
            topic=len(self.notifications(0)),
            queue=len(self.notifications(1)),
            bus=len(self.notifications(2)),
            callbacks=len(self.callbacks()),
        )

    def every_call(self) -> list[Call]:
        """Return the calls that returned, in the order in which they began."""
        calls = calls_in(self.calls)
        return [c for c in calls if not c.returned]

    def returned(self, name: str) -> list[Call]:
        """Return the calls of a method that returned."""
        return [c for c in calls_in(self.calls) if c.name == name and c.returned]

    def downloads(self) -> list[Any]:
        """Return when S3 sent the media object."""
        return [
            a
            for a in self.aws.s3_journal()
            if a.operation == "GetObject" and a.bucket == f"{self.name}-media" and a.status < 300
        ]

    def notifications(self, inbox: int) -> list[str]:
        """Return the bodies that arrived at the topic, the queue or the bus."""
        return self.sent_to(self.inboxes[inbox])

    def sent_to(self, queue: str) -> list[str]:
        """Return the bodies of all messages that a queue, given by name or URL, has ever got."""
        name = queue.rpartition("/")[2]
        return [e.detail for e in self.aws.journal() if e.queue == name and e.kind == "sent"]

    def letters(self, queue_url: str) -> list[Any]:
        """Return the messages of a dead-letter queue."""
        return list(
            self.aws.sqs()
            .receive_message(
                QueueUrl=queue_url, MaxNumberOfMessages=10, MessageAttributeNames=["All"]
            )
            .get("Messages", [])
        )

    def callbacks(self) -> list[RecordedCallback]:
        """Return the callbacks that the receiver took."""
        return [c for c in self.posted() if c.accepted]

    def posted(self) -> list[RecordedCallback]:
        """Return what was posted to the receiver, whatever it answered."""
        return [c for c in self.aws.callbacks() if c.path == self.callback_path]

    def stored(self) -> list[bytes]:
        """Return the stored envelopes."""
        s3, bucket = self.aws.s3(), f"{self.name}-results"
        listed = s3.list_objects_v2(Bucket=bucket).get("Contents", [])
        return [s3.get_object(Bucket=bucket, Key=o["Key"])["Body"].read() for o in listed]

    @staticmethod
    def parsed(notification: str) -> str:
        """Return a notification without what JSON leaves open: spaces and escapes."""
        return json.dumps(json.loads(notification), sort_keys=True)

    def left(self, url: str) -> int:
        """Return how many messages a queue holds."""
        return sum(self.aws.stats()["queues"][url.rpartition("/")[2]].values())

    # -- setting up ----------------------------------------------------------------------------

    def _bus(self, queue_arn: str) -> str:
        events = self.aws.events()
        arn = str(events.create_event_bus(Name=f"{self.name}-bus")["EventBusArn"])
        rule = {"Name": "all", "EventBusName": f"{self.name}-bus"}
        events.put_rule(**rule, EventPattern=json.dumps({"source": ["detection-queue"]}))
        target = {"Id": "queue", "Arn": queue_arn, "InputPath": "$.detail"}
        events.put_targets(Rule="all", EventBusName=f"{self.name}-bus", Targets=[target])
        return arn


@pytest.fixture(scope="module")
def aws() -> Iterator[LocalAws]:
    with LocalAws.in_process() as running:
        yield running


@pytest.fixture(scope="module")
def forks() -> Iterator[ForkServer]:
    with ForkServer() as running:
        yield running


@pytest.fixture
def scene(aws: LocalAws, forks: ForkServer, tmp_path: Path) -> Scene:
    """A scene without a message yet, with buckets and queues of its own."""
    return Scene(aws, forks, tmp_path, f"scene-{uuid.uuid4().hex[:12]}")
