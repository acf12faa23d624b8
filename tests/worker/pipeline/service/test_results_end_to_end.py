"""Store and destinations of a whole worker on a strict local AWS: what fails, and the way back."""

import contextlib
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from detection_testing.aws.faults import Fault
from detection_testing.aws.local_aws import LocalAws
from detection_testing.media import sample_media
from detection_worker.pipeline.service.consumer import Consumer
from detection_worker.pipeline.stages import breaker
from detection_worker.settings import (
    AwsSettings,
    CallbackSettings,
    ConsumerSettings,
    DataSettings,
    ResultSettings,
    Settings,
)

pytestmark = pytest.mark.slow


@dataclass
class Stand:
    """A queue, a media object, a bucket for results and a queue that is notified."""

    aws: LocalAws
    folder: Path
    models: Path
    queue_url: str
    dlq_url: str
    done_url: str
    names: Iterator[int] = field(default_factory=lambda: iter(range(1_000)))

    @property
    def done_arn(self) -> str:
        answer = self.aws.sqs().get_queue_attributes(
            QueueUrl=self.done_url, AttributeNames=["QueueArn"]
        )
        return str(answer["Attributes"]["QueueArn"])

    def consumer(self) -> Consumer:
        return Consumer(
            Settings(
                aws=AwsSettings(
                    access_key_id=self.aws.credentials.access_key_id,
                    secret_access_key=self.aws.credentials.secret_access_key,
                    endpoint_url=self.aws.endpoint_url,
                ),
                data=DataSettings(s3_cache_dir=self.folder / f"cache-{next(self.names)}"),
                callback=CallbackSettings(url=self.aws.callback_url(), allow_private=True),
                results=ResultSettings(
                    results_url="s3://results/out/",
                    on_success=(self.done_arn,),
                    on_failure=(self.done_arn,),
                ),
                models_dir=self.models,
            ),
            ConsumerSettings(
                queue_url=self.queue_url, wait_time_s=1, poll_interval_s=0.1, max_backoff_s=2
            ),
        )

    @contextlib.contextmanager
    def running(self) -> Iterator[Consumer]:
        consumer = self.consumer()
        thread = threading.Thread(target=consumer.run)
        thread.start()
        try:
            yield consumer
        finally:
            consumer.request_stop()
            thread.join(40)
            assert not thread.is_alive()

    def send(self, request_id: str) -> None:
        body = {"sqs_to_ml_url": "s3://media/a.jpg", "request_id": request_id}
        self.aws.send(self.queue_url, [json.dumps(body)])

    def stored(self) -> dict[str, bytes]:
        """Stored envelopes by key."""
        found = self.aws.s3().list_objects_v2(Bucket="results").get("Contents", [])
        keys = [each["Key"] for each in found]
        return {k: self.aws.s3().get_object(Bucket="results", Key=k)["Body"].read() for k in keys}

    def told(self) -> list[dict[str, Any]]:
        """Take the notifications from the queue."""
        found: list[dict[str, Any]] = []
        while messages := (
            self.aws.sqs().receive_message(QueueUrl=self.done_url, MaxNumberOfMessages=10)
        ).get("Messages"):
            for message in messages:
                found.append(json.loads(message["Body"]))
                handle = message["ReceiptHandle"]
                self.aws.sqs().delete_message(QueueUrl=self.done_url, ReceiptHandle=handle)
        return found

    def posted(self, request_id: str) -> list[tuple[str, bytes]]:
        """Ids and bytes of the callbacks."""
        callbacks = [
            c for c in self.aws.callbacks() if json.loads(c.body)["request_id"] == request_id
        ]
        return [(c.headers["webhook-id"], c.body) for c in callbacks]

    def count(self, url: str) -> int:
        counts: dict[str, int] = self.aws.stats()["queues"][url.rpartition("/")[2]]
        return sum(counts.values())

    def downloads(self) -> int:
        return sum(
            access.operation == "GetObject" and access.bucket == "media"
            for access in self.aws.s3_journal()
        )

    @staticmethod
    def eventually(condition: Callable[[], bool], *, timeout_s: float = 30.0) -> bool:
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if condition():
                return True
            time.sleep(0.05)
        return condition()


@pytest.fixture(scope="module")
def aws() -> Iterator[LocalAws]:
    with LocalAws.in_process() as running:
        yield running


@pytest.fixture
def stand(
    aws: LocalAws, tiny_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Stand]:
    monkeypatch.setattr(breaker, "CHECK_PAUSE_S", 0.3)
    monkeypatch.setattr(breaker, "MAX_CHECK_PAUSE_S", 0.6)
    name = tmp_path.name
    queue_url, dlq_url = aws.create_queue(f"w-{name}"[:60], max_receive_count=2)
    done_url, _ = aws.create_queue(f"d-{name}"[:60])
    image = sample_media.make_image(tmp_path / "a.jpg", width=160, height=160)
    aws.put_object("media", "a.jpg", image.read_bytes())
    aws.put_object("results", "unrelated", b"")
    aws.s3().delete_object(Bucket="results", Key="unrelated")
    built = Stand(aws, tmp_path, tiny_models, queue_url, dlq_url, done_url)
    yield built
    aws.clear_faults()
    for key in built.stored():
        aws.s3().delete_object(Bucket="results", Key=key)


def test_an_upload_is_answered_in_the_store_in_a_queue_and_at_the_default_url(
    stand: Stand,
) -> None:
    event = {
        "Records": [
            {
                "eventSource": "aws:s3",
                "eventName": "ObjectCreated:Put",
                "s3": {"bucket": {"name": "media"}, "object": {"key": "a.jpg"}},
            }
        ]
    }
    stand.aws.send(stand.queue_url, [json.dumps(event)])

    with stand.running():
        assert stand.eventually(lambda: stand.count(stand.queue_url) == 0)

    [(key, body)] = stand.stored().items()
    envelope = json.loads(body)
    request_id = envelope["request_id"]
    assert re.fullmatch(rf"out/\d{{4}}/\d\d/\d\d/{request_id}\.json", key)
    [(webhook_id, posted)] = stand.posted(request_id)
    assert posted == body
    [told] = stand.told()
    assert (told["id"], told["result_url"]) == (webhook_id, f"s3://results/{key}")
    assert told["result"] == envelope


REFUSALS = [
    pytest.param("s3.PutObject", Fault(operation="x", kind="access_denied"), id="denied"),
    pytest.param("s3.PutObject", Fault(operation="x", kind="not_found"), id="no bucket"),
    pytest.param("s3.PutObject", Fault(operation="x", kind="kms_denied"), id="key denied"),
    pytest.param("s3.PutObject", Fault(operation="x", kind="clock_skew"), id="clock"),
    pytest.param(
        "sqs.SendMessageBatch",
        Fault(operation="x", kind="access_denied"),
        id="notified queue denied",
    ),
    pytest.param(
        "sqs.SendMessageBatch", Fault(operation="x", kind="not_found"), id="no notified queue"
    ),
]


@pytest.mark.parametrize(("operation", "fault"), REFUSALS)
def test_a_destination_that_refuses_everything_costs_no_message(
    stand: Stand, operation: str, fault: Fault
) -> None:
    check = "results" if operation.startswith("s3") else "notifications"
    ids = [f"{stand.folder.name}-{i}" for i in range(3)]
    before = stand.downloads()
    for request_id in ids:
        stand.send(request_id)
    stand.aws.inject(replace(fault, operation=operation))
    with stand.running() as consumer:
        assert stand.eventually(lambda: check in consumer.steering.readiness())
        asked = stand.aws.stats()["requests"]

        def refused() -> int:
            requests = stand.aws.stats()["requests"]
            return sum(n - asked.get(k, 0) for k, n in requests.items() if operation in k)

        # Two deliveries are allowed, and the longest pause is 2 s: eight checks take over 4 s.
        assert stand.eventually(lambda: refused() >= 8)
        assert (stand.count(stand.queue_url), stand.count(stand.dlq_url)) == (3, 0)

        stand.aws.clear_faults()

        assert stand.eventually(lambda: stand.count(stand.queue_url) == 0)
        assert consumer.steering.is_ready()

    assert stand.count(stand.dlq_url) == 0
    stored = {json.loads(body)["request_id"]: body for body in stand.stored().values()}
    assert sorted(stored) == ids
    assert sorted(told["request_id"] for told in stand.told()) == sorted(stored)
    for request_id, body in stored.items():
        assert [posted for _, posted in stand.posted(request_id)] == [body]
    assert stand.downloads() == before + 3


def test_a_store_that_is_throttled_keeps_its_message_and_pauses_nobody(stand: Stand) -> None:
    stand.aws.inject(Fault(operation="s3.PutObject", kind="throttle", count=3))
    before = stand.downloads()
    with stand.running() as consumer:
        stand.send("slow")
        assert stand.eventually(lambda: stand.count(stand.queue_url) == 0)
        assert consumer.steering.is_ready()
    assert [json.loads(b)["request_id"] for b in stand.stored().values()] == ["slow"]
    assert stand.downloads() == before + 1


def test_another_worker_goes_on_with_the_stored_result(stand: Stand) -> None:
    stand.send("moved")
    stand.aws.inject(Fault(operation="sqs.SendMessageBatch", kind="throttle"))
    before = stand.downloads()
    with stand.running():
        assert stand.eventually(lambda: len(stand.stored()) == 1)
    stored = stand.stored()
    stand.aws.clear_faults()

    with stand.running():
        assert stand.eventually(lambda: stand.count(stand.queue_url) == 0)

    assert stand.stored() == stored
    [body] = stored.values()
    [(webhook_id, posted)] = stand.posted("moved")
    assert posted == body
    [told] = stand.told()
    assert (told["id"], told["result"]) == (webhook_id, json.loads(body))
    assert stand.downloads() == before + 1
