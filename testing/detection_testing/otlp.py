"""Collectors that take what OpenTelemetry's exporters send, over gRPC and HTTP."""

import gzip
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as messages
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as service

WAIT_S: Final = 60.0
_ERROR: Final = 2
"""``STATUS_CODE_ERROR``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A span as a collector got it.

    Attributes:
        name: Its name.
        kind: OTLP's number.
        trace_id: 32 hexadecimal digits.
        span_id: 16 hexadecimal digits.
        parent_id: That of its parent; empty for a root.
        links: Trace and span ids.
        attributes: By name.
        error: Text of the error status; None without.
        began_ns: Unix nanoseconds.
        ended_ns: Unix nanoseconds.
        resource: Attributes of the process.
    """

    name: str
    kind: int
    trace_id: str
    span_id: str
    parent_id: str
    links: tuple[tuple[str, str], ...]
    attributes: dict[str, Any]
    error: str | None
    began_ns: int
    ended_ns: int
    resource: dict[str, Any]


def _value_of(value: Any) -> Any:
    return getattr(value, value.WhichOneof("value"))


def _seen_in(request: messages.ExportTraceServiceRequest) -> Iterator[Seen]:
    for group in request.resource_spans:
        resource = {a.key: _value_of(a.value) for a in group.resource.attributes}
        for scope in group.scope_spans:
            for span in scope.spans:
                yield Seen(
                    name=span.name,
                    kind=span.kind,
                    trace_id=span.trace_id.hex(),
                    span_id=span.span_id.hex(),
                    parent_id=span.parent_span_id.hex(),
                    links=tuple((li.trace_id.hex(), li.span_id.hex()) for li in span.links),
                    attributes={a.key: _value_of(a.value) for a in span.attributes},
                    error=span.status.message if span.status.code == _ERROR else None,
                    began_ns=span.start_time_unix_nano,
                    ended_ns=span.end_time_unix_nano,
                    resource=resource,
                )


@dataclass(slots=True, eq=False)
class Collector:
    """What a collector got.

    Attributes:
        url: Its endpoint.
        protocol: OTLP's.
        spans: In the order in which they came.
        raw: The requests' bytes.
        headers: The requests' headers.
        answer: Called before each answer; may wait. Returns the HTTP status.
    """

    url: str = ""
    protocol: str = ""
    spans: list[Seen] = field(default_factory=list)
    raw: list[bytes] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    answer: Callable[[], int] = field(default=lambda: 200)

    def take(self, request: messages.ExportTraceServiceRequest) -> None:
        """Note a request."""
        self.raw.append(request.SerializeToString())
        self.spans += _seen_in(request)

    def environment(self) -> dict[str, str]:
        """Return the variables that let a process export here, within a moment."""
        return {
            "OTEL_EXPORTER_OTLP_ENDPOINT": self.url,
            "OTEL_EXPORTER_OTLP_PROTOCOL": self.protocol,
            "OTEL_BSP_SCHEDULE_DELAY": "100",
        }

    def named(self, name: str) -> list[Seen]:
        """Return the spans of a name."""
        return [span for span in self.spans if span.name == name]

    def wait_for(self, name: str, count: int = 1) -> list[Seen]:
        """Return the spans of a name once there are enough; raises ``AssertionError``."""
        until_s = time.monotonic() + WAIT_S
        while len(found := self.named(name)) < count:
            if time.monotonic() > until_s:
                names = sorted({span.name for span in self.spans})
                raise AssertionError(f"{len(found)} of {count} spans {name!r} among {names}")
            time.sleep(0.05)
        return found


class _Grpc(service.TraceServiceServicer):
    def __init__(self, collector: Collector) -> None:
        self._collector = collector

    def Export(  # noqa: N802 - the service's name
        self, request: messages.ExportTraceServiceRequest, context: grpc.ServicerContext
    ) -> messages.ExportTraceServiceResponse:
        self._collector.headers.append({k: str(v) for k, v in context.invocation_metadata()})
        self._collector.take(request)
        return messages.ExportTraceServiceResponse()


class _Http(BaseHTTPRequestHandler):
    collector: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        status = self.collector.answer()
        if status == 200 and self.path == "/v1/traces":
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            self.collector.headers.append({k.lower(): v for k, v in self.headers.items()})
            self.collector.take(messages.ExportTraceServiceRequest.FromString(body))
        answer = messages.ExportTraceServiceResponse().SerializeToString()
        self.send_response(status)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def http_collector() -> Iterator[Collector]:
    """Run a collector for OTLP over HTTP."""
    collector = Collector(protocol="http/protobuf")
    handler = type("Handler", (_Http,), {"collector": collector})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    collector.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield collector
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def grpc_collector() -> Iterator[Collector]:
    """Run a collector for OTLP over gRPC."""
    collector = Collector(protocol="grpc")
    server = grpc.server(ThreadPoolExecutor(2))
    service.add_TraceServiceServicer_to_server(_Grpc(collector), server)  # type: ignore[no-untyped-call]
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    collector.url = f"http://127.0.0.1:{port}"
    try:
        yield collector
    finally:
        server.stop(None).wait()


COLLECTORS: Final = {"grpc": grpc_collector, "http/protobuf": http_collector}
"""By protocol."""
