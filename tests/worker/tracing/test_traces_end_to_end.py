"""Traces of real workers on a strict local AWS, as a collector gets them over OTLP."""

import json
import threading
import time
import uuid
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from detection_contract import signing
from detection_testing.aws.journal import RecordedCallback
from detection_testing.aws.local_aws import LocalAws
from detection_testing.media import sample_media
from detection_testing.otlp import Collector, Seen, http_collector
from detection_tracing.contexts import parse_traceparent
from detection_worker.pipeline.service.consumer import Consumer
from detection_worker.settings import (
    AwsSettings,
    CallbackSettings,
    ConsumerSettings,
    DataSettings,
    ResultSettings,
    Settings,
)

pytestmark = pytest.mark.slow

SECRET = f"whsec_{b64encode(b'a secret of the tests, 32 bytes!').decode()}"
BUS = "arn:aws:events:us-east-1:000000000000:event-bus/default"


@dataclass
class Stand:
    """A running consumer, its AWS and its collector."""

    aws: LocalAws
    collector: Collector
    queue_url: str
    results_url: str
    folder: Path
    picture: str

    def send(self, *, trace: str | None = None, callback: str = "/ok", **fields: Any) -> str:
        """Send a message; return its request id."""
        request_id = uuid.uuid4().hex
        body = {
            "sqs_to_ml_url": self.picture,
            "callback_url": self.aws.callback_url(callback),
            "request_id": request_id,
            **fields,
        }
        attributes = {}
        if trace is not None:
            attributes = {
                "traceparent": {"DataType": "String", "StringValue": trace},
                "tracestate": {"DataType": "String", "StringValue": "vendor=1"},
            }
        self.aws.sqs().send_message(
            QueueUrl=self.queue_url, MessageBody=json.dumps(body), MessageAttributes=attributes
        )
        return request_id

    def process_span(self, request_id: str) -> Seen:
        """Return the span of the processing of a message."""
        [delivered] = self.wait(
            lambda: [
                s
                for s in self.collector.spans
                if s.attributes.get("detection_queue.request_id") == request_id
            ][:1]
        )
        found: list[Seen] = self.wait(
            lambda: [
                s
                for s in self.collector.spans
                if s.trace_id == delivered.trace_id and s.name.startswith("process ")
            ]
        )
        return found[0]

    def callback(self, request_id: str) -> RecordedCallback:
        """Return the first attempt at a callback that was answered with 200."""
        found: list[RecordedCallback] = self.wait(
            lambda: [
                c
                for c in self.aws.callbacks()
                if c.status == 200 and json.loads(c.body)["request_id"] == request_id
            ][:1]
        )
        return found[0]

    @staticmethod
    def wait(look: Callable[[], list[Any]]) -> list[Any]:
        until_s = time.monotonic() + 60
        while not (found := look()) and time.monotonic() < until_s:
            time.sleep(0.05)
        return found

    def named(self, name: str, trace_id: str) -> list[Seen]:
        return [s for s in self.collector.named(name) if s.trace_id == trace_id]

    def of_trace(self, trace_id: str) -> dict[str, Seen]:
        return {s.name: s for s in self.collector.spans if s.trace_id == trace_id}


@contextmanager
def environment(**variables: str) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory, tiny_models: Path) -> Iterator[Stand]:
    folder = tmp_path_factory.mktemp("traces")
    with LocalAws.in_process() as aws, http_collector() as collector:
        queue_url = aws.create_queue("traced").queue_url
        results_url = aws.create_queue("told", dead_letter=False).queue_url
        topic = aws.create_topic("results", results_url)
        outbox = aws.create_queue("outbox").queue_url
        image = sample_media.make_image(folder / "a.jpg", width=160, height=160)
        picture = aws.put_object("media", "a.jpg", image.read_bytes())
        aws.put_object("results", "x", b"x")
        settings = Settings(
            aws=AwsSettings(
                access_key_id=aws.credentials.access_key_id,
                secret_access_key=aws.credentials.secret_access_key,
                endpoint_url=aws.endpoint_url,
            ),
            data=DataSettings(s3_cache_dir=folder / "cache"),
            callback=CallbackSettings(
                allow_private=True, attempts=1, read_timeout_s=1.0, signing_secrets=(SECRET,)
            ),
            results=ResultSettings(
                results_url="s3://results/", on_success=(topic, BUS), outbox_url=outbox
            ),
            models_dir=tiny_models,
        )
        with environment(OTEL_RESOURCE_ATTRIBUTES="team=media", **collector.environment()):
            consumer = Consumer(
                settings, ConsumerSettings(queue_url=queue_url, wait_time_s=1, decoders=1)
            )
        codes: list[int] = []
        thread = threading.Thread(target=lambda: codes.append(consumer.run()))
        thread.start()
        yield Stand(aws, collector, queue_url, results_url, folder, picture)
        consumer.request_stop()
        thread.join(60)
        assert codes == [0]


def new_context(*, sampled: bool = True) -> tuple[str, str, str]:
    trace_id, span_id = uuid.uuid4().hex, uuid.uuid4().hex[:16]
    return f"00-{trace_id}-{span_id}-{int(sampled):02d}", trace_id, span_id


def test_a_message_is_one_tree_from_its_producer_to_the_receiver_of_its_callback(
    stand: Stand,
) -> None:
    trace, trace_id, producer = new_context()

    request_id = stand.send(trace=trace, metadata={"private": "metadata-of-a-user"})
    callback = stand.callback(request_id)
    process = stand.process_span(request_id)

    found = stand.of_trace(trace_id)
    assert process.parent_id == producer
    children = ["download", "decode", "inference", "store", "POST callback", "delete"]
    assert {found[name].parent_id for name in children} == {process.span_id}
    began = [found[name].began_ns for name in children]
    assert began == sorted(began)
    assert all(process.began_ns <= s.began_ns <= s.ended_ns for s in found.values())
    assert process.ended_ns >= found["delete"].ended_ns
    assert process.error is None
    assert process.attributes["detection_queue.outcome"] == "deleted"
    assert process.attributes["messaging.system"] == "aws_sqs"
    assert process.attributes["messaging.destination.name"] == "traced"
    assert found["download"].attributes["aws.s3.bucket"] == "media"
    assert found["POST callback"].attributes["http.response.status_code"] == 200
    assert process.resource["service.name"] == "detection-worker"
    assert process.resource["team"] == "media"
    sent = parse_traceparent(callback.headers["traceparent"])
    assert sent is not None
    assert f"{sent.trace_id:032x}" == trace_id
    assert f"{sent.span_id:016x}" == found["POST callback"].span_id
    assert callback.headers["tracestate"] == "vendor=1"
    signing.verify([SECRET], callback.headers, callback.body, now_s=time.time())
    [receive] = [
        s for s in stand.collector.named("receive traced") if (trace_id, producer) in s.links
    ]
    assert receive.trace_id != trace_id
    assert process.links == ((receive.trace_id, receive.span_id),)


def test_a_forward_pass_is_recorded_once_and_linked_to_every_file(stand: Stand) -> None:
    contexts = [new_context() for _ in range(6)]

    ids = [stand.send(trace=trace) for trace, _, _ in contexts]
    for request_id in ids:
        stand.process_span(request_id)

    ours = {trace_id for _, trace_id, _ in contexts}
    passes = [s for s in stand.collector.named("forward pass") if s.trace_id in ours]
    inference = {s.trace_id: s.span_id for s in stand.collector.named("inference")}
    scored = [{(s.trace_id, s.parent_id), *s.links} for s in passes]
    assert sum(map(len, scored)) == len(ids)
    assert set().union(*scored) == {(trace_id, inference[trace_id]) for trace_id in ours}
    assert sum(s.attributes["detection_queue.batch.units"] for s in passes) == len(ids)


def test_what_the_producer_does_not_sample_is_not_recorded_and_is_carried_on(
    stand: Stand,
) -> None:
    trace, trace_id, _ = new_context(sampled=False)

    callback = stand.callback(stand.send(trace=trace))
    stand.process_span(stand.send())

    assert stand.of_trace(trace_id) == {}
    assert callback.headers["traceparent"].startswith(f"00-{trace_id}-")
    assert callback.headers["traceparent"].endswith("-00")


def test_a_message_without_a_context_begins_a_trace_and_a_bad_one_is_ignored(
    stand: Stand,
) -> None:
    for trace in (None, "00-nonsense-01", f"00-{'0' * 32}-{'1' * 16}-01"):
        request_id = stand.send(trace=trace)
        process = stand.process_span(request_id)

        assert process.parent_id == ""
        assert process.trace_id in stand.callback(request_id).headers["traceparent"]


def test_xray_and_sns_bring_their_context(stand: Stand) -> None:
    trace, trace_id, producer = new_context()
    body = {"sqs_to_ml_url": stand.picture, "request_id": uuid.uuid4().hex}
    header = f"Root=1-{trace_id[:8]}-{trace_id[8:]};Parent={producer};Sampled=1"
    stand.aws.sqs().send_message(
        QueueUrl=stand.queue_url,
        MessageBody=json.dumps(body),
        MessageSystemAttributes={"AWSTraceHeader": {"DataType": "String", "StringValue": header}},
    )
    assert stand.process_span(body["request_id"]).parent_id == producer

    trace, trace_id, producer = new_context()
    topic = stand.aws.create_topic("wrapped", stand.queue_url, raw=False)
    body = {**body, "request_id": uuid.uuid4().hex}
    stand.aws.sns().publish(
        TopicArn=topic,
        Message=json.dumps(body),
        MessageAttributes={"traceparent": {"DataType": "String", "StringValue": trace}},
    )
    process = stand.process_span(body["request_id"])
    assert (process.trace_id, process.parent_id) == (trace_id, producer)


def test_notifications_carry_the_context(stand: Stand) -> None:
    trace, trace_id, _ = new_context()
    request_id = stand.send(trace=trace)
    stand.process_span(request_id)

    def received() -> list[dict[str, Any]]:
        answer = stand.aws.sqs().receive_message(
            QueueUrl=stand.results_url, MaxNumberOfMessages=10, MessageAttributeNames=["All"]
        )
        found = [m["MessageAttributes"] for m in answer.get("Messages", ())]
        return [a for a in found if a["request_id"]["StringValue"] == request_id]

    [attributes] = stand.wait(received)
    span = stand.of_trace(trace_id)["publish results"]
    assert attributes["traceparent"]["StringValue"] == f"00-{trace_id}-{span.span_id}-01"
    assert len(attributes) <= 10
    [event] = [
        event
        for event in stand.aws.put_events()
        if json.loads(event.detail)["request_id"] == request_id
    ]
    bus = stand.of_trace(trace_id)["publish default"]
    root = f"1-{trace_id[:8]}-{trace_id[8:]}"
    assert event.trace_header == f"Root={root};Parent={bus.span_id};Sampled=1"


def test_a_failed_message_says_why_with_our_code(stand: Stand) -> None:
    trace, trace_id, _ = new_context()

    request_id = stand.send(trace=trace, sqs_to_ml_url="s3://media/missing.jpg?X=1")
    process = stand.process_span(request_id)

    assert process.error == "s3_not_found"
    assert process.attributes["error.type"] == "s3_not_found"
    found = stand.of_trace(trace_id)
    assert found["download"].error == "s3_not_found"
    assert "dead_letter" in found
    assert process.attributes["detection_queue.outcome"] == "dead_lettered"


def test_a_callback_from_the_outbox_goes_on_with_the_trace(stand: Stand) -> None:
    trace, trace_id, _ = new_context()

    request_id = stand.send(trace=trace, callback=f"/flaky/1/{uuid.uuid4().hex}?token=hush")
    callback = stand.callback(request_id)
    stand.wait(
        lambda: [s for s in stand.collector.named("deliver from outbox") if s.trace_id == trace_id]
    )

    attempts = stand.named("POST callback", trace_id)
    found = stand.of_trace(trace_id)
    assert [s.error for s in attempts] == ["503", None]
    assert attempts[1].parent_id == found["deliver from outbox"].span_id
    assert found["deliver from outbox"].parent_id == found["outbox"].span_id
    assert callback.headers["traceparent"] == f"00-{trace_id}-{attempts[1].span_id}-01"


def test_no_secret_leaves_with_a_span(stand: Stand) -> None:
    """No query or path of a URL, no metadata and no key of the tests above."""
    sent = b"".join(stand.collector.raw)
    assert len(sent) > 10_000
    for secret in (b"token=hush", b"metadata-of-a-user", SECRET.encode(), b"/flaky", b"X=1"):
        assert secret not in sent
    assert stand.aws.credentials.secret_access_key.encode() not in sent
