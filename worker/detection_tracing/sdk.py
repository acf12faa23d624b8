"""``Tracing`` with OpenTelemetry's SDK; the only module that imports it.

Spans end in a bounded queue (``OTEL_BSP_MAX_QUEUE_SIZE``, 2,048) that a thread of the SDK empties;
while the collector takes none, the oldest are dropped.
"""

import logging
import math
import threading
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Final, Self

from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    Tracer,
    TraceState,
    set_span_in_context,
)
from opentelemetry.trace import Span as OtelSpan

from detection_tracing.contexts import TRACEPARENT, TRACESTATE, Carrier, Ids, parse_traceparent
from detection_tracing.contexts import traceparent as as_traceparent
from detection_tracing.environment import Protocol
from detection_tracing.port import Attributes, Kind

SERVICE_NAME: Final = "service.name"
QUIET_S: Final = 60.0
"""Between two log lines about a collector that takes nothing."""

_NOWHERE: Final = Context()
_KINDS: Final = {
    "internal": SpanKind.INTERNAL,
    "client": SpanKind.CLIENT,
    "producer": SpanKind.PRODUCER,
    "consumer": SpanKind.CONSUMER,
}
_TALKATIVE: Final = (
    "opentelemetry.exporter.otlp.proto.grpc.exporter",
    "opentelemetry.exporter.otlp.proto.http.trace_exporter",
    "opentelemetry.sdk._shared_internal",
    "opentelemetry.trace.span",
)


class SdkSpan:
    """See ``Span``.

    Args:
        tracer: Begins its steps.
        span: OpenTelemetry's.
    """

    __slots__ = ("_span", "_tracer")

    def __init__(self, tracer: Tracer, span: OtelSpan) -> None:
        self._tracer = tracer
        self._span = span

    @property
    def trace_id(self) -> str:
        """32 hexadecimal digits."""
        return f"{self._span.get_span_context().trace_id:032x}"

    @property
    def span_id(self) -> str:
        """16 hexadecimal digits."""
        return f"{self._span.get_span_context().span_id:016x}"

    @property
    def sampled(self) -> bool:
        """It is recorded."""
        return self._span.get_span_context().trace_flags.sampled

    @property
    def carrier(self) -> Carrier:
        """Its context, for others to go on from."""
        context = self._span.get_span_context()
        ids = Ids(context.trace_id, context.span_id, context.trace_flags.sampled)
        found = {TRACEPARENT: as_traceparent(ids)}
        if context.trace_state:
            found[TRACESTATE] = context.trace_state.to_header()
        return found

    def child(
        self, name: str, kind: Kind = "internal", attributes: Attributes | None = None
    ) -> "SdkSpan":
        """Begin a step of this one."""
        context = set_span_in_context(self._span, _NOWHERE)
        begun = self._tracer.start_span(name, context, _KINDS[kind], attributes)
        return SdkSpan(self._tracer, begun)

    def set(self, attributes: Attributes) -> None:
        """Say more about it."""
        if self._span.is_recording():
            self._span.set_attributes(attributes)

    def fail(self, code: str) -> None:
        """Note that it failed, and the code of the reason."""
        if self._span.is_recording():
            self._span.set_attribute("error.type", code)
            self._span.set_status(Status(StatusCode.ERROR, code))

    def end(self) -> None:
        """End it; only the first time counts."""
        # The SDK warns of a second end.
        if self._span.is_recording():
            self._span.end()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End it; an exception makes it fail with its ``code``, or the name of its class."""
        if error is not None:
            # Texts of exceptions may hold URLs.
            self.fail(str(getattr(error, "code", type(error).__name__)))
        self.end()


class SdkTracing:
    """See ``Tracing``.

    Args:
        provider: OpenTelemetry's; it is taken over.
        version: That of this package.
    """

    def __init__(self, provider: TracerProvider, version: str) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("detection-queue", version)

    @classmethod
    def exporting(cls, protocol: Protocol, *, service: str, version: str) -> Self:
        """Return tracing that exports as the environment says.

        Args:
            protocol: OTLP's.
            service: ``service.name``, unless the environment names another.
            version: That of this package.

        Raises:
            ImportError: The exporter is not installed.
            ValueError: A variable has a value that cannot be used.
        """
        resource = Resource.create({"service.version": version})
        if str(resource.attributes.get(SERVICE_NAME, "")).startswith("unknown_service"):
            resource = resource.merge(Resource({SERVICE_NAME: service}))
        # Not at exit: `close` does it, in bounded time.
        provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        provider.add_span_processor(BatchSpanProcessor(_exporter(protocol)))
        for name in _TALKATIVE:
            logging.getLogger(name).addFilter(_Seldom())
        return cls(provider, version)

    def start(
        self,
        name: str,
        kind: Kind = "internal",
        attributes: Attributes | None = None,
        *,
        parent: Carrier | None = None,
        links: Sequence[Carrier] = (),
        began_ns: int | None = None,
    ) -> SdkSpan:
        """Begin a span; see ``Tracing.start``."""
        above = None if parent is None else _context(parent)
        context = (
            _NOWHERE if above is None else set_span_in_context(NonRecordingSpan(above), _NOWHERE)
        )
        linked = [Link(found) for each in links if (found := _context(each)) is not None]
        begun = self._tracer.start_span(
            name, context, _KINDS[kind], attributes, links=linked, start_time=began_ns
        )
        return SdkSpan(self._tracer, begun)

    def close(self, *, timeout_s: float) -> bool:
        """Export what is left and stop; False if that took longer, and the rest was dropped."""
        # The SDK's own bound is that of a whole export, with its retries.
        ending = threading.Thread(target=self._provider.shutdown, name="traces", daemon=True)
        ending.start()
        ending.join(timeout_s)
        return not ending.is_alive()


def _exporter(protocol: Protocol) -> SpanExporter:
    if protocol == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc import trace_exporter as grpc  # noqa: PLC0415

        return grpc.OTLPSpanExporter()
    from opentelemetry.exporter.otlp.proto.http import trace_exporter as http  # noqa: PLC0415

    return http.OTLPSpanExporter()


def _context(carrier: Carrier) -> SpanContext | None:
    ids = parse_traceparent(carrier.get(TRACEPARENT, ""))
    if ids is None:
        return None
    state = carrier.get(TRACESTATE)
    return SpanContext(
        trace_id=ids.trace_id,
        span_id=ids.span_id,
        is_remote=True,
        trace_flags=TraceFlags(TraceFlags.SAMPLED if ids.sampled else TraceFlags.DEFAULT),
        trace_state=TraceState.from_header([state]) if state else None,
    )


class _Seldom(logging.Filter):
    """Lets one record a minute through: an exporter complains of each batch, others of senders."""

    def __init__(self) -> None:
        super().__init__()
        self._last_s = -math.inf

    def filter(self, record: logging.LogRecord) -> bool:
        now_s = time.monotonic()
        if now_s - self._last_s < QUIET_S:
            return False
        self._last_s = now_s
        return True
