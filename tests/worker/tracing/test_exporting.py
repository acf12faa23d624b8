"""Spans over gRPC and HTTP to a collector that answers, is slow, is down, or is not asked for."""

import logging
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from detection_operator.errors import InvalidSettings
from detection_operator.runtime import tracing as of_operator
from detection_testing.otlp import COLLECTORS, Collector, http_collector
from detection_tracing.environment import Asked, TracingError, asked
from detection_tracing.port import Tracing, within
from detection_tracing.start import FLUSH_S, start_tracing
from detection_worker import tracing as of_worker
from detection_worker.errors import UsageError

REMOTE = {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01", "tracestate": "vendor=1"}
UNSAMPLED = {"traceparent": f"00-{'c' * 32}-{'d' * 16}-00"}
DOWN = "http://127.0.0.1:9"


@pytest.fixture(params=COLLECTORS)
def collector(request: pytest.FixtureRequest) -> Iterator[Collector]:
    with COLLECTORS[request.param]() as running:
        yield running


@pytest.fixture
def variables(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("OTEL_SERVICE_NAME", "OTEL_TRACES_SAMPLER", "OTEL_SDK_DISABLED"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def tracing_to(collector: Collector, patch: pytest.MonkeyPatch, **more: str) -> Tracing:
    for name, value in (collector.environment() | more).items():
        patch.setenv(name, value)
    tracing = start_tracing("some-service", "1.2.3")
    assert tracing is not None
    return tracing


def test_spans_arrive_with_parents_links_attributes_and_errors(
    collector: Collector, variables: pytest.MonkeyPatch
) -> None:
    tracing = tracing_to(collector, variables, OTEL_EXPORTER_OTLP_HEADERS="api-key=k")

    with tracing.start("root", "consumer", {"n": 1}, parent=REMOTE, links=[UNSAMPLED]) as root:
        carrier = root.carrier
        with pytest.raises(LookupError), within(root, "step", "client"):
            raise LookupError("a text with a secret")

    assert tracing.close(timeout_s=20)
    spans = {span.name: span for span in collector.spans}
    assert spans["root"].trace_id == root.trace_id == "a" * 32
    assert spans["root"].parent_id == "b" * 16
    assert spans["root"].links == (("c" * 32, "d" * 16),)
    assert spans["root"].attributes == {"n": 1}
    assert spans["root"].resource["service.name"] == "some-service"
    assert spans["root"].resource["service.version"] == "1.2.3"
    assert spans["step"].parent_id == spans["root"].span_id == root.span_id
    assert spans["step"].error == spans["step"].attributes["error.type"] == "LookupError"
    assert carrier == {
        "traceparent": f"00-{'a' * 32}-{root.span_id}-01",
        "tracestate": "vendor=1",
    }
    assert collector.headers[0]["api-key"] == "k"
    assert b"secret" not in b"".join(collector.raw)


def test_the_environment_names_service_and_resource_and_samples(
    variables: pytest.MonkeyPatch,
) -> None:
    with http_collector() as collector:
        tracing = tracing_to(
            collector,
            variables,
            OTEL_SERVICE_NAME="mine",
            OTEL_RESOURCE_ATTRIBUTES="team=media,deployment.environment.name=test",
            OTEL_TRACES_SAMPLER="parentbased_always_off",
        )
        tracing.start("root").end()
        tracing.start("of a sampled trace", parent=REMOTE).end()
        tracing.start("of another", parent=UNSAMPLED).end()
        assert tracing.close(timeout_s=20)

    [span] = collector.spans
    assert span.name == "of a sampled trace"
    assert span.resource["service.name"] == "mine"
    assert span.resource["team"] == "media"


def slow() -> int:
    time.sleep(30)
    return 200


def test_a_collector_that_hangs_or_is_down_costs_nothing_but_the_bound_at_the_end(
    variables: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with http_collector() as collector:
        collector.answer = slow
        for url in (collector.url, DOWN):
            collector.url = url
            tracing = tracing_to(collector, variables, OTEL_BSP_MAX_QUEUE_SIZE="600")
            began_s, cpu_s = time.monotonic(), time.thread_time()
            with caplog.at_level(logging.WARNING):
                for _ in range(5_000):
                    tracing.start("span").end()
            assert time.thread_time() - cpu_s < 5
            closing_s = time.monotonic()
            assert not tracing.close(timeout_s=0.5)
            assert time.monotonic() - closing_s < 5
            assert time.monotonic() - began_s < 25
    # "Queue full" for thousands of spans, and the failed exports: a line a minute of each logger.
    lines = [r for r in caplog.records if r.name.startswith("opentelemetry")]
    assert 1 <= len(lines) <= 8
    assert collector.spans == []


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, None),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, None),
        ({"OTEL_TRACES_EXPORTER": "otlp", "OTEL_SDK_DISABLED": "TRUE"}, None),
        (
            {"OTEL_TRACES_EXPORTER": "otlp"},
            Asked(by="OTEL_TRACES_EXPORTER=otlp", protocol="http/protobuf"),
        ),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"},
            Asked(by="OTEL_EXPORTER_OTLP_ENDPOINT", protocol="http/protobuf"),
        ),
        (
            {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "https://c/v1/traces"},
            Asked(by="OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", protocol="http/protobuf"),
        ),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "c:4317"},
            Asked(by="OTEL_EXPORTER_OTLP_ENDPOINT", protocol="grpc"),
        ),
        (
            {
                "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4317",
                "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            },
            Asked(by="OTEL_EXPORTER_OTLP_ENDPOINT", protocol="http/protobuf"),
        ),
    ],
)
def test_the_standard_variables_ask_for_traces(
    environ: dict[str, str], expected: Asked | None
) -> None:
    assert asked(environ) == expected


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "OTEL_TRACES_EXPORTER=zipkin is not supported"),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "c:4318"},
            "OTEL_EXPORTER_OTLP_ENDPOINT=c:4318 is no URL",
        ),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://[::1"}, "is no URL"),
        (
            {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"},
            "OTEL_EXPORTER_OTLP_PROTOCOL=http/json is not supported",
        ),
    ],
)
def test_what_cannot_be_exported_is_told_at_the_start(environ: dict[str, str], says: str) -> None:
    with pytest.raises(TracingError, match="\n") as caught:
        asked(environ)

    assert says in str(caught.value)


def run(code: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        env={"PATH": "", "AWS_REGION": "us-east-1", **environ},
        capture_output=True,
        text=True,
        check=False,
    )


CONSUMER = """
import sys
from detection_worker.pipeline.service.adapters import Adapters
from detection_worker.metrics import Metrics
from detection_worker.settings import ConsumerSettings, Settings
url = "http://localhost:1/1/q"
adapters = Adapters(Settings(), ConsumerSettings(queue_url=url), Metrics())
print(adapters.tracing, type(adapters.source).__name__)
print([m for m in sys.modules if m.split(".")[0] in ("opentelemetry", "grpc")])
"""


def test_without_tracing_nothing_of_it_is_loaded_or_wrapped() -> None:
    done = run(CONSUMER)

    assert done.stdout.split("\n")[:2] == ["None SqsSource", "[]"], done.stderr


def test_a_missing_extra_is_told_with_what_to_install(tmp_path: Path) -> None:
    # As where the extra is not installed: this name shadows the real package.
    blocked = tmp_path / "opentelemetry.py"
    blocked.write_text("raise ModuleNotFoundError('no', name='opentelemetry')\n")

    done = run(
        "import sys; from detection_worker.__main__ import main; sys.exit(main(["
        "'consume', '--queue-url', 'http://localhost:1/1/q', '--run-once']))",
        PYTHONPATH=str(tmp_path),
        OTEL_TRACES_EXPORTER="otlp",
    )

    assert done.returncode == 2
    assert "OpenTelemetry is not installed" in done.stderr
    assert "pip install 'detection-queue[otel]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_bound_of_the_last_flush_is_within_the_margin_of_a_pods_grace() -> None:
    assert FLUSH_S <= 2.0


@pytest.mark.parametrize(
    ("begin", "expected"),
    [(of_worker.tracing_here, UsageError), (of_operator.tracing_here, InvalidSettings)],
    ids=["worker", "operator"],
)
def test_what_cannot_be_exported_is_the_program_s_own_error(
    begin: Callable[[], object], expected: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "zipkin")

    with pytest.raises(expected, match="OTEL_TRACES_EXPORTER=zipkin is not supported\nUse otlp"):
        begin()
