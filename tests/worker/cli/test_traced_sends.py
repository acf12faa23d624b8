"""``submit`` and ``message`` send the context of a span with each message."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from detection_testing.aws.local_aws import LocalAws
from detection_testing.otlp import Collector, http_collector

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def aws() -> Iterator[LocalAws]:
    with LocalAws.in_process() as local:
        yield local


@pytest.fixture
def collector() -> Iterator[Collector]:
    with http_collector() as running:
        yield running


def traceparents(aws: LocalAws, queue_url: str) -> list[str | None]:
    answer = aws.sqs().receive_message(
        QueueUrl=queue_url, MaxNumberOfMessages=10, MessageAttributeNames=["All"]
    )
    found = [m.get("MessageAttributes", {}).get("traceparent") for m in answer["Messages"]]
    return [each and each["StringValue"] for each in found]


@pytest.mark.parametrize("command", ["message", "submit"])
def test_every_message_has_a_span_of_its_own(
    aws: LocalAws,
    collector: Collector,
    run_cli: Callable[..., Any],
    tmp_path: Path,
    command: str,
) -> None:
    queue_url = aws.create_queue(f"{command}-traced").queue_url
    for name in ("a.jpg", "b.jpg"):
        aws.put_object("media", name, b"x")
    options = {
        "message": ("--url", "s3://media/a.jpg", "--yes"),
        "submit": ("s3://media/", "--yes", "--state", str(tmp_path / "state")),
    }[command]
    env = {**aws.environment(), "QUEUE_URL": queue_url, "HOME": str(tmp_path)}

    done = run_cli(command, *options, env={**env, **collector.environment()})

    assert done.code == 0, done
    spans = collector.named(f"send {command}-traced")
    assert len(spans) == {"message": 1, "submit": 2}[command]
    assert {s.kind for s in spans} == {4}  # producer
    assert sorted(traceparents(aws, queue_url), key=str) == sorted(
        f"00-{s.trace_id}-{s.span_id}-01" for s in spans
    )


def test_without_tracing_messages_have_no_attributes(
    aws: LocalAws, run_cli: Callable[..., Any], tmp_path: Path
) -> None:
    queue_url = aws.create_queue("plain").queue_url
    env = {**aws.environment(), "QUEUE_URL": queue_url, "HOME": str(tmp_path)}

    assert run_cli("message", "--url", "s3://media/a.jpg", "--yes", env=env).code == 0

    assert traceparents(aws, queue_url) == [None]
