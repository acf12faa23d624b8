"""What a feeder is told arrives as it was."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from detection_worker.pipeline.service.feeders.orders import (
    Begin,
    orders_of,
    packed,
    parse_begin,
    parse_orders,
)
from detection_worker.settings import (
    MIB,
    AwsSettings,
    CallbackSettings,
    ConsumerSettings,
    DataSettings,
    ResultSettings,
    Settings,
)
from detection_worker.sources.base import QueueFacts

CONSUMER = ConsumerSettings(queue_url="https://sqs.us-east-1.amazonaws.com/123456789012/q")
FULL = Settings(
    aws=AwsSettings(access_key_id="AKIA", secret_access_key="hidden", allowed_buckets=("a", "b*")),
    data=DataSettings(s3_cache_dir=Path("/tmp/ä b")),
    callback=CallbackSettings(
        signing_secrets=("whsec_" + "QUJD" * 12,), allowed_networks=("10.0.0.0/8",)
    ),
    results=ResultSettings(
        results_url="s3://bucket/results/",
        on_success=("arn:aws:sns:us-east-1:123456789012:done",),
    ),
    models_dir=Path("/models"),
    models_prefer=("a", "b"),
)


@pytest.mark.parametrize("settings", [Settings(), FULL], ids=["defaults", "everything"])
def test_orders_arrive_as_they_were(settings: Settings) -> None:
    orders = orders_of(settings, CONSUMER, decoders=4, index=1, feeders=2)

    assert parse_orders(json.loads(json.dumps(packed(orders)))) == orders


def test_the_word_to_begin_arrives_as_it_was() -> None:
    facts = QueueFacts(
        visibility_timeout_s=30,
        max_receive_count=None,
        dead_letter_queue_url=None,
        visible=1,
        in_flight=2,
        delayed=3,
        fifo=True,
    )
    begin = Begin(facts=facts, draining=True)

    assert parse_begin(json.loads(json.dumps(packed(begin)))) == begin


def test_feeders_share_disk_and_decoders_and_have_the_rest_each() -> None:
    consumer = replace(CONSUMER, max_bytes_in_flight=10 * MIB, max_in_flight=64)

    orders = [orders_of(FULL, consumer, decoders=5, index=i, feeders=2) for i in range(2)]

    assert [each.decoders for each in orders] == [3, 2]
    assert [each.consumer.max_bytes_in_flight for each in orders] == [5 * MIB, 5 * MIB]
    assert [replace(each.consumer, max_bytes_in_flight=10 * MIB) for each in orders] == [
        consumer,
        consumer,
    ]
    assert all(each.settings == FULL for each in orders)
