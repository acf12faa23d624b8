"""Proxy between the operator and the API server: HTTP in, TLS out, with faults on request."""

import contextlib
import http.client
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

CHUNK_BYTES: Final = 65_536
VERBS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE")
GONE: Final = b'"code":410'
FAILURE: Final = b'{"type":"ERROR","object":{"kind":"Status","code":500,"message":"injected"}}\n'
_HOP_BY_HOP: Final = frozenset(
    {"connection", "transfer-encoding", "content-length", "keep-alive", "accept-encoding", "host"}
)


@dataclass(frozen=True, slots=True)
class Seen:
    """A request that passed, or was answered by the proxy itself."""

    verb: str
    path: str
    status: int
    at_s: float = field(default_factory=time.monotonic)

    @property
    def wrote(self) -> bool:
        """Something other than a lease was written."""
        return self.verb != "GET" and "/leases" not in self.path and 200 <= self.status < 300


Match = Callable[[str, str], bool]
"""Predicate on verb and path."""


def is_watch(verb: str, path: str) -> bool:
    """Say whether a request asks for a watch."""
    return verb == "GET" and "watch=true" in path


def is_list(plural: str) -> Match:
    """Return what matches lists of a plural."""

    def match(verb: str, path: str) -> bool:
        parts = urlsplit(path)
        return verb == "GET" and parts.path.endswith(f"/{plural}") and "watch=true" not in path

    return match


def is_no_lease(verb: str, path: str) -> bool:
    """Say whether a request is about anything but the lease."""
    del verb
    return "/leases" not in path


class Proxy:
    """Listens on loopback until closed.

    Args:
        target: URL of the API server.
        ca_file: Certificate to trust.

    Attributes:
        url: Where it listens.
        seen: Requests and their answers, oldest first.
        gone: Watches that the API server ended by 410.
        before: Told verb and path before a request is passed on.
        after: Told verb and path before its answer is, unless that is a watch.
        added: Headers of requests that do not have them.
    """

    def __init__(self, target: str, ca_file: Path) -> None:
        self._address = urlsplit(target).netloc
        self._context = ssl.create_default_context(cafile=str(ca_file))
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()
        self._flows = threading.Event()
        self._flows.set()
        self._held: Match = is_watch
        self._answers: list[tuple[Match, int, dict[str, str]]] = []
        self._closing = threading.Event()
        self._forgotten = self._broken = 0
        self.seen: list[Seen] = []
        self.gone = 0
        self.added: dict[str, str] = {}
        self.before: Callable[[str, str], None] = lambda *_: None
        self.after: Callable[[str, str], None] = lambda *_: None
        methods = {f"do_{verb}": _Handler.pass_on for verb in VERBS}
        handler = type("Handler", (_Handler,), {"proxy": self, **methods})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        # Its threads are waited for: a socket that is left open would be a finding of its own.
        self._server.daemon_threads = False
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def close(self) -> None:
        """End all connections."""
        self._server.shutdown()
        self._flows.set()
        self._closing.set()
        self.cut()
        self._server.server_close()
        self._thread.join()

    def cut(self) -> None:
        """End every connection that is open now, as a load balancer that restarts does."""
        with self._lock:
            for item in self._sockets:
                with contextlib.suppress(OSError):
                    item.shutdown(socket.SHUT_RDWR)

    @contextlib.contextmanager
    def hung(self, match: Match = is_watch) -> Iterator[None]:
        """Pass nothing on of what matches, old or new, and close nothing."""
        self._held = match
        self._flows.clear()
        try:
            yield
        finally:
            self._flows.set()

    @contextlib.contextmanager
    def late(self, match: Match) -> Iterator[threading.Event]:
        """Hold back answers to matching requests; set the event when the API server has answered.

        The client gets the answer when the context ends: changes made within it are not in it.
        """
        answered, arrives = threading.Event(), threading.Event()

        def keep_back(verb: str, path: str) -> None:
            if match(verb, path):
                answered.set()
                arrives.wait()

        before, self.after = self.after, keep_back
        try:
            yield answered
        finally:
            self.after = before
            arrives.set()

    @contextlib.contextmanager
    def answering(self, status: int, match: Match = is_no_lease, **headers: str) -> Iterator[None]:
        """Answer what matches with an error instead of passing it on."""
        entry = (match, status, {name.replace("_", "-"): v for name, v in headers.items()})
        self._answers.append(entry)
        try:
            yield
        finally:
            self._answers.remove(entry)

    def count(self, status: int) -> int:
        """Return how many requests were answered with a status."""
        return sum(item.status == status for item in self.seen)

    def watches(self) -> int:
        """Return how many watches were begun."""
        return sum(is_watch(s.verb, s.path) and s.status == http.client.OK for s in self.seen)

    def forget(self) -> None:
        """Pass nothing more on of the watches that are open now, and close nothing.

        So does a firewall that lost its table. New watches pass.
        """
        self._forgotten = len(self.seen)

    def break_watches(self) -> None:
        """Let the API server seem to have failed inside, in the watches that are open now."""
        self._broken = len(self.seen)

    # Used by the handlers.

    def note(self, seen: Seen) -> None:
        """Note a request and its answer."""
        self.seen.append(seen)

    def answer(self, verb: str, path: str) -> tuple[int, dict[str, str]] | None:
        """Return the error to answer with, or None."""
        found = (item for item in list(self._answers) if item[0](verb, path))
        entry = next(found, None)
        return None if entry is None else entry[1:]

    def hold(self, verb: str, path: str) -> None:
        """Wait while a request, or more of its answer, must not pass."""
        if self._held(verb, path):
            self._flows.wait()

    def hold_watch(self, number: int, path: str) -> None:
        """Wait while a watch must not pass; ``number`` requests came before it or with it."""
        self.hold("GET", path)
        if number <= self._forgotten:
            self._closing.wait()

    def is_broken(self, number: int) -> bool:
        """Say whether a watch is to fail."""
        return number <= self._broken

    def connect(self, path: str) -> http.client.HTTPSConnection:
        """Return a new connection to the API server, whatever the path."""
        del path
        connection = http.client.HTTPSConnection(self._address, context=self._context)
        connection.connect()
        return connection

    @contextlib.contextmanager
    def tracked(self, item: socket.socket) -> Iterator[None]:
        """Let ``cut`` know of a socket."""
        with self._lock:
            self._sockets.add(item)
        try:
            yield
        finally:
            with self._lock:
                self._sockets.discard(item)


class _Handler(BaseHTTPRequestHandler):
    proxy: Proxy
    protocol_version = "HTTP/1.1"

    def handle(self) -> None:
        """Serve a connection until either side ends it."""
        ends = (OSError, http.client.HTTPException)
        with self.proxy.tracked(self.connection), contextlib.suppress(*ends):
            super().handle()
        self.close_connection = True

    def pass_on(self) -> None:
        """Forward a request and its response, unless a fault applies."""
        proxy, verb = self.proxy, self.command
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        proxy.before(verb, self.path)
        proxy.hold(verb, self.path)
        refusal = proxy.answer(verb, self.path)
        if refusal is not None:
            self._refuse(*refusal)
            return
        try:
            connection = proxy.connect(self.path)
        except OSError:
            proxy.note(Seen(verb, self.path, 0))
            self.close_connection = True
            return
        with contextlib.closing(connection), proxy.tracked(connection.sock):
            sent = {k: v for k, v in self.headers.items() if k.lower() not in _HOP_BY_HOP}
            headers = {**proxy.added, **sent}
            connection.request(verb, self.path, body, headers)
            self._answer(connection.getresponse())

    def _answer(self, response: http.client.HTTPResponse) -> None:
        self.proxy.note(Seen(self.command, self.path, response.status))
        self.proxy.gone += response.status == http.client.GONE
        self.send_response(response.status)
        for name, value in response.getheaders():
            if name.lower() not in _HOP_BY_HOP:
                self.send_header(name, value)
        if is_watch(self.command, self.path) and response.status == http.client.OK:
            self._stream(response)
            return
        data = response.read()
        self.proxy.after(self.command, self.path)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _stream(self, response: http.client.HTTPResponse) -> None:
        number = len(self.proxy.seen)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        data = b"-"
        while data:
            data = response.read1(CHUNK_BYTES)
            self.proxy.hold_watch(number, self.path)
            self.proxy.gone += GONE in data
            data = FAILURE if data and self.proxy.is_broken(number) else data
            # The last chunk is the empty one.
            self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))

    def _refuse(self, status: int, headers: dict[str, str]) -> None:
        self.proxy.note(Seen(self.command, self.path, status))
        body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": status}
        data = json.dumps({**body, "message": "injected"}).encode()
        self.send_response(status)
        for name, value in {**headers, "Content-Type": "application/json"}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Tests look at ``seen``."""
