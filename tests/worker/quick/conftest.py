"""A server on a loopback socket that answers with the very bytes that a test names."""

import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from detection_worker.aws_session import client, make_session
from detection_worker.settings import AwsSettings

PAUSE_S = 0.02
AWS = AwsSettings(access_key_id="AKID", secret_access_key="secret")


class RawServer:
    """Answers each request with the next script: parts of bytes, with a pause between.

    A script that ends with None closes the connection.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._tls = tls
        self.scripts: deque[list[bytes | None]] = deque()
        self.requests: list[bytes] = []
        self.connections = 0
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def port(self) -> int:
        return int(self._socket.getsockname()[1])

    def answer(self, *parts: bytes | None) -> None:
        self.scripts.append(list(parts))

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                conn, _ = self._socket.accept()
                self.connections += 1
                threading.Thread(target=self._serve, args=(conn,), daemon=True).start()

    def _serve(self, conn: socket.socket) -> None:
        with suppress(OSError), conn:
            if self._tls is None:
                self._talk(conn)
            else:
                with self._tls.wrap_socket(conn, server_side=True) as wrapped:
                    self._talk(wrapped)

    def _talk(self, conn: socket.socket) -> None:
        while request := _request(conn):
            self.requests.append(request)
            for part in self.scripts.popleft():
                if part is None:
                    return
                conn.sendall(part)
                time.sleep(PAUSE_S)


def _request(conn: socket.socket) -> bytes:
    found = b""
    while b"\r\n\r\n" not in found:
        more = conn.recv(65536)
        if not more:
            return b""
        found += more
    head, _, body = found.partition(b"\r\n\r\n")
    length = 0
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            length = int(line.partition(b":")[2])
    while len(body) < length:
        body += conn.recv(65536)
    return head + b"\r\n\r\n" + body


class Tunnel:
    """A proxy that passes the bytes of every connection on to one port."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.asked: list[str] = []
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def port(self) -> int:
        return int(self._socket.getsockname()[1])

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._socket.accept()
                self.asked.append(_request(near).decode().partition(" HTTP")[0])
                near.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                far = socket.create_connection(("127.0.0.1", self._target))
                for pair in ((near, far), (far, near)):
                    threading.Thread(target=_pump, args=pair, daemon=True).start()


def _pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError), source:
        while data := source.recv(65536):
            target.sendall(data)


@pytest.fixture
def make_server() -> Iterator[Callable[..., RawServer]]:
    """Make servers, with TLS or without."""
    made: list[RawServer] = []

    def make(tls: ssl.SSLContext | None = None) -> RawServer:
        made.append(RawServer(tls))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def server(make_server: Callable[..., RawServer]) -> RawServer:
    return make_server()


@pytest.fixture
def make_tunnel() -> Iterator[Callable[[int], Tunnel]]:
    made: list[Tunnel] = []

    def make(target: int) -> Tunnel:
        made.append(Tunnel(target))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def make_client() -> Iterator[Callable[..., Any]]:
    """Make clients of a server: of service, port and scheme."""
    made: list[Any] = []

    def make(
        service: str, port: int, host: str = "http://127.0.0.1", *, read_timeout_s: float = 30.0
    ) -> Any:
        aws = replace(AWS, endpoint_url=f"{host}:{port}")
        session = make_session(aws)
        made.append(client(session, service, aws, read_timeout_s=read_timeout_s, attempts=1))
        return made[-1]

    yield make
    for each in made:
        each.close()
