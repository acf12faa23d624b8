"""An SQS on a loopback socket that gives the answers a test scripts, and keeps the questions."""

import json
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import boto3
import pytest

from detection_worker.aws_session import make_session
from detection_worker.settings import AwsSettings
from detection_worker.sources.sqs import SqsSource


@dataclass(frozen=True, kw_only=True)
class Answer:
    body: dict[str, Any] = field(default_factory=dict)
    status: int = 200
    query_code: str | None = None
    delay_s: float = 0.0


class SqsHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    server: "SqsServer"

    def do_POST(self) -> None:
        payload = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        action = self.headers["X-Amz-Target"].rpartition(".")[2]
        with self.server.lock:
            self.server.requests.append((action, payload, dict(self.headers.items())))
            answers = self.server.answers
            answer = answers.popleft() if answers else Answer()
        time.sleep(answer.delay_s)
        body = json.dumps(answer.body).encode()
        self.send_response(answer.status)
        self.send_header("Content-Type", "application/x-amz-json-1.0")
        self.send_header("Content-Length", str(len(body)))
        if answer.query_code:
            self.send_header("x-amzn-query-error", f"{answer.query_code};Sender")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


class SqsServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), SqsHandler)
        self.lock = threading.Lock()
        self.answers: deque[Answer] = deque()
        self.requests: list[tuple[str, dict[str, Any], dict[str, str]]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def queue_url(self) -> str:
        return f"{self.url}/123456789012/jobs"

    def answer(self, body: dict[str, Any] | None = None, **options: Any) -> None:
        self.answers.append(Answer(body=body or {}, **options))

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


@pytest.fixture
def sqs() -> Iterator[SqsServer]:
    with SqsServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(scope="session")
def session() -> boto3.Session:
    return make_session(AwsSettings(access_key_id="AKID", secret_access_key="secret"))


@pytest.fixture
def make_source(sqs: SqsServer, session: boto3.Session) -> Iterator[Callable[..., SqsSource]]:
    made: list[SqsSource] = []

    def make(queue_url: str | None = None, *, aws: AwsSettings | None = None) -> SqsSource:
        made.append(
            SqsSource(
                session,
                aws or AwsSettings(endpoint_url=sqs.url),
                queue_url or sqs.queue_url,
                wait_time_s=1,
            )
        )
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def source(make_source: Callable[..., SqsSource]) -> Iterator[SqsSource]:
    with closing(make_source()) as made:
        yield made
