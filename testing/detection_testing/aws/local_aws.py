"""A strict local AWS for tests, demos and benchmarks: SQS, S3, STS and a callback receiver."""

import base64
import http.client
import json
import subprocess
import sys
import urllib.parse
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, NamedTuple

import boto3
from botocore.config import Config

from detection_testing.aws.callbacks import PREFIX as CALLBACK_PREFIX
from detection_testing.aws.credentials import LOCAL, Credentials
from detection_testing.aws.faults import Fault
from detection_testing.aws.journal import (
    DEAD_LETTER_SUFFIX,
    JournalEvent,
    RecordedCallback,
    S3Access,
)
from detection_testing.aws.server import ServerThread, arguments_of, main
from detection_testing.aws.services import LocalOptions
from detection_testing.aws.sqs.registry import REGION
from detection_testing.aws.sqs.values import InFlight

_STOP_S = 10.0
_CALL_S = 60.0
_BATCH = 10
_DEFAULTS = LocalOptions()
# A known key lets a request in; the signature itself is not verified.
_AUTHORIZATION = f"AWS4-HMAC-SHA256 Credential={LOCAL.access_key_id}/local"


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
        self._session: Any = None
        self._clients: dict[str, Any] = {}
        self._port = 0

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
            self._port = self._thread.start()
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
        self._port = int(json.loads(line)["endpoint_url"].rpartition(":")[2])

    def stop(self) -> None:
        """Stop serving and close every connection; harmless when stopped."""
        for client in self._clients.values():
            client.close()
        self._clients.clear()
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
        """Where SQS, S3 and STS are served: one port for all."""
        return f"http://127.0.0.1:{self._port}"

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
        return self._client("sqs")

    def s3(self) -> Any:
        """Return a boto3 S3 client that never retries; the same one each time."""
        return self._client("s3")

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
            dlq_url = self._sqs_call("CreateQueue", QueueName=dlq_name, Attributes=kind)[
                "QueueUrl"
            ]
            shown = self._sqs_call("GetQueueAttributes", QueueUrl=dlq_url, AttributeNames=["All"])
            policy = {
                "deadLetterTargetArn": shown["Attributes"]["QueueArn"],
                "maxReceiveCount": max_receive_count,
            }
            given["RedrivePolicy"] = json.dumps(policy)
        made = self._sqs_call("CreateQueue", QueueName=name, Attributes=given)
        return Queues(queue_url=made["QueueUrl"], dlq_url=dlq_url)

    def send(self, queue_url: str, bodies: Iterable[str]) -> list[str]:
        """Send messages in batches, in order; return their ids."""
        ids: list[str] = []
        waiting = list(bodies)
        for start in range(0, len(waiting), _BATCH):
            batch = waiting[start : start + _BATCH]
            entries = [{"Id": str(n), "MessageBody": body} for n, body in enumerate(batch)]
            sent = self._sqs_call("SendMessageBatch", QueueUrl=queue_url, Entries=entries)
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
        self._call("PUT", f"/{bucket}")
        headers = {"Content-Type": content_type}
        if content_encoding is not None:
            headers["Content-Encoding"] = content_encoding
        self._call("PUT", f"/{bucket}/{urllib.parse.quote(key)}", body=data, headers=headers)
        return f"s3://{bucket}/{key}"

    def callbacks(self, *, since: int = 0) -> list[RecordedCallback]:
        """Return the callbacks that arrived, from the ``since``-th on."""
        shown = self._control("GET", f"callbacks?since={since}")
        return [
            RecordedCallback(**{**call, "body": base64.b64decode(call["body"])}) for call in shown
        ]

    def journal(self, *, since: int = 0) -> list[JournalEvent]:
        """Return what happened to the messages of all queues, from the ``since``-th event on."""
        return [JournalEvent(*event) for event in self._control("GET", f"journal?since={since}")]

    def s3_journal(self, *, since: int = 0) -> list[S3Access]:
        """Return the requests that S3 carried out, from the ``since``-th on."""
        return [S3Access(*each) for each in self._control("GET", f"s3_journal?since={since}")]

    def in_flight(self, queue: str) -> list[InFlight]:
        """Return the messages that consumers hold, of the queue with this name or URL."""
        name = urllib.parse.quote(queue.rpartition("/")[2])
        return [InFlight(**held) for held in self._control("GET", f"in_flight?queue={name}")]

    def stats(self) -> dict[str, Any]:
        """Return requests by operation, CPU seconds, and the counts of each queue."""
        stats: dict[str, Any] = self._control("GET", "stats")
        return stats

    def cpu_seconds(self) -> float:
        """Return the CPU time of the server so far: of its process, or of its thread."""
        return float(self.stats()["cpu_thread_s" if self._thread else "cpu_process_s"])

    def inject(self, fault: Fault) -> None:
        """Put a fault in force."""
        self._control("POST", "faults", fault.to_json())

    def clear_faults(self) -> None:
        """Lift every fault."""
        self._control("POST", "clear_faults")

    def advance(self, seconds: float) -> None:
        """Move the server's clock forward."""
        self._control("POST", "clock", {"advance_s": seconds})

    def purge(self, queue: str) -> None:
        """Empty the queue with this name or URL, as often as wanted."""
        self._control("POST", "purge", {"queue": queue.rpartition("/")[2]})

    def _client(self, service: str) -> Any:
        if service not in self._clients:
            if self._session is None:
                self._session = boto3.Session(
                    aws_access_key_id=LOCAL.access_key_id,
                    aws_secret_access_key=LOCAL.secret_access_key,
                    region_name=REGION,
                )
            config = Config(
                retries={"total_max_attempts": 1, "mode": "standard"},
                s3={"addressing_style": "path"},
                max_pool_connections=32,
            )
            self._clients[service] = self._session.client(
                service, endpoint_url=self.endpoint_url, config=config
            )
        return self._clients[service]

    def _sqs_call(self, action: str, **parameters: Any) -> Any:
        headers = {
            "X-Amz-Target": f"AmazonSQS.{action}",
            "Content-Type": "application/x-amz-json-1.0",
        }
        body = json.dumps(parameters).encode()
        return json.loads(self._call("POST", "/", body=body, headers=headers))

    def _control(self, method: str, path: str, document: Any = None) -> Any:
        body = b"" if document is None else json.dumps(document).encode()
        return json.loads(self._call(method, f"/_local/{path}", body=body))

    def _call(
        self,
        method: str,
        path: str,
        *,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> bytes:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=_CALL_S)
        try:
            sent = {"Authorization": _AUTHORIZATION, **(headers or {})}
            connection.request(method, path, body=body, headers=sent)
            response = connection.getresponse()
            answer = response.read()
        finally:
            connection.close()
        if response.status >= 300:
            text = answer.decode("utf-8", "replace")
            raise RuntimeError(f"{method} {path}: {response.status} {text}")
        return answer


if __name__ == "__main__":
    raise SystemExit(main())
