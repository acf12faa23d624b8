"""A local callback receiver that waits for the result of a test message."""

import json
import threading
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Final, Self, cast

MAX_BODY_BYTES: Final = 16 * 1024 * 1024
"""Larger bodies are refused; results of long videos list every frame."""
READ_TIMEOUT_S: Final = 10.0
STOP_CHECK_S: Final = 0.05
"""Interval at which the server checks whether to stop."""


class ResultReceiver:
    """Listens on loopback and keeps posted results by request id.

    Args:
        port: Port to listen on; 0 takes a free one.
    """

    def __init__(self, *, port: int = 0) -> None:
        self._server = _Server(("127.0.0.1", port), _Handler)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(STOP_CHECK_S,), daemon=True
        )

    @property
    def url(self) -> str:
        """The callback URL."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/result"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def wait(self, request_id: str, *, timeout_s: float) -> dict[str, object] | None:
        """Return the result with ``request_id``, or None if it does not come in time."""
        deadline_s = time.monotonic() + timeout_s
        with self._server.arrived:
            while request_id not in self._server.results:
                left_s = deadline_s - time.monotonic()
                if left_s <= 0 or not self._server.arrived.wait(left_s):
                    return None
            return self._server.results[request_id]


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self.results: dict[str, dict[str, object]] = {}
        self.arrived = threading.Condition()
        super().__init__(address, handler)


class _Handler(BaseHTTPRequestHandler):
    timeout = READ_TIMEOUT_S

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not length.isdigit() or int(length) > MAX_BODY_BYTES:
            self._answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            return
        try:
            body = json.loads(self.rfile.read(int(length)))
        except (ValueError, RecursionError):
            body = None
        if not isinstance(body, dict) or not isinstance(body.get("request_id"), str):
            self._answer(HTTPStatus.BAD_REQUEST)
            return
        self._answer(HTTPStatus.NO_CONTENT)
        server = cast("_Server", self.server)
        with server.arrived:
            server.results[body["request_id"]] = body
            server.arrived.notify_all()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Say nothing: the command prints the result."""

    def _answer(self, status: HTTPStatus) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
