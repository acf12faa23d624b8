"""An outbox on a strict SQS, a receiver that a test turns off and on, and one clock for all."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from detection_contract.error_codes import ErrorCode
from detection_testing.aws.local_aws import LocalAws, Queues
from detection_worker.aws_session import make_session
from detection_worker.callback.client import HttpCallbackClient
from detection_worker.metrics import OutboxMetrics
from detection_worker.outbox.base import PendingCallback
from detection_worker.outbox.box import SqsOutbox
from detection_worker.outbox.gate import GatedCallbacks, HostGate
from detection_worker.outbox.handler import EntryHandler
from detection_worker.outbox.queue import OutboxQueue
from detection_worker.outbox.sender import OutboxSender, SenderRules
from detection_worker.outbox.stored import StoredBodies
from detection_worker.settings import AwsSettings, CallbackSettings

SECRET = "whsec_" + "c2VjcmV0IG9mIDI0IGJ5dGVzIG9yIG1vcmU="
CALLBACKS = CallbackSettings(
    allow_private=True,
    connect_timeout_s=1.0,
    attempts=1,
    signing_secrets=(SECRET,),
)


@dataclass(frozen=True, kw_only=True)
class Post:
    path: str
    headers: dict[str, str]
    body: bytes
    status: int

    @property
    def webhook_id(self) -> str:
        return self.headers["webhook-id"]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    server: "Receiver"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        status, headers = self.server.answers.get(self.path, (200, {}))
        headers_in = {name.lower(): value for name, value in self.headers.items()}
        post = Post(path=self.path, headers=headers_in, body=body, status=status)
        with self.server.lock:
            self.server.posts.append(post)
        time.sleep(self.server.delays_s.get(self.path, 0.0))
        if status == 0:  # it takes the connection and never answers
            self.server.released.wait(30)
            self.close_connection = True
            return
        self.send_response(status)
        self.send_header("Content-Length", "0")
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


class Receiver(ThreadingHTTPServer):
    """Answers 200 unless ``answers`` says otherwise for a path."""

    daemon_threads = True
    # With the default of 5, the kernel drops some of thirty connections that come at once to a
    # busy machine, and lets them wait for seconds.
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.lock = threading.Lock()
        self.posts: list[Post] = []
        self.answers: dict[str, tuple[int, dict[str, str]]] = {}
        self.delays_s: dict[str, float] = {}
        self.released = threading.Event()

    def url(self, path: str = "/ok", *, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.server_address[1]}{path}"

    def accepted(self) -> list[Post]:
        with self.lock:
            return [post for post in self.posts if 200 <= post.status < 300]

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # a client that gave up


class Time:
    """One clock for sender and SQS, so that a test can wait for days in no time."""

    def __init__(self, local: LocalAws | None) -> None:
        self._local = local
        self._ahead_s = 0.0

    def wall(self) -> float:
        return time.time() + self._ahead_s

    def monotonic(self) -> float:
        return time.monotonic() + self._ahead_s

    def advance(self, seconds: float) -> None:
        self._ahead_s += seconds
        if self._local is not None:
            self._local.advance(seconds)


@dataclass(kw_only=True)
class Outbox:
    """The parts of one process's outbox."""

    queue: OutboxQueue
    gate: HostGate
    box: SqsOutbox
    handler: EntryHandler
    sender: OutboxSender
    registry: CollectorRegistry
    client: HttpCallbackClient
    clock: Time

    def count(self, result: str) -> float:
        labels = {"result": result}
        name = "detection_worker_outbox_entries_total"
        return self.registry.get_sample_value(name, labels) or 0.0

    def deferred(self, reason: str) -> float:
        name = "detection_worker_callbacks_deferred_total"
        return self.registry.get_sample_value(name, {"reason": reason}) or 0.0

    def open_circuits(self) -> float:
        return self.registry.get_sample_value("detection_worker_callback_circuits_open") or 0.0


def aws_of(local: LocalAws) -> AwsSettings:
    return AwsSettings(
        access_key_id=local.credentials.access_key_id,
        secret_access_key=local.credentials.secret_access_key,
        endpoint_url=local.endpoint_url,
    )


def outbox_of(
    aws: AwsSettings,
    queue_url: str,
    clock: Time,
    *,
    threads: int = 4,
    visibility_s: int = 30,
    wait_s: int = 1,
    read_timeout_s: float = 2.0,
) -> Outbox:
    session = make_session(aws)
    registry = CollectorRegistry()
    metrics = OutboxMetrics(registry)
    queue = OutboxQueue(session, aws, queue_url, wait_time_s=wait_s)
    gate = HostGate(metrics, clock=clock.monotonic, random01=lambda: 0.0)
    client = HttpCallbackClient(
        replace(CALLBACKS, read_timeout_s=read_timeout_s), wall_clock=clock.wall
    )
    handler = EntryHandler(
        queue,
        GatedCallbacks(client, gate, threads=threads),
        StoredBodies(session, aws),
        metrics,
        wall_clock=clock.wall,
        random01=lambda: 0.0,
    )
    rules = SenderRules(threads=threads, wait_s=wait_s, visibility_s=visibility_s, pause_s=0.1)
    return Outbox(
        queue=queue,
        gate=gate,
        box=SqsOutbox(queue, metrics, wall_clock=clock.wall, random01=lambda: 0.0),
        handler=handler,
        sender=OutboxSender(queue, handler, rules, clock=clock.monotonic),
        registry=registry,
        client=client,
        clock=clock,
    )


def pending_of(url: str, number: int = 0, **changes: Any) -> PendingCallback:
    fields: dict[str, Any] = {
        "url": url,
        "body": b'{"request_id": "r-%d", "label": "FAKE", "name": "\xc3\xa9"}' % number,
        "webhook_id": f"msg_{number}_0",
        "request_id": f"r-{number}",
        "message_id": f"m-{number}",
        "result_url": None,
        "code": ErrorCode.CALLBACK_UNREACHABLE,
        "reason": "it answered 503",
        "retry_after_s": None,
    }
    return PendingCallback(**{**fields, **changes})


def wait_until(done: Callable[[], bool], what: str, *, timeout_s: float = 30.0) -> None:
    end_s = time.monotonic() + timeout_s
    while not done():
        assert time.monotonic() < end_s, f"not in time: {what}"
        time.sleep(0.01)


@pytest.fixture(scope="module")
def local() -> Iterator[LocalAws]:
    with LocalAws.in_thread() as running:
        yield running


@pytest.fixture
def queues(local: LocalAws, request: pytest.FixtureRequest) -> Iterator[Queues]:
    name = "".join(c if c.isalnum() else "-" for c in request.node.name)[-60:]
    yield local.create_queue(name, max_receive_count=5)
    local.clear_faults()


@pytest.fixture
def clock(local: LocalAws) -> Time:
    return Time(local)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.released.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def until() -> Callable[..., None]:
    return wait_until


@pytest.fixture
def pending() -> Callable[..., PendingCallback]:
    return pending_of


@pytest.fixture
def secret() -> str:
    return SECRET


@pytest.fixture
def make_outbox(local: LocalAws, queues: Queues, clock: Time) -> Iterator[Callable[..., Outbox]]:
    made: list[Outbox] = []

    def make(queue_url: str | None = None, **options: Any) -> Outbox:
        made.append(outbox_of(aws_of(local), queue_url or queues.queue_url, clock, **options))
        return made[-1]

    yield make
    for each in made:
        each.sender.stop(timeout_s=5.0)
        each.queue.close()
        each.client.close()


@pytest.fixture
def make_real() -> Callable[..., Outbox]:
    """Make an outbox on another AWS, in real time."""

    def make(endpoint_url: str, queue_url: str) -> Outbox:
        aws = AwsSettings(
            access_key_id="moto", secret_access_key="moto", endpoint_url=endpoint_url
        )
        return outbox_of(aws, queue_url, Time(None))

    return make


@pytest.fixture
def outbox(make_outbox: Callable[..., Outbox]) -> Outbox:
    return make_outbox()
