"""The operator's own HTTP server: /healthz, /readyz, /metrics."""

import json
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from detection_contract.environment import HEALTH_PATH, METRICS_PATH, READY_PATH

REQUEST_TIMEOUT_S: Final = 10.0


class HealthServer:
    """Serves on a thread of its own.

    Args:
        host: Address to listen on.
        port: 0 picks a free one.
        registry: For /metrics.
        healthy: Answers /healthz.
        ready: Answers /readyz.

    Raises:
        OSError: The port is taken.
    """

    def __init__(
        self,
        host: str,
        port: int,
        registry: CollectorRegistry,
        *,
        healthy: Callable[[], bool],
        ready: Callable[[], bool],
    ) -> None:
        checks = {HEALTH_PATH: healthy, READY_PATH: ready}
        handler = type("Handler", (_Handler,), {"checks": checks, "registry": registry})
        self._server = ThreadingHTTPServer((host, port), handler)
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.2,), name="health", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    checks: dict[str, Callable[[], bool]]
    registry: CollectorRegistry
    timeout = REQUEST_TIMEOUT_S
    server_version = "detection-operator"
    sys_version = ""

    def do_GET(self) -> None:
        """Answer the kubelet and Prometheus."""
        path = self.path.partition("?")[0]
        if path == METRICS_PATH:
            encoder, kind = choose_encoder(self.headers.get("Accept", ""))
            self._send(HTTPStatus.OK, encoder(self.registry), kind)
        elif path in self.checks:
            good = self.checks[path]()
            status = HTTPStatus.OK if good else HTTPStatus.SERVICE_UNAVAILABLE
            self._send(status, _json({"status": "ok" if good else "failing"}), "application/json")
        else:
            self._send(HTTPStatus.NOT_FOUND, _json({"error": "not found"}), "application/json")

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Probes come every few seconds: not worth a line."""

    def _send(self, status: HTTPStatus, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _json(value: dict[str, str]) -> bytes:
    return json.dumps(value).encode() + b"\n"
