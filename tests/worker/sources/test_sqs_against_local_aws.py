"""The source against a strict SQS: what the scripted answers of the other file cannot prove."""

from collections.abc import Iterator
from contextlib import closing

import boto3
import pytest

from detection_testing.aws.faults import Fault
from detection_testing.aws.local_aws import LocalAws, Queues
from detection_worker.aws_session import make_session
from detection_worker.settings import AwsSettings
from detection_worker.sources.base import EntryFailure, QueueError, VisibilityChange
from detection_worker.sources.sqs import SqsSource


@pytest.fixture(scope="module")
def local() -> Iterator[LocalAws]:
    with LocalAws.in_thread() as running:
        yield running


@pytest.fixture(scope="module")
def local_session(local: LocalAws) -> boto3.Session:
    return make_session(settings_of(local))


@pytest.fixture
def queues(local: LocalAws, request: pytest.FixtureRequest) -> Iterator[Queues]:
    yield local.create_queue(request.node.name[-60:], max_receive_count=3)
    local.clear_faults()


@pytest.fixture
def source(local: LocalAws, local_session: boto3.Session, queues: Queues) -> Iterator[SqsSource]:
    with closing(new_source(local, local_session, queues.queue_url)) as made:
        yield made


def settings_of(local: LocalAws) -> AwsSettings:
    return AwsSettings(
        access_key_id=local.credentials.access_key_id,
        secret_access_key=local.credentials.secret_access_key,
        endpoint_url=local.endpoint_url,
    )


def new_source(local: LocalAws, session: boto3.Session, queue_url: str) -> SqsSource:
    return SqsSource(session, settings_of(local), queue_url, wait_time_s=1)


def test_ten_messages_are_received_and_deleted_in_two_calls(
    local: LocalAws, source: SqsSource, queues: Queues
) -> None:
    ids = local.send(queues.queue_url, [f"body {number}" for number in range(10)])
    before = local.stats()["requests"]

    messages = source.receive(max_messages=10, wait_s=1, visibility_s=30)
    failures = source.delete([(each.message_id, each.receipt_handle) for each in messages])

    after = local.stats()["requests"]
    assert {each.message_id for each in messages} == set(ids)
    assert all(each.receive_count == 1 and each.sent_at_s for each in messages)
    assert failures == []
    assert source.facts().visible == source.facts().in_flight == 0
    assert after["sqs.ReceiveMessage"] - before.get("sqs.ReceiveMessage", 0) == 1
    assert after["sqs.DeleteMessageBatch"] - before.get("sqs.DeleteMessageBatch", 0) == 1


def test_an_extended_message_stays_and_a_released_one_comes_back_at_once(
    local: LocalAws, source: SqsSource, queues: Queues
) -> None:
    local.send(queues.queue_url, ["a", "b"])
    held, released = source.receive(max_messages=10, wait_s=1, visibility_s=30)

    failures = source.change_visibility(
        [
            VisibilityChange(
                message_id=held.message_id, receipt_handle=held.receipt_handle, seconds=600
            ),
            VisibilityChange(
                message_id=released.message_id, receipt_handle=released.receipt_handle, seconds=0
            ),
        ]
    )
    local.advance(60)
    (again,) = source.receive(max_messages=10, wait_s=1, visibility_s=30)

    assert failures == []
    assert again.message_id == released.message_id
    assert again.receive_count == 2


def test_a_message_that_is_visible_again_is_lost_to_its_old_holder(
    local: LocalAws, source: SqsSource, queues: Queues
) -> None:
    local.send(queues.queue_url, ["a"])
    (message,) = source.receive(max_messages=1, wait_s=1, visibility_s=30)
    local.advance(31)

    failures = source.change_visibility(
        [
            VisibilityChange(
                message_id=message.message_id,
                receipt_handle=message.receipt_handle,
                seconds=30,
            )
        ]
    )

    assert [(each.message_id, each.lost) for each in failures] == [(message.message_id, True)]


def test_an_extension_beyond_twelve_hours_fails_without_losing_the_message(
    local: LocalAws, source: SqsSource, queues: Queues
) -> None:
    local.send(queues.queue_url, ["a"])
    (message,) = source.receive(max_messages=1, wait_s=1, visibility_s=30)
    local.advance(10)

    failures = source.change_visibility(
        [
            VisibilityChange(
                message_id=message.message_id,
                receipt_handle=message.receipt_handle,
                seconds=43_200,
            )
        ]
    )

    assert failures == [
        EntryFailure(message_id=message.message_id, code="InvalidParameterValue", lost=False)
    ]


def test_a_foreign_handle_is_lost(source: SqsSource) -> None:
    (failure,) = source.delete([("m", "no handle at all")])

    assert failure.lost


def test_a_dead_letter_arrives_where_the_redrive_policy_points(
    local: LocalAws, local_session: boto3.Session, source: SqsSource, queues: Queues
) -> None:
    local.send(queues.queue_url, ["not json"])
    (message,) = source.receive(max_messages=1, wait_s=1, visibility_s=30)
    facts = source.facts()
    assert facts.dead_letter_queue_url == queues.dlq_url
    assert facts.max_receive_count == 3

    source.dead_letter(message, queue_url=queues.dlq_url, code="bad_json", reason="a\x00b")
    with closing(new_source(local, local_session, queues.dlq_url)) as dead:
        (copy,) = dead.receive(max_messages=1, wait_s=1, visibility_s=30)

    assert copy.body == "not json"
    assert {name: a.value for name, a in copy.attributes.items()} == {
        "DetectionErrorCode": "bad_json",
        "DetectionErrorReason": "a?b",
        "DetectionMessageId": message.message_id,
        "DetectionSourceQueue": queues.queue_url,
    }


def test_a_dead_letter_carries_what_its_message_carried(
    local: LocalAws, local_session: boto3.Session, source: SqsSource, queues: Queues
) -> None:
    local.sqs().send_message(
        QueueUrl=queues.queue_url,
        MessageBody="{}",
        MessageGroupId="tenant-7",
        MessageAttributes={
            "bin": {"DataType": "Binary", "BinaryValue": b"\x00\xff"},
            "num": {"DataType": "Number", "StringValue": "42"},
            "id": {"DataType": "String.UUID", "StringValue": "u-1"},
        },
        MessageSystemAttributes={
            "AWSTraceHeader": {"DataType": "String", "StringValue": "Root=1-2-3"}
        },
    )
    (message,) = source.receive(max_messages=1, wait_s=1, visibility_s=30)

    source.dead_letter(message, queue_url=queues.dlq_url, code="c", reason="r")
    with closing(new_source(local, local_session, queues.dlq_url)) as dead:
        (copy,) = dead.receive(max_messages=1, wait_s=1, visibility_s=30)

    carried = {n: a for n, a in copy.attributes.items() if not n.startswith("Detection")}
    assert carried == message.attributes
    assert carried["bin"].value == b"\x00\xff"
    assert (copy.group_id, copy.trace_header) == ("tenant-7", "Root=1-2-3")


@pytest.mark.parametrize("body_chars", [262_000, 262_144])
def test_a_long_message_fits_a_dead_letter_queue_of_the_old_size(
    local: LocalAws, local_session: boto3.Session, body_chars: int
) -> None:
    queues = local.create_queue(f"old-{body_chars}")
    local.sqs().set_queue_attributes(
        QueueUrl=queues.dlq_url, Attributes={"MaximumMessageSize": "262144"}
    )
    local.send(queues.queue_url, ["x" * body_chars])
    with (
        closing(new_source(local, local_session, queues.queue_url)) as source,
        closing(new_source(local, local_session, queues.dlq_url)) as dead,
    ):
        (message,) = source.receive(max_messages=1, wait_s=1, visibility_s=30)
        source.dead_letter(message, queue_url=queues.dlq_url, code="c", reason="r" * 600)
        (copy,) = dead.receive(max_messages=1, wait_s=1, visibility_s=30)

    assert copy.body == message.body
    assert ("DetectionErrorCode" in copy.attributes) == (body_chars < 262_144)


def test_a_fifo_message_keeps_its_group_when_it_dies_and_dies_once(
    local: LocalAws, local_session: boto3.Session
) -> None:
    queues = local.create_queue("ordered.fifo", attributes={"FifoQueue": "true"})
    local.sqs().send_message(
        QueueUrl=queues.queue_url, MessageBody="b", MessageGroupId="g", MessageDeduplicationId="1"
    )
    with (
        closing(new_source(local, local_session, queues.queue_url)) as source,
        closing(new_source(local, local_session, queues.dlq_url)) as dead,
    ):
        (message,) = source.receive(max_messages=1, wait_s=1, visibility_s=30)
        for _ in range(2):
            source.dead_letter(message, queue_url=queues.dlq_url, code="c", reason="r")
        copies = dead.receive(max_messages=10, wait_s=0, visibility_s=30)

    assert [(copy.body, copy.group_id) for copy in copies] == [("b", "g")]


def test_a_throttled_delete_is_repeated_until_it_is_done(
    local: LocalAws, source: SqsSource, queues: Queues
) -> None:
    local.send(queues.queue_url, ["a"])
    (message,) = source.receive(max_messages=1, wait_s=1, visibility_s=30)
    local.inject(Fault(operation="sqs.DeleteMessageBatch", kind="throttle", count=1))

    failures = source.delete([(message.message_id, message.receipt_handle)])

    assert failures == []
    assert source.facts().in_flight == 0


def test_a_queue_that_does_not_exist_is_fatal(
    local: LocalAws, local_session: boto3.Session, queues: Queues
) -> None:
    url = queues.queue_url + "-gone"
    with (
        closing(new_source(local, local_session, url)) as source,
        pytest.raises(QueueError, match="SQS queue does not exist: ") as caught,
    ):
        source.facts()

    assert caught.value.fatal
    assert url in str(caught.value)


def test_keys_that_aws_does_not_know_are_fatal(local: LocalAws, queues: Queues) -> None:
    aws = AwsSettings(
        access_key_id="AKIAUNKNOWN", secret_access_key="x", endpoint_url=local.endpoint_url
    )
    with (
        closing(SqsSource(make_session(aws), aws, queues.queue_url, wait_time_s=1)) as source,
        pytest.raises(QueueError, match="AWS credentials do not work") as caught,
    ):
        source.facts()

    assert caught.value.fatal
