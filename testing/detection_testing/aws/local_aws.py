"""A strict local AWS for tests, demos and benchmarks, with a receiver of callbacks.

It has as much of SQS, S3, SNS, EventBridge and STS as the worker and its tests use.
"""

import base64
import json
import subprocess
import sys
import urllib.parse
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, NamedTuple

from detection_testing.aws.callbacks import PREFIX as CALLBACK_PREFIX
from detection_testing.aws.caller import LocalCaller
from detection_testing.aws.calls import RecordedCall, chosen, s3_accesses
from detection_testing.aws.faults import Fault
from detection_testing.aws.journal import (
    DEAD_LETTER_SUFFIX,
    JournalEvent,
    RecordedCallback,
    RecordedEvent,
    RecordedPublish,
    S3Access,
)
from detection_testing.aws.server import ServerThread, arguments_of, main
from detection_testing.aws.services import LocalOptions
from detection_testing.aws.sqs.registry import REGION
from detection_testing.aws.sqs.values import InFlight
from detection_testing.aws.sts.credentials import LOCAL, Credentials

_STOP_S = 10.0
_BATCH = 10
_DEFAULTS = LocalOptions()


class Queues(NamedTuple):
    """A queue and its dead-letter queue; the latter empty if there is none."""

    queue_url: str
    dlq_url: str


class LocalAws:
    """A running local AWS; a context manager. Safe to use from several threads.

    Args:
        options: How the services behave.
        own_process: Serve from a process of its own, so that its CPU time and its interpreter
            lock are not this process's. It ends with this process, however that ends.
    """

    def __init__(self, options: LocalOptions = _DEFAULTS, *, own_process: bool = False) -> None:
        self._options = options
        self._thread = None if own_process else ServerThread(options)
        self._process: subprocess.Popen[str] | None = None
        self._caller = LocalCaller(0)

    @classmethod
    def in_thread(cls, options: LocalOptions = _DEFAULTS) -> "LocalAws":
        """Return one that serves from a thread of this process once it is entered."""
        return cls(options)

    @classmethod
    def in_process(cls, options: LocalOptions = _DEFAULTS) -> "LocalAws":
        """Return one that serves from a process of its own once it is entered."""
        return cls(options, own_process=True)

    def __enter__(self) -> "LocalAws":
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start serving.

        Raises:
            RuntimeError: The server process ended before it was ready.
        """
        if self._thread is not None:
            self._caller = LocalCaller(self._thread.start())
            return
        module = "detection_testing.aws.server"
        command = [sys.executable, "-m", module, "--with-parent", *arguments_of(self._options)]
        self._process = subprocess.Popen(  # noqa: S603 - our own module, with options we wrote
            command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True
        )
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line:
            self.stop()
            raise RuntimeError("the local AWS process ended before it was ready")
        port = int(json.loads(line)["endpoint_url"].rpartition(":")[2])
        self._caller = LocalCaller(port)

    def stop(self) -> None:
        """Stop serving and close every connection; harmless when stopped."""
        self._caller.close()
        if self._thread is not None:
            self._thread.stop()
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            if self._process.stdout:
                self._process.stdout.close()
            self._process = None

    @property
    def endpoint_url(self) -> str:
        """Where every service is served: one port for all."""
        return f"http://127.0.0.1:{self._caller.port}"

    @property
    def credentials(self) -> Credentials:
        """Keys that are always accepted."""
        return LOCAL

    @property
    def region(self) -> str:
        """The region of every queue and bucket."""
        return REGION

    def environment(self) -> dict[str, str]:
        """Return the variables by which boto3 in another process finds this AWS."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint_url,
            "AWS_ACCESS_KEY_ID": LOCAL.access_key_id,
            "AWS_SECRET_ACCESS_KEY": LOCAL.secret_access_key,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def callback_url(self, path: str = "/ok") -> str:
        """Return the URL of the callback receiver; see ``callback_http`` for the paths."""
        return f"{self.endpoint_url}{CALLBACK_PREFIX}/{path.lstrip('/')}"

    def sqs(self) -> Any:
        """Return a boto3 SQS client that never retries; the same one each time."""
        return self._caller.client("sqs")

    def s3(self) -> Any:
        """Return a boto3 S3 client that never retries; the same one each time."""
        return self._caller.client("s3")

    def sns(self) -> Any:
        """Return a boto3 SNS client that never retries; the same one each time."""
        return self._caller.client("sns")

    def events(self) -> Any:
        """Return a boto3 EventBridge client that never retries; the same one each time."""
        return self._caller.client("events")

    def queue_arn(self, queue_url: str) -> str:
        """Return the ARN of a queue."""
        shown = self._caller.sqs("GetQueueAttributes", QueueUrl=queue_url, AttributeNames=["All"])
        return str(shown["Attributes"]["QueueArn"])

    def notify(self, bucket: str, queue_url: str, *, prefix: str = "", suffix: str = "") -> None:
        """Let S3 tell a queue of every object that is put; S3 sends it a test event first.

        Makes the bucket if need be; replaces what was set up for it before.

        Args:
            bucket: Name of the bucket.
            queue_url: A standard queue.
            prefix: Only keys that start with it.
            suffix: Only keys that end with it.
        """
        self._caller.request("PUT", f"/{bucket}")
        rules = [
            {"Name": name, "Value": value}
            for name, value in (("prefix", prefix), ("suffix", suffix))
            if value
        ]
        configuration = {
            "QueueArn": self.queue_arn(queue_url),
            "Events": ["s3:ObjectCreated:*"],
            **({"Filter": {"Key": {"FilterRules": rules}}} if rules else {}),
        }
        self.s3().put_bucket_notification_configuration(
            Bucket=bucket,
            NotificationConfiguration={"QueueConfigurations": [configuration]},
        )

    def create_topic(self, name: str, *queue_urls: str, raw: bool = True) -> str:
        """Create a topic that queues subscribe to; return its ARN."""
        kind = {"FifoTopic": "true"} if name.endswith(".fifo") else {}
        arn = str(self.sns().create_topic(Name=name, Attributes=kind)["TopicArn"])
        for url in queue_urls:
            self.sns().subscribe(
                TopicArn=arn,
                Protocol="sqs",
                Endpoint=self.queue_arn(url),
                Attributes={"RawMessageDelivery": str(raw).lower()},
            )
        return arn

    def create_queue(
        self,
        name: str,
        *,
        visibility_s: int = 30,
        max_receive_count: int = 5,
        dead_letter: bool = True,
        attributes: Mapping[str, str] | None = None,
    ) -> Queues:
        """Create a queue and, by default, ``NAME-dlq`` as its dead-letter queue."""
        given = {"VisibilityTimeout": str(visibility_s), **(attributes or {})}
        dlq_url = ""
        if dead_letter:
            stem, dot, fifo = name.partition(".fifo")
            dlq_name = stem + DEAD_LETTER_SUFFIX + dot + fifo
            kind = {"FifoQueue": "true"} if dot else {}
            dlq_url = self._caller.sqs("CreateQueue", QueueName=dlq_name, Attributes=kind)[
                "QueueUrl"
            ]
            shown = self._caller.sqs(
                "GetQueueAttributes", QueueUrl=dlq_url, AttributeNames=["All"]
            )
            policy = {
                "deadLetterTargetArn": shown["Attributes"]["QueueArn"],
                "maxReceiveCount": max_receive_count,
            }
            given["RedrivePolicy"] = json.dumps(policy)
        made = self._caller.sqs("CreateQueue", QueueName=name, Attributes=given)
        return Queues(queue_url=made["QueueUrl"], dlq_url=dlq_url)

    def send(self, queue_url: str, bodies: Iterable[str]) -> list[str]:
        """Send messages in batches, in order; return their ids."""
        ids: list[str] = []
        waiting = list(bodies)
        for start in range(0, len(waiting), _BATCH):
            batch = waiting[start : start + _BATCH]
            entries = [{"Id": str(n), "MessageBody": body} for n, body in enumerate(batch)]
            sent = self._caller.sqs("SendMessageBatch", QueueUrl=queue_url, Entries=entries)
            ids += [entry["MessageId"] for entry in sent["Successful"]]
        return ids

    def put_object(
        self,
        bucket: str,
        key: str,
        data: bytes,
        *,
        content_type: str = "application/octet-stream",
        content_encoding: str | None = None,
    ) -> str:
        """Store an object, making the bucket if need be; return its ``s3://`` URL."""
        self._caller.request("PUT", f"/{bucket}")
        headers = {"Content-Type": content_type}
        if content_encoding is not None:
            headers["Content-Encoding"] = content_encoding
        self._caller.request(
            "PUT", f"/{bucket}/{urllib.parse.quote(key)}", body=data, headers=headers
        )
        return f"s3://{bucket}/{key}"

    def callbacks(self, *, since: int = 0) -> list[RecordedCallback]:
        """Return the callbacks that arrived, from the ``since``-th on."""
        shown = self._caller.control("GET", f"callbacks?since={since}")
        return [
            RecordedCallback(**{**call, "body": base64.b64decode(call["body"])}) for call in shown
        ]

    def calls(
        self, *, since: int = 0, operation: str = "*", resource: str = "*"
    ) -> list[RecordedCall]:
        """Return requests to all services, from the ``since``-th on: those that match."""
        calls = [
            RecordedCall(*call) for call in self._caller.control("GET", f"calls?since={since}")
        ]
        return chosen(calls, operation=operation, resource=resource)

    def published(self, *, since: int = 0) -> list[RecordedPublish]:
        """Return what was published to topics, from the ``since``-th message on."""
        shown = self._caller.control("GET", f"published?since={since}")
        return [RecordedPublish(*each) for each in shown]

    def put_events(self, *, since: int = 0) -> list[RecordedEvent]:
        """Return what was put on event buses, from the ``since``-th event on."""
        return [
            RecordedEvent(*each) for each in self._caller.control("GET", f"events?since={since}")
        ]

    def journal(self, *, since: int = 0) -> list[JournalEvent]:
        """Return what happened to the messages of all queues, from the ``since``-th event on."""
        return [
            JournalEvent(*event) for event in self._caller.control("GET", f"journal?since={since}")
        ]

    def s3_journal(self, *, since: int = 0) -> list[S3Access]:
        """Return the requests that S3 carried out, from the ``since``-th on."""
        return s3_accesses(self.calls())[since:]

    def in_flight(self, queue: str) -> list[InFlight]:
        """Return the messages that consumers hold, of the queue with this name or URL."""
        name = urllib.parse.quote(queue.rpartition("/")[2])
        return [
            InFlight(**held) for held in self._caller.control("GET", f"in_flight?queue={name}")
        ]

    def stats(self) -> dict[str, Any]:
        """Return requests by operation, CPU seconds, and the counts of each queue."""
        stats: dict[str, Any] = self._caller.control("GET", "stats")
        return stats

    def cpu_seconds(self) -> float:
        """Return the CPU time of the server so far: of its process, or of its thread."""
        return float(self.stats()["cpu_thread_s" if self._thread else "cpu_process_s"])

    def inject(self, fault: Fault) -> None:
        """Put a fault in force."""
        self._caller.control("POST", "faults", fault.to_json())

    def clear_faults(self) -> None:
        """Lift every fault."""
        self._caller.control("POST", "clear_faults")

    def advance(self, seconds: float) -> None:
        """Move the server's clock forward."""
        self._caller.control("POST", "clock", {"advance_s": seconds})

    def purge(self, queue: str) -> None:
        """Empty the queue with this name or URL, as often as wanted."""
        self._caller.control("POST", "purge", {"queue": queue.rpartition("/")[2]})


if __name__ == "__main__":
    raise SystemExit(main())
