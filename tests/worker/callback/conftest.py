"""A receiver of callbacks on a loopback socket whose answers a test scripts."""

import shutil
import ssl
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from detection_worker.callback.client import HttpCallbackClient
from detection_worker.settings import CallbackSettings

Answer = Callable[["Handler"], None]
SETTINGS = CallbackSettings(
    connect_timeout_s=30.0,
    read_timeout_s=30.0,
    attempts=3,
    retry_base_s=0.001,
    max_elapsed_s=120.0,
    allow_private=True,
)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    server: "Receiver"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with self.server.lock:
            self.server.requests.append((self.path, dict(self.headers.items()), body))
            answers = self.server.answers
            answer = answers.popleft() if answers else None
        if answer is None:
            self.reply(200)
        else:
            answer(self)

    def do_GET(self) -> None:
        raise AssertionError("a callback never gets anything")

    def reply(self, status: int, body: bytes = b"ok", **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


class Receiver(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # the kernel lets connections beyond it wait for seconds

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.lock = threading.Lock()
        self.answers: deque[Answer] = deque()
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.connections = 0

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/cb?token=secret"

    def answer(self, *answers: Answer) -> None:
        self.answers.extend(answers)

    def get_request(self) -> tuple[Any, Any]:
        self.connections += 1
        return super().get_request()

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError | ssl.SSLError):
            super().handle_error(request, client_address)


def serve(receiver: Receiver) -> Iterator[Receiver]:
    with receiver:
        thread = threading.Thread(target=receiver.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield receiver
        receiver.shutdown()
        thread.join()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    yield from serve(Receiver())


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and a certificate for receiver.example in one file."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        [
            *(openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-days", "2", "-subj", "/CN=receiver.example"),
            *("-addext", "subjectAltName=DNS:receiver.example"),
            *("-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")),
        ],
        check=True,
        capture_output=True,
    )
    both = folder / "both.pem"
    both.write_text((folder / "key.pem").read_text() + (folder / "cert.pem").read_text())
    return both


@pytest.fixture
def tls_receiver(certificate: Path) -> Iterator[Receiver]:
    receiver = Receiver()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    receiver.socket = context.wrap_socket(receiver.socket, server_side=True)
    yield from serve(receiver)


@pytest.fixture
def make_client() -> Iterator[Callable[..., HttpCallbackClient]]:
    made: list[HttpCallbackClient] = []

    def make(*, tls: ssl.SSLContext | None = None, **options: Any) -> HttpCallbackClient:
        names = set(CallbackSettings.__dataclass_fields__)
        changed = {name: value for name, value in options.items() if name in names}
        others = {name: value for name, value in options.items() if name not in names}
        made.append(
            HttpCallbackClient(
                replace(SETTINGS, **changed),
                tls=tls or ssl.create_default_context(),
                **others,
            )
        )
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def client(make_client: Callable[..., HttpCallbackClient]) -> HttpCallbackClient:
    return make_client()
