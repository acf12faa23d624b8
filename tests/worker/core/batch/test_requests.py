"""Messages for objects: ids that are the same again, bodies that workers take, prices."""

import json

import pytest

from detection_contract.messages import parse_body
from detection_worker.core.batch.objects import StoredObject
from detection_worker.core.batch.requests import outgoing, request_id_of, send_cost


def test_the_same_object_has_the_same_id_and_another_version_another() -> None:
    first = StoredObject(bucket="media", key="a.mp4", etag="1", size_bytes=5)
    ids = [
        request_id_of(each)
        for each in (
            first,
            StoredObject(bucket="media", key="a.mp4", etag="1"),
            StoredObject(bucket="media", key="a.mp4", etag="2"),
            StoredObject(bucket="media", key="a.mp4", etag="1", version_id="v"),
            StoredObject(bucket="media", key="a.mp4"),
            StoredObject(bucket="medi", key="aa.mp4", etag="1"),
        )
    ]

    assert ids[0] == ids[1]
    assert len(set(ids)) == 5
    # Written down: a later release must not rename requests.
    assert ids[0] == "49f0bb6d-ab99-5ebc-b31a-f01b1498c7b6"


@pytest.mark.parametrize("key", ["a b.mp4", "a+b.mp4", "ünï/日本.mp4", "a%20b.mp4", "a#b?c.mp4"])
def test_a_worker_takes_the_message_and_finds_the_object(key: str) -> None:
    item = StoredObject(bucket="media", key=key, version_id="v1")
    message = outgoing(item, callback_url="https://x.example/y", threshold=0.7)
    [request] = parse_body(message.body).requests

    assert (request.location.bucket, request.location.key) == ("media", key)
    assert request.location.version_id == "v1"
    assert request.request_id == request_id_of(item) == message.group_id
    assert (request.callback_url, request.confidence_threshold) == ("https://x.example/y", 0.7)
    assert message.url == f"s3://media/{key}?versionId=v1"


def test_what_was_not_given_is_left_to_the_worker() -> None:
    message = outgoing(StoredObject(bucket="media", key="a.mp4"))

    assert json.loads(message.body).keys() == {"sqs_to_ml_url", "request_id"}


def test_another_threshold_is_no_duplicate_for_a_fifo_queue() -> None:
    item = StoredObject(bucket="media", key="a.mp4")
    ids = {outgoing(item, threshold=t).deduplication_id for t in (None, 0.5, 0.5, 0.6)}

    assert len(ids) == 3
    assert {len(i) for i in ids} == {64}  # SQS takes 128 characters


def test_a_key_that_no_url_names_is_an_error() -> None:
    with pytest.raises(ValueError, match="no URL names"):
        outgoing(StoredObject(bucket="media", key="a\nb.mp4"))


@pytest.mark.parametrize(
    ("messages", "fifo", "requests", "usd"),
    [
        (0, False, 0, 0.0),
        (1, False, 1, 4e-7),
        (10, True, 1, 5e-7),
        (10_000_001, False, 1_000_001, 0.4),
    ],
)
def test_ten_messages_are_one_request(
    messages: int, *, fifo: bool, requests: int, usd: float
) -> None:
    count, price = send_cost(messages, fifo=fifo)

    assert count == requests
    assert price == pytest.approx(usd, rel=1e-5)
