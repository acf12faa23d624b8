"""Destinations that refuse, throttle or vanish: the message waits, and nobody is told twice."""

import json
from typing import Any

import pytest

from detection_testing.aws.faults import Fault

LASTING = ("access_denied", "not_found", "kms_denied", "wrong_region", "clock_skew")
"""Faults that every other result would meet too."""
PASSING = ("throttle", "error", "conflict", "reset", "drop_response")


@pytest.fixture
def waiting(scene: Any) -> Any:
    """A message for a worker with every destination."""
    scene.options = [
        *("--results", f"s3://{scene.name}-results/"),
        *("--on-success", scene.destinations),
        *("--max-backoff", "1"),
    ]
    scene.send()
    yield scene
    scene.aws.clear_faults()


def check_that_all_is_well(scene: Any) -> None:
    """The result is everywhere, always with the same bytes, and no message is left."""
    webhook_id = f"msg_{scene.message_id}_0"
    [envelope] = scene.stored()
    assert {c.body for c in scene.posted()} == {envelope}
    assert {c.headers["webhook-id"] for c in scene.posted()} == {webhook_id}
    for inbox in range(3):
        [told] = {scene.parsed(text) for text in scene.notifications(inbox)}
        assert json.loads(told)["result"] == json.loads(envelope)
    assert scene.left(scene.queue_url) == scene.left(scene.dlq_url) == 0


@pytest.mark.parametrize("kind", LASTING)
def test_a_store_that_refuses_everything_stops_the_worker(waiting: Any, kind: Any) -> None:
    waiting.aws.inject(Fault(operation="s3.PutObject", kind=kind))
    assert waiting.run() == 1
    assert waiting.seen()[2:] == (0, 0, 0, 0)
    assert waiting.left(waiting.queue_url) == 1
    assert "receiving is paused until results can be stored again" in waiting.log()

    waiting.aws.clear_faults()
    waiting.wait()
    assert waiting.run() == 0, waiting.log()
    check_that_all_is_well(waiting)


@pytest.mark.parametrize("kind", PASSING)
def test_a_store_that_recovers_at_once_costs_nothing(waiting: Any, kind: Any) -> None:
    waiting.aws.inject(Fault(operation="s3.PutObject", kind=kind, count=1))

    assert waiting.run() == 0, waiting.log()
    assert waiting.seen() == (1, 1, 1, 1, 1, 1)
    check_that_all_is_well(waiting)


@pytest.mark.parametrize("kind", ["throttle", "error"])
def test_a_store_that_stays_busy_keeps_the_message_not_the_worker(waiting: Any, kind: Any) -> None:
    waiting.aws.inject(Fault(operation="s3.PutObject", kind=kind))
    assert waiting.run() == 1
    assert waiting.seen()[2:] == (0, 0, 0, 0)
    assert "receiving is paused" not in waiting.log()

    waiting.aws.clear_faults()
    waiting.wait()
    assert waiting.run() == 0, waiting.log()
    check_that_all_is_well(waiting)


PUBLISHING = ("sns.PublishBatch", "sqs.SendMessageBatch", "events.PutEvents")


@pytest.mark.parametrize("operation", PUBLISHING)
@pytest.mark.parametrize("kind", ["access_denied", "clock_skew"])
def test_a_destination_that_refuses_notifications_stops_the_worker(
    waiting: Any, operation: str, kind: Any
) -> None:
    waiting.aws.inject(Fault(operation=operation, kind=kind))
    assert waiting.run() == 1
    assert waiting.posted() == []
    assert sorted(waiting.seen()[2:5]) == [0, 1, 1]
    assert "receiving is paused until notifications can be published again" in waiting.log()

    waiting.aws.clear_faults()
    waiting.wait()
    assert waiting.run() == 0, waiting.log()
    assert waiting.seen().inferences == 1
    check_that_all_is_well(waiting)


@pytest.mark.parametrize("operation", PUBLISHING)
@pytest.mark.parametrize("kind", ["throttle", "error", "reset"])
def test_a_destination_that_recovers_at_once_costs_nothing(
    waiting: Any, operation: str, kind: Any
) -> None:
    waiting.aws.inject(Fault(operation=operation, kind=kind, count=1))

    assert waiting.run() == 0, waiting.log()
    assert waiting.seen() == (1, 1, 1, 1, 1, 1)
    check_that_all_is_well(waiting)


@pytest.mark.parametrize("operation", PUBLISHING[:2])
@pytest.mark.parametrize("kind", ["not_found", "kms_denied"])
def test_a_destination_that_is_gone_or_encrypted_keeps_the_message(
    waiting: Any, operation: str, kind: Any
) -> None:
    waiting.aws.inject(Fault(operation=operation, kind=kind))
    assert waiting.run() == 1
    assert waiting.posted() == []

    waiting.aws.clear_faults()
    waiting.wait()
    assert waiting.run() == 0, waiting.log()
    check_that_all_is_well(waiting)


@pytest.mark.parametrize("operation", PUBLISHING)
def test_an_answer_that_is_lost_repeats_the_same_notification(
    waiting: Any, operation: str
) -> None:
    """The service had it; the worker cannot know, and sends it again with the same id."""
    waiting.aws.inject(Fault(operation=operation, kind="drop_response", count=1))

    assert waiting.run() == 0, waiting.log()
    assert sorted(waiting.seen()[2:5]) == [1, 1, 2]
    check_that_all_is_well(waiting)


def test_a_bucket_of_another_account_gets_nothing(waiting: Any) -> None:
    waiting.options += ["--results-bucket-owner", "999999999999"]

    assert waiting.run() == 1
    assert waiting.stored() == []
    assert waiting.seen()[2:] == (0, 0, 0, 0)
    assert waiting.left(waiting.queue_url) == 1


def test_results_that_cannot_be_read_are_analysed_again(waiting: Any) -> None:
    """Without s3:GetObject a redelivery looks like a first delivery, and keeps what is stored."""
    assert waiting.run("after ResultStore.put") == -9
    [first] = waiting.stored()
    waiting.wait()
    waiting.aws.inject(
        Fault(operation="s3.GetObject", kind="access_denied", path=f"*{waiting.name}-results*")
    )
    waiting.run()

    waiting.aws.clear_faults()
    assert len(waiting.stored()) == 1
    assert waiting.seen().inferences == 2
    assert waiting.log().count("cannot be read") == 1
    assert {c.body for c in waiting.posted()} == set(waiting.stored())
    assert (
        json.loads(first)["prediction_score"]
        == json.loads(waiting.stored()[0])["prediction_score"]
    )
