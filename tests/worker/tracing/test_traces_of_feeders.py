"""Traces across the processes of a worker with feeders, and their last flush at SIGTERM."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from detection_testing.aws.local_aws import LocalAws
from detection_testing.media import sample_media
from detection_testing.otlp import COLLECTORS, Collector

pytestmark = pytest.mark.slow
GRACE_S = 10
JOBS = "detection_worker_job_seconds_count"


@contextmanager
def consuming(
    aws: LocalAws, folder: Path, models: Path, queue_url: str, **variables: str
) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
    environment = {
        **os.environ,
        **aws.environment(),
        "QUEUE_URL": queue_url,
        "MODELS_DIR": str(models),
        "DETECTION_CONTROL_HOST": "127.0.0.1",
        "DETECTION_CONTROL_PORT": str(port),
        "DETECTION_S3_CACHE_DIR": str(folder / "cache"),
        "DETECTION_CALLBACK_ALLOW_PRIVATE": "true",
        "DETECTION_SHUTDOWN_GRACE_S": str(GRACE_S),
        "DETECTION_DECODERS": "2",
        "LOG_FORMAT": "json",
        "WAIT_TIME": "1",
        **variables,
    }
    with (folder / "log").open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "detection_worker", "consume", "--feeders", "2"],
            env=environment,
            stderr=stderr,
        )
    try:
        yield process, port
    finally:
        process.kill()
        process.wait(10)


def sent(aws: LocalAws, queue_url: str, folder: Path, count: int) -> dict[str, str]:
    """Send messages with a context each; return their request ids by trace."""
    image = sample_media.make_image(folder / "a.jpg", width=160, height=160)
    url = aws.put_object("media", "a.jpg", image.read_bytes())
    ids = {uuid.uuid4().hex: uuid.uuid4().hex for _ in range(count)}
    for trace_id, request_id in ids.items():
        body = {
            "sqs_to_ml_url": url,
            "request_id": request_id,
            "callback_url": aws.callback_url("/ok"),
        }
        aws.sqs().send_message(
            QueueUrl=queue_url,
            MessageBody=json.dumps(body),
            MessageAttributes={
                "traceparent": {
                    "DataType": "String",
                    "StringValue": f"00-{trace_id}-{'b' * 16}-01",
                }
            },
        )
    return ids


def wait_for_callbacks(aws: LocalAws, ids: dict[str, str], log: Path) -> None:
    until_s = time.monotonic() + 90
    while {json.loads(c.body)["request_id"] for c in aws.callbacks()} < {*ids.values()}:
        assert time.monotonic() < until_s, log.read_text()
        time.sleep(0.05)


@pytest.mark.parametrize("protocol", COLLECTORS)
def test_a_trace_goes_through_feeder_and_device_and_is_flushed_at_the_end(
    tmp_path: Path, tiny_models: Path, protocol: str
) -> None:
    with LocalAws.in_process() as aws, COLLECTORS[protocol]() as collector:
        queue_url = aws.create_queue("fed").queue_url
        ids = sent(aws, queue_url, tmp_path, 8)
        # Nothing is exported before the end, so that all of it is what the end flushes.
        variables = collector.environment() | {"OTEL_BSP_SCHEDULE_DELAY": "600000"}
        with consuming(aws, tmp_path, tiny_models, queue_url, **variables) as (process, port):
            wait_for_callbacks(aws, ids, tmp_path / "log")
            metrics = metrics_of_jobs(port, count=len(ids))
            assert collector.spans == []
            process.send_signal(signal.SIGTERM)
            assert process.wait(GRACE_S + 15) == 0, (tmp_path / "log").read_text()

    check_tree(collector, ids)
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    told = {
        li["request_id"]: li["trace_id"] for li in lines if "Detection complete" in li["message"]
    }
    assert told == {request_id: trace_id for trace_id, request_id in ids.items()}
    exemplars = [li for li in metrics.splitlines() if "_seconds_bucket" in li and "trace_id" in li]
    assert any(li.startswith("detection_worker_job_seconds_bucket") for li in exemplars)
    assert any(li.startswith("detection_worker_stage_seconds_bucket") for li in exemplars)
    assert all(any(trace_id in li for trace_id in ids) for li in exemplars)


def metrics_of_jobs(port: int, *, count: int) -> str:
    """Return the metrics once they have so many jobs: one ends after its callback."""
    until_s = time.monotonic() + 60
    while True:
        metrics = open_metrics(port)
        lines = (li for li in metrics.splitlines() if li.startswith(JOBS))
        if sum(float(li.partition("} ")[2].partition(" ")[0]) for li in lines) >= count:
            return metrics
        assert time.monotonic() < until_s, metrics
        time.sleep(0.05)


def open_metrics(port: int) -> str:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/metrics", headers={"Accept": "application/openmetrics-text"}
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        return str(answer.read(), "utf-8")


def check_tree(collector: Collector, ids: dict[str, str]) -> None:
    ours = [s for s in collector.spans if s.trace_id in ids]
    process = {s.trace_id: s for s in ours if s.name == "process fed"}
    assert process.keys() == ids.keys()
    for name in ("download", "decode", "inference", "POST callback", "delete"):
        steps = {s.trace_id: s for s in ours if s.name == name}
        assert {t: s.parent_id for t, s in steps.items()} == {
            t: s.span_id for t, s in process.items()
        }
    # The passes were in the main process, whose own spans have the feeders' as parents and links.
    scored = [{(s.trace_id, s.parent_id), *s.links} for s in ours if s.name == "forward pass"]
    assert sum(map(len, scored)) == len(ids)
    assert set().union(*scored) == {(s.trace_id, s.span_id) for s in ours if s.name == "inference"}


def test_a_collector_that_is_down_neither_slows_the_work_nor_the_end(
    tmp_path: Path, tiny_models: Path
) -> None:
    with LocalAws.in_process() as aws:
        queue_url = aws.create_queue("fed").queue_url
        ids = sent(aws, queue_url, tmp_path, 8)
        # Bound, and never accepted: connections hang, as behind a firewall that drops packets.
        with socket.socket() as hole:
            hole.bind(("127.0.0.1", 0))
            hole.listen(0)
            url = f"http://127.0.0.1:{hole.getsockname()[1]}"
            with consuming(
                aws, tmp_path, tiny_models, queue_url, OTEL_EXPORTER_OTLP_ENDPOINT=url
            ) as (process, _):
                wait_for_callbacks(aws, ids, tmp_path / "log")
                process.send_signal(signal.SIGTERM)
                assert process.wait(GRACE_S + 15) == 0, (tmp_path / "log").read_text()


def test_without_tracing_no_process_of_a_worker_asks_for_the_sdk(
    tmp_path: Path, tiny_models: Path
) -> None:
    asked = tmp_path / "asked"
    shadow = tmp_path / "shadow"
    shadow.mkdir()
    (shadow / "opentelemetry.py").write_text(
        f"open({str(asked)!r}, 'w').close()\nraise ModuleNotFoundError('opentelemetry')\n"
    )
    with LocalAws.in_process() as aws:
        queue_url = aws.create_queue("fed").queue_url
        ids = sent(aws, queue_url, tmp_path, 4)
        with consuming(
            aws, tmp_path, tiny_models, queue_url, PYTHONPATH=str(shadow), OTEL_SDK_DISABLED="true"
        ) as (process, port):
            wait_for_callbacks(aws, ids, tmp_path / "log")
            metrics = open_metrics(port)
            process.send_signal(signal.SIGTERM)
            assert process.wait(GRACE_S + 15) == 0, (tmp_path / "log").read_text()
        headers = {name.lower() for call in aws.callbacks() for name in call.headers}

    assert not asked.exists()
    assert not headers & {"traceparent", "tracestate"}
    assert "trace_id" not in metrics
    assert "trace_id" not in (tmp_path / "log").read_text()
