"""A small S3 on a loopback socket whose next answers a test can spoil."""

import re
import socket
import struct
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import pytest
from requests.structures import CaseInsensitiveDict

from detection_worker.aws_session import make_session
from detection_worker.settings import AwsSettings
from detection_worker.storage.s3 import S3Storage
from detection_worker.storage.s3_ranges import Retries

Fault = Callable[["S3Handler"], None]
MODIFIED = "Wed, 21 Oct 2026 07:28:00 GMT"


class S3Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    server: "S3Server"

    def do_GET(self) -> None:
        with self.server.lock:
            self.server.requests.append((self.path, CaseInsensitiveDict(self.headers.items())))
            fault = self.server.faults.popleft() if self.server.faults else None
        (fault or S3Handler.answer)(self)

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with self.server.lock:
            self.server.requests.append((self.path, CaseInsensitiveDict(self.headers.items())))
            self.server.put(self.path, body)
        self.head(b"", etag='"one"', span=None)

    def answer(self) -> None:
        stored = self.server.objects.get(self.path.partition("?")[0])
        if stored is None:
            self.error(404, "NoSuchKey")
            return
        body, etag = stored
        if self.headers.get("If-Match", etag) != etag:
            self.error(412, "PreconditionFailed")
            return
        start, stop = self.span(len(body))
        if start >= len(body):
            self.error(416, "InvalidRange")
            return
        self.head(body[start:stop], etag=etag, span=f"bytes {start}-{stop - 1}/{len(body)}")
        self.wfile.write(body[start:stop])

    def span(self, size: int) -> tuple[int, int]:
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers["Range"])
        assert found is not None
        return int(found[1]), min(int(found[2]) + 1, size)

    def head(self, body: bytes, *, etag: str, span: str | None) -> None:
        self.send_response(206 if span else 200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Type", "image/jpeg")
        self.send_header("ETag", etag)
        self.send_header("Last-Modified", MODIFIED)
        if span:
            self.send_header("Content-Range", span)
        self.end_headers()

    def error(self, status: int, code: str, **headers: str) -> None:
        body = f"<Error><Code>{code}</Code><Message>m</Message></Error>".encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def reset(self) -> None:
        """Send what is buffered, then a TCP reset."""
        self.wfile.flush()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()

    def finish(self) -> None:
        if self.connection.fileno() >= 0:
            super().finish()

    def log_message(self, *_: Any) -> None:
        pass


class S3Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), S3Handler)
        self.lock = threading.Lock()
        self.objects: dict[str, tuple[bytes, str]] = {}
        self.faults: deque[Fault] = deque()
        self.requests: list[tuple[str, CaseInsensitiveDict[str]]] = []
        self.connections = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def put(self, path: str, body: bytes, *, etag: str = '"one"') -> None:
        self.objects[path] = (body, etag)

    def fail(self, *faults: Fault) -> None:
        self.faults.extend(faults)

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):  # clients hang up on purpose
            super().handle_error(request, client_address)

    def get_request(self) -> tuple[socket.socket, Any]:
        self.connections += 1
        return super().get_request()


@pytest.fixture
def s3() -> Iterator[S3Server]:
    with S3Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def aws(s3: S3Server) -> AwsSettings:
    return AwsSettings(access_key_id="AKID", secret_access_key="secret", endpoint_url=s3.url)


@pytest.fixture
def storage(aws: AwsSettings) -> Iterator[S3Storage]:
    with closing(new_storage(aws)) as made:
        yield made


def new_storage(aws: AwsSettings, **options: Any) -> S3Storage:
    options = {
        "first_range_bytes": 100_000,
        "read_timeout_s": 30.0,
        "retries": Retries(base_s=0.001, stall_window_s=0.2),
        **options,
    }
    return S3Storage(session_of(aws.access_key_id, aws.secret_access_key), aws, **options)


@cache
def session_of(access_key_id: str | None, secret_access_key: str | None) -> boto3.Session:
    """Share the service descriptions that a session reads: most of what making a client costs."""
    return make_session(
        AwsSettings(access_key_id=access_key_id, secret_access_key=secret_access_key)
    )


@pytest.fixture
def make_storage(aws: AwsSettings) -> Iterator[Callable[..., S3Storage]]:
    made: list[S3Storage] = []

    def make(**options: Any) -> S3Storage:
        made.append(new_storage(options.pop("aws", aws), **options))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "object"
