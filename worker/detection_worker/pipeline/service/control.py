"""What steers a worker from outside: the control server and the signals to stop.

The server answers /healthz /readyz /state /metrics, and POST /drain /resume for the operator.
"""

import json
import logging
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import FrameType
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from detection_worker.errors import UsageError

REQUEST_TIMEOUT_S = 10.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Controls:
    """What the server shows and steers.

    Attributes:
        health: Named checks; a False one makes /healthz answer 503.
        readiness: Likewise for /readyz; values are True or the reason why not.
        state: The body of /state.
        drain: Stop receiving, hand back what is not started.
        resume: Receive again.
        registry: For /metrics.
        refresh: Called before the metrics are read.
    """

    health: Callable[[], Mapping[str, bool]]
    readiness: Callable[[], Mapping[str, bool | str]]
    state: Callable[[], Mapping[str, object]]
    drain: Callable[[], None]
    resume: Callable[[], None]
    registry: CollectorRegistry
    refresh: Callable[[], None]


class ControlServer:
    """An HTTP server on a thread of its own.

    Args:
        controls: What to show.
        host: Address to listen on.
        port: 0 picks a free one.

    Raises:
        OSError: If the port is taken.
    """

    def __init__(self, controls: Controls, *, host: str, port: int) -> None:
        handler = type("Handler", (_Handler,), {"controls": controls})
        self._server = ThreadingHTTPServer((host, port), handler)
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.1,), name="control", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextmanager
def control_server(controls: Controls, *, host: str, port: int) -> Iterator[None]:
    """Serve while the block runs; port 0 means not at all.

    Raises:
        UsageError: The port is taken.
    """
    if not port:
        yield
        return
    try:
        server = ControlServer(controls, host=host, port=port)
    except OSError as exc:
        raise UsageError(
            f"The control server cannot listen on port {port}: "
            f"{exc.strerror}\nChoose another with --control-port."
        ) from exc
    try:
        yield
    finally:
        server.close()


@contextmanager
def asking_to_stop(ask: Callable[[signal.Signals], None]) -> Iterator[None]:
    """Call ``ask`` for each SIGTERM and SIGINT; only the main thread may set handlers."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, _frame: FrameType | None) -> None:
        ask(signal.Signals(number))

    old = {s: signal.signal(s, handle) for s in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


class _Handler(BaseHTTPRequestHandler):
    controls: Controls
    timeout = REQUEST_TIMEOUT_S
    protocol_version = "HTTP/1.1"
    server_version = "detection-worker"
    sys_version = ""

    def do_GET(self) -> None:
        """Answer the probes, the operator and Prometheus."""
        path = self.path.partition("?")[0]
        if path == "/healthz":
            self._checks(self.controls.health())
        elif path == "/readyz":
            self._checks(self.controls.readiness())
        elif path == "/state":
            self._json(HTTPStatus.OK, self.controls.state())
        elif path == "/metrics":
            self._metrics()
        elif path in {"/drain", "/resume"}:
            self._json(HTTPStatus.METHOD_NOT_ALLOWED, {"error": f"POST {path}"})
        else:
            self._json(HTTPStatus.NOT_FOUND, {"error": "not found"})

    def do_POST(self) -> None:
        """Steer the worker; the answer is its state afterwards."""
        path = self.path.partition("?")[0]
        # The body is ignored, and the connection with it: nothing here takes one.
        self.close_connection = True
        if path == "/drain":
            self.controls.drain()
        elif path == "/resume":
            self.controls.resume()
        else:
            self._json(HTTPStatus.NOT_FOUND, {"error": "not found"})
            return
        self._json(HTTPStatus.OK, self.controls.state())

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Probes come every few seconds: not worth a line."""
        log.debug(format, *args)

    def _checks(self, checks: Mapping[str, bool | str]) -> None:
        good = all(value is True for value in checks.values())
        status = HTTPStatus.OK if good else HTTPStatus.SERVICE_UNAVAILABLE
        self._json(status, {"status": "ok" if good else "failing", "checks": dict(checks)})

    def _metrics(self) -> None:
        self.controls.refresh()
        encoder, content_type = choose_encoder(self.headers.get("Accept", ""))
        self._send(HTTPStatus.OK, encoder(self.controls.registry), content_type)

    def _json(self, status: HTTPStatus, body: Mapping[str, object]) -> None:
        self._send(status, json.dumps(body).encode() + b"\n", "application/json")

    def _send(self, status: HTTPStatus, body: bytes, content_type: str) -> None:
        try:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        except OSError:
            # The client went away; there is nobody to tell.
            self.close_connection = True
