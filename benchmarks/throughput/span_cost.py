"""CPU of the spans of one message, without a worker: off, not recorded, recorded, exported.

Thread time, so that it holds on a busy machine too; the export is that of a batch of 512 spans.

    python benchmarks/throughput/span_cost.py
"""

import os
import time
from collections.abc import Callable
from statistics import median
from typing import Final

from detection_testing.otlp import http_collector
from detection_tracing.port import Span, Tracing, within
from detection_tracing.start import start_tracing

STEPS: Final = ("download", "decode", "inference", "POST callback", "delete")
ABOUT: Final = {
    "messaging.system": "aws_sqs",
    "messaging.destination.name": "queue",
    "messaging.message.id": "5fea7756-0ea4-451a-a703-a558b933e274",
    "detection_queue.request_id": "5fea7756-0ea4-451a-a703-a558b933e274",
}
TRACE: Final = f"00-{'a' * 32}-{'b' * 16}"
LINK: Final = {"traceparent": f"00-{'c' * 32}-{'d' * 16}-01"}
MESSAGES: Final = 300
TURNS: Final = 7


def message(tracing: Tracing | None, flags: str) -> None:
    """Make the spans of one message, as a worker does."""
    span: Span | None = None
    if tracing is not None:
        parent = {"traceparent": f"{TRACE}-{flags}"}
        span = tracing.start("process", "consumer", ABOUT, parent=parent, links=[LINK])
    for name in STEPS:
        with within(span, name, "client", ABOUT if span else None) as step:
            if step is not None:
                step.set({"http.response.status_code": 200})
    if span is not None:
        span.set({"detection_queue.outcome": "deleted"})
        span.end()


def cpu_us(work: Callable[[], None]) -> float:
    """Return the median of the CPU of this thread for one call, microseconds."""
    found = []
    for _ in range(TURNS):
        began_s = time.thread_time()
        for _ in range(MESSAGES):
            work()
        found.append((time.thread_time() - began_s) / MESSAGES * 1e6)
    return median(found)


def export_us(tracing_spans: int) -> float:
    """Return the CPU of encoding one message's spans, microseconds."""
    from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
    from opentelemetry.sdk.trace import ReadableSpan, TracerProvider

    tracer = TracerProvider().get_tracer("benchmark")
    spans = []
    for _ in range(512):
        span = tracer.start_span("download", attributes=ABOUT)
        span.end()
        assert isinstance(span, ReadableSpan)
        spans.append(span)
    found = []
    for _ in range(TURNS):
        began_s = time.thread_time()
        encode_spans(spans).SerializePartialToString()
        found.append((time.thread_time() - began_s) / len(spans) * tracing_spans * 1e6)
    return median(found)


def main() -> int:
    """Measure and print."""
    rows = {"off": cpu_us(lambda: message(None, "01"))}
    with http_collector() as collector:
        os.environ.update(collector.environment() | {"OTEL_BSP_MAX_QUEUE_SIZE": "20000"})
        tracing = start_tracing("benchmark", "1")
        rows["on, not recorded"] = cpu_us(lambda: message(tracing, "00"))
        rows["on, recorded"] = cpu_us(lambda: message(tracing, "01"))
        assert tracing is not None
        tracing.close(timeout_s=20)
    rows["and encoded for the collector"] = rows["on, recorded"] + export_us(len(STEPS) + 1)
    print(f"CPU of the {len(STEPS) + 1} spans of a message, microseconds")
    for name, value in rows.items():
        print(f"  {name:30} {value:8.1f}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
