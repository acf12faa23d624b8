"""A whole worker with an outbox on a strict local AWS: it sends what it put there."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from detection_testing.aws.local_aws import LocalAws
from detection_testing.media import sample_media
from detection_worker.errors import UsageError
from detection_worker.pipeline.service.consumer import Consumer
from detection_worker.settings import (
    AwsSettings,
    CallbackSettings,
    ConsumerSettings,
    DataSettings,
    ResultSettings,
    Settings,
)


@pytest.fixture(scope="module")
def aws() -> Iterator[LocalAws]:
    with LocalAws.in_process() as running:
        yield running


def settings_of(aws: LocalAws, outbox_url: str, *, folder: Path, models: Path) -> Settings:
    return Settings(
        aws=AwsSettings(
            access_key_id=aws.credentials.access_key_id,
            secret_access_key=aws.credentials.secret_access_key,
            endpoint_url=aws.endpoint_url,
        ),
        data=DataSettings(s3_cache_dir=folder / "cache"),
        callback=CallbackSettings(allow_private=True, attempts=1),
        results=ResultSettings(outbox_url=outbox_url),
        models_dir=models,
    )


def eventually(done: Callable[[], bool], *, timeout_s: float = 60.0) -> bool:
    until_s = time.monotonic() + timeout_s
    while not done() and time.monotonic() < until_s:
        time.sleep(0.05)
    return done()


def depth(aws: LocalAws, url: str) -> int:
    shown = aws.sqs().get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    kinds = ("", "NotVisible", "Delayed")
    return sum(int(shown[f"ApproximateNumberOfMessages{kind}"]) for kind in kinds)


def outbox_of(consumer: Consumer) -> dict[str, Any]:
    return cast(dict[str, Any], consumer.steering.state()["outbox"])


@pytest.mark.slow
def test_a_worker_posts_later_what_a_receiver_did_not_take(
    aws: LocalAws, tmp_path: Path, tiny_models: Path
) -> None:
    work, outbox = aws.create_queue("work"), aws.create_queue("work-outbox")
    photo = sample_media.make_image(tmp_path / "a.jpg", width=160, height=160)
    aws.put_object("media", "a.jpg", photo.read_bytes())
    settings = settings_of(aws, outbox.queue_url, folder=tmp_path, models=tiny_models)
    consumer = Consumer(settings, ConsumerSettings(queue_url=work.queue_url, wait_time_s=1))
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(consumer.run()))
    thread.start()
    paths = {f"r{n}": ("/flaky/1" if n % 2 else "/ok") for n in range(6)}
    aws.send(
        work.queue_url,
        [
            json.dumps(
                {
                    "sqs_to_ml_url": "s3://media/a.jpg",
                    "request_id": request_id,
                    "callback_url": aws.callback_url(f"{path}/{request_id}"),
                }
            )
            for request_id, path in paths.items()
        ],
    )
    try:
        assert eventually(lambda: depth(aws, work.queue_url) == 0)
        assert eventually(lambda: depth(aws, outbox.queue_url) == 0)
        state = consumer.steering.state()
    finally:
        consumer.request_stop()
        thread.join(60)

    assert codes == [0]
    assert state["outbox"] == {
        "queue_url": outbox.queue_url,
        "sending": True,
        "in_flight": 0,
        "open_circuits": 0,
        "open_hosts": [],
        "last_error": None,
    }
    assert consumer.steering.liveness()["outbox"] is True
    posted = aws.callbacks()
    accepted = {json.loads(c.body)["request_id"]: c for c in posted if c.accepted}
    assert accepted.keys() == paths.keys()
    refused = [c for c in posted if not c.accepted]
    assert len(refused) == 3
    for callback in refused:
        later = accepted[json.loads(callback.body)["request_id"]]
        assert later.body == callback.body
        assert later.headers["webhook-id"] == callback.headers["webhook-id"]
        assert later.at_s - callback.at_s >= 5.0
    assert depth(aws, work.dlq_url) == depth(aws, outbox.dlq_url) == 0


def test_a_drain_holds_back_the_outbox_too(
    aws: LocalAws, tmp_path: Path, tiny_models: Path
) -> None:
    outbox = aws.create_queue("drained-outbox")
    settings = settings_of(aws, outbox.queue_url, folder=tmp_path, models=tiny_models)
    consumer = Consumer(settings, ConsumerSettings(queue_url="http://sqs.test/1/work"))

    consumer.steering.drain()
    assert outbox_of(consumer)["sending"] is False
    consumer.steering.resume()
    assert outbox_of(consumer)["sending"] is True


@pytest.mark.parametrize(
    ("url", "said"),
    [
        pytest.param("http://sqs.test/1/work", "must be a queue of its own", id="work queue"),
        pytest.param("http://sqs.test/1/work/", "must be a queue of its own", id="with a slash"),
        pytest.param("http://SQS.test/1/dead", "must be a queue of its own", id="dead letters"),
        pytest.param("http://sqs.test/1/o.fifo", "cannot be a FIFO queue", id="FIFO"),
    ],
)
def test_a_queue_that_cannot_be_an_outbox_is_refused(
    aws: LocalAws, tmp_path: Path, tiny_models: Path, url: str, said: str
) -> None:
    settings = settings_of(aws, url, folder=tmp_path, models=tiny_models)
    consumer = ConsumerSettings(
        queue_url="http://sqs.test/1/work", dead_letter_queue_url="http://sqs.test/1/dead"
    )

    with pytest.raises(UsageError, match=said):
        Consumer(settings, consumer)
    without = Consumer(replace(settings, results=ResultSettings()), consumer)
    assert "outbox" not in without.steering.state()
