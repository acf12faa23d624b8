"""The worker's local SQS, S3 and callback receiver as a child process, spoken to over HTTP."""

import base64
import contextlib
import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import boto3
from botocore.config import Config

from detection_contract.environment import (
    AWS_EC2_METADATA_DISABLED,
    CALLBACK_ALLOW_PRIVATE,
    ENDPOINT_URL,
    WAIT_TIME,
)
from detection_contract.messages import create_test_message
from detection_testing.operator_demo.options import Options
from detection_testing.samples import SAMPLES, sample_path

REGION: Final = "us-east-1"
BUCKET: Final = "demo-media"
QUEUE: Final = "demo-media"
MAX_RECEIVES: Final = 5
VISIBILITY_S: Final = 30
BATCH: Final = 10
CALL_S: Final = 10.0
STOP_S: Final = 10.0
QUEUE_WAIT_S: Final = 20
CREDENTIALS: Final = {
    "AWS_ACCESS_KEY_ID": "demo",
    "AWS_SECRET_ACCESS_KEY": "demo",
    "AWS_REGION": REGION,
    "AWS_DEFAULT_REGION": REGION,
    AWS_EC2_METADATA_DISABLED: "true",
}
"""The local services accept any key; these make sure that no real one is used."""


@dataclass(frozen=True, slots=True)
class Depth:
    """Messages of a queue, as SQS counts them."""

    visible: int
    in_flight: int

    @property
    def total(self) -> int:
        """Messages that are not done."""
        return self.visible + self.in_flight


class LocalAws:
    """A running local AWS.

    Args:
        endpoint_url: Endpoint of all its services.

    Attributes:
        queue_url: URL of the queue.
        dead_letter_url: URL of its dead-letter queue.
    """

    def __init__(self, endpoint_url: str) -> None:
        self.endpoint_url = endpoint_url
        session = boto3.session.Session(
            aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
            region_name=REGION,
        )
        config = Config(s3={"addressing_style": "path"})
        self._sqs: Any = session.client("sqs", endpoint_url=endpoint_url, config=config)
        self._s3: Any = session.client("s3", endpoint_url=endpoint_url, config=config)
        self._seen = 0
        self.dead_letter_url: str = self._sqs.create_queue(QueueName=f"{QUEUE}-dlq")["QueueUrl"]
        policy = {
            "deadLetterTargetArn": self._attributes(self.dead_letter_url)["QueueArn"],
            "maxReceiveCount": MAX_RECEIVES,
        }
        attributes = {
            "VisibilityTimeout": str(VISIBILITY_S),
            "RedrivePolicy": json.dumps(policy),
        }
        self._queue_attributes = attributes
        self.queue_url = self.create_queue(QUEUE)

    @property
    def callback_url(self) -> str:
        """Where results are received."""
        return f"{self.endpoint_url}/_callback/ok"

    def close(self) -> None:
        """Close the connections."""
        self._sqs.close()
        self._s3.close()

    def create_queue(self, name: str) -> str:
        """Create a queue with the same dead-letter queue; return its URL."""
        made = self._sqs.create_queue(QueueName=name, Attributes=self._queue_attributes)
        return str(made["QueueUrl"])

    def upload(self, files: Sequence[Path]) -> list[str]:
        """Store files and return their ``s3://`` URLs."""
        self._s3.create_bucket(Bucket=BUCKET)
        for path in files:
            self._s3.put_object(Bucket=BUCKET, Key=path.name, Body=path.read_bytes())
        return [f"s3://{BUCKET}/{path.name}" for path in files]

    def send(self, messages: Sequence[Mapping[str, object]], url: str | None = None) -> None:
        """Send messages; None: to the first queue."""
        for start in range(0, len(messages), BATCH):
            batch = messages[start : start + BATCH]
            entries = [{"Id": str(n), "MessageBody": json.dumps(m)} for n, m in enumerate(batch)]
            self._sqs.send_message_batch(QueueUrl=url or self.queue_url, Entries=entries)

    def depth(self, url: str | None = None) -> Depth:
        """Return the messages of a queue; None: of the first."""
        return self._depth(url or self.queue_url)

    def dead_letters(self) -> int:
        """Return the messages of the dead-letter queue."""
        return self._depth(self.dead_letter_url).total

    def new_results(self) -> list[dict[str, Any]]:
        """Return the results that were called back since the last time."""
        url = f"{self.endpoint_url}/_local/callbacks?since={self._seen}"
        with urllib.request.urlopen(url, timeout=CALL_S) as response:  # noqa: S310 - loopback
            calls = json.load(response)
        self._seen += len(calls)
        return [json.loads(base64.b64decode(call["body"])) for call in calls]

    def _depth(self, url: str) -> Depth:
        found = self._attributes(url)
        name = "ApproximateNumberOfMessages"
        return Depth(int(found[name]), int(found[f"{name}NotVisible"]))

    def _attributes(self, url: str) -> dict[str, str]:
        answer = self._sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])
        attributes: dict[str, str] = answer["Attributes"]
        return attributes


@contextlib.contextmanager
def running(log: Path) -> Iterator[LocalAws]:
    """Start the services, stop them at the end.

    Args:
        log: Where what they say goes.

    Raises:
        RuntimeError: They did not start; the message has their last words.
    """
    module = "detection_testing.aws.local_aws"
    command = [sys.executable, "-P", "-m", module, "--with-parent", "--allow-unsigned"]
    with (
        log.open("wb") as errors,
        subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, text=True
        ) as process,
    ):
        try:
            line = process.stdout.readline() if process.stdout else ""
            if not line:
                raise RuntimeError(f"the local AWS did not start: {log.read_text()[-2000:]}")
            aws = LocalAws(json.loads(line)["endpoint_url"])
            try:
                yield aws
            finally:
                aws.close()
        finally:
            _stop(process)


def samples() -> list[Path]:
    """Return the media files that are sent, by name."""
    return sorted(sample_path(sample.name) for sample in SAMPLES)


def _stop(process: "subprocess.Popen[str]") -> None:
    process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()


def queue_spec(aws: LocalAws, options: Options, url: str | None = None) -> dict[str, Any]:
    """Return the spec of a DetectionQueue: hasty, so that one need not wait to see it act.

    Args:
        aws: Where its queue is.
        options: How the demonstration runs.
        url: URL of the queue; None means the first one.
    """
    one_core = {"DETECTION_TORCH_THREADS": "1", "DETECTION_DECODERS": "1"}
    hasty = {WAIT_TIME: "2", CALLBACK_ALLOW_PRIVATE: "true", ENDPOINT_URL: aws.endpoint_url}
    environ = {**CREDENTIALS, **one_core, **hasty}
    return {
        "queue": {
            "url": url or aws.queue_url,
            "endpointURL": aws.endpoint_url,
            "region": REGION,
            "pollIntervalSeconds": 1,
        },
        "slo": {"queueWaitSeconds": QUEUE_WAIT_S},
        "scaling": {
            "minReplicas": 0,
            "maxReplicas": options.max_replicas,
            "scaleDown": {"holdSeconds": 5, "maxPercent": 100, "drainTimeoutSeconds": 60},
            "idle": {"policy": "Fixed", "fixedSeconds": 5},
        },
        "serviceTime": {
            "coldStartSeconds": 8,
            "priors": [{"mediaType": kind, "seconds": 1} for kind in ("image", "video", "audio")],
        },
        "worker": {
            "template": {
                "image": "detection-worker:demo",
                "env": [{"name": name, "value": value} for name, value in environ.items()],
            }
        },
    }


def messages(
    urls: Sequence[str], count: int, callback_url: str, prefix: str = "demo"
) -> list[dict[str, Any]]:
    """Return ``count`` messages that ask for the objects in turn."""
    return [
        create_test_message(
            sqs_to_ml_url=urls[number % len(urls)],
            callback_url=callback_url,
            request_id=f"{prefix}-{number + 1:05d}",
        )
        for number in range(count)
    ]
