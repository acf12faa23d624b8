"""The HTTP server of both programs: probes for the kubelet, metrics for Prometheus, and more."""

import json
import logging
import threading
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from detection_contract.environment import HEALTH_PATH, METRICS_PATH, READY_PATH

REQUEST_TIMEOUT_S: Final = 10.0
"""An idle connection is closed after this time."""
Checks = Callable[[], Mapping[str, bool | str]]
"""Named checks: True, or False or the reason why the check fails."""
Endpoints = Mapping[tuple[str, str], Callable[[], Mapping[str, object]]]
"""JSON answers by method, ``GET`` or ``POST``, and path. Bodies of requests are ignored."""

log = logging.getLogger(__name__)


class ProbeServer:
    """Serves ``/healthz``, ``/readyz`` and ``/metrics`` on a thread of its own.

    A probe answers 200 if all its checks are True, else 503, with the checks as JSON.

    Args:
        program: Name of the program, for the header ``Server``.
        host: Address to listen on.
        port: Port to listen on; 0 picks a free one.
        health: Checks of ``/healthz``.
        readiness: Checks of ``/readyz``.
        registry: Metrics of ``/metrics``.
        refresh: Called before the metrics are read.
        endpoints: Further paths.

    Attributes:
        port: The port that is listened on.

    Raises:
        OSError: The port is taken.
    """

    def __init__(
        self,
        program: str,
        *,
        host: str,
        port: int,
        health: Checks,
        readiness: Checks,
        registry: CollectorRegistry,
        refresh: Callable[[], None] = lambda: None,
        endpoints: Endpoints | None = None,
    ) -> None:
        attributes = {
            "server_version": program,
            "probes": {HEALTH_PATH: health, READY_PATH: readiness},
            "registry": registry,
            "refresh": staticmethod(refresh),
            "endpoints": endpoints or {},
        }
        self._server = ThreadingHTTPServer((host, port), type("Handler", (_Handler,), attributes))
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.1,), name="probes", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    probes: Mapping[str, Checks]
    registry: CollectorRegistry
    refresh: Callable[[], None]
    endpoints: Endpoints
    timeout = REQUEST_TIMEOUT_S
    protocol_version = "HTTP/1.1"
    sys_version = ""

    def do_GET(self) -> None:
        """Answer a probe, a scrape or a further path."""
        path = self._path()
        if path in self.probes:
            self._check(self.probes[path]())
        elif path == METRICS_PATH:
            self._metrics()
        elif ("POST", path) in self.endpoints:
            self._json(HTTPStatus.METHOD_NOT_ALLOWED, {"error": f"POST {path}"})
        else:
            self._endpoint("GET", path)

    def do_POST(self) -> None:
        """Answer a further path."""
        # The connection cannot be used again: the request's body is not read.
        self.close_connection = True
        self._endpoint("POST", self._path())

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Log at level debug: probes come every few seconds."""
        log.debug(format, *args)

    def _path(self) -> str:
        return self.path.partition("?")[0]

    def _endpoint(self, method: str, path: str) -> None:
        answer = self.endpoints.get((method, path))
        if answer is None:
            self._json(HTTPStatus.NOT_FOUND, {"error": "not found"})
        else:
            self._json(HTTPStatus.OK, answer())

    def _check(self, checks: Mapping[str, bool | str]) -> None:
        good = all(value is True for value in checks.values())
        status = HTTPStatus.OK if good else HTTPStatus.SERVICE_UNAVAILABLE
        self._json(status, {"status": "ok" if good else "failing", "checks": dict(checks)})

    def _metrics(self) -> None:
        self.refresh()
        encoder, content_type = choose_encoder(self.headers.get("Accept", ""))
        self._send(HTTPStatus.OK, encoder(self.registry), content_type)

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
            # The client closed the connection.
            self.close_connection = True
