"""SQS as tools for dead letters and outboxes use it: the same on ours and on moto."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from detection_testing.aws.faults import Fault
from detection_testing.aws.local_aws import LocalAws


@pytest.fixture
def sqs(client: Callable[[str], Any]) -> Any:
    return client("sqs")


def queue_of(sqs: Any, name: str, **attributes: str) -> str:
    url: str = sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
    return url


def counts(sqs: Any, url: str) -> tuple[int, int, int]:
    """Visible, in flight and delayed messages."""
    shown = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    names = ("", "NotVisible", "Delayed")
    visible, in_flight, delayed = (int(shown[f"ApproximateNumberOfMessages{n}"]) for n in names)
    return visible, in_flight, delayed


def code_of(call: Callable[[], object]) -> str:
    with pytest.raises(ClientError) as caught:
        call()
    code: str = caught.value.response["Error"]["Code"]
    return code


def test_each_message_and_each_entry_may_have_its_own_delay(sqs: Any, name: str) -> None:
    url = queue_of(sqs, f"delays-{name}", DelaySeconds="900")

    sqs.send_message(QueueUrl=url, MessageBody="the queue's")
    sqs.send_message(QueueUrl=url, MessageBody="none", DelaySeconds=0)
    entries = [
        {"Id": "a", "MessageBody": "long", "DelaySeconds": 900},
        {"Id": "b", "MessageBody": "none", "DelaySeconds": 0},
    ]
    sqs.send_message_batch(QueueUrl=url, Entries=entries)

    assert counts(sqs, url) == (2, 0, 2)


def test_a_delay_is_at_most_15_minutes(sqs: Any, name: str) -> None:
    url = queue_of(sqs, f"delays-{name}")

    assert (
        code_of(lambda: sqs.send_message(QueueUrl=url, MessageBody="m", DelaySeconds=901))
        == "InvalidParameterValue"
    )


def test_a_queue_may_take_only_short_messages(sqs: Any, name: str) -> None:
    url = queue_of(sqs, f"short-{name}", MaximumMessageSize="1024")

    sqs.send_message(QueueUrl=url, MessageBody="x" * 1024)

    assert (
        code_of(lambda: sqs.send_message(QueueUrl=url, MessageBody="x" * 1025))
        == "InvalidParameterValue"
    )
    assert counts(sqs, url)[0] == 1


def test_the_queues_of_a_dead_letter_queue_are_listed(sqs: Any, name: str) -> None:
    dead_url = queue_of(sqs, f"dead-{name}")
    dead = sqs.get_queue_attributes(QueueUrl=dead_url, AttributeNames=["QueueArn"])["Attributes"]
    policy = {"deadLetterTargetArn": dead["QueueArn"], "maxReceiveCount": 3}
    urls = [queue_of(sqs, f"{n}-{name}", RedrivePolicy=json.dumps(policy)) for n in "ab"]

    found = sqs.list_dead_letter_source_queues(QueueUrl=dead_url)["queueUrls"]

    assert sorted(url.rpartition("/")[2] for url in found) == [f"a-{name}", f"b-{name}"]
    assert len(urls) == 2
    assert sqs.list_dead_letter_source_queues(QueueUrl=urls[0])["queueUrls"] == []


def test_a_purge_takes_delayed_messages_and_those_in_flight_too(sqs: Any, name: str) -> None:
    url = queue_of(sqs, f"purged-{name}")
    sqs.send_message(QueueUrl=url, MessageBody="in flight")
    sqs.receive_message(QueueUrl=url, VisibilityTimeout=600)
    sqs.send_message(QueueUrl=url, MessageBody="visible")
    sqs.send_message(QueueUrl=url, MessageBody="delayed", DelaySeconds=600)
    before = counts(sqs, url)

    sqs.purge_queue(QueueUrl=url)

    assert before == (1, 1, 1)
    assert "Messages" not in sqs.receive_message(QueueUrl=url)


class TestStrict:
    """What moto does not do as SQS does, and what tests ask the local AWS for."""

    @pytest.fixture
    def sqs(self, aws: LocalAws) -> Any:
        return aws.sqs()

    def test_attributes_count_in_a_message(self, sqs: Any, name: str) -> None:
        url = queue_of(sqs, f"short-{name}", MaximumMessageSize="1024")
        large = {"a": {"DataType": "String", "StringValue": "x" * 1000}}

        assert (
            code_of(
                lambda: sqs.send_message(
                    QueueUrl=url, MessageBody="x" * 100, MessageAttributes=large
                )
            )
            == "InvalidParameterValue"
        )

    def test_a_negative_delay_is_refused(self, sqs: Any, name: str) -> None:
        url = queue_of(sqs, f"delays-{name}")

        assert (
            code_of(lambda: sqs.send_message(QueueUrl=url, MessageBody="m", DelaySeconds=-1))
            == "InvalidParameterValue"
        )

    def test_a_second_purge_within_a_minute_is_refused(
        self, aws: LocalAws, sqs: Any, name: str
    ) -> None:
        url = queue_of(sqs, f"purged-{name}")
        sqs.purge_queue(QueueUrl=url)

        assert code_of(lambda: sqs.purge_queue(QueueUrl=url)) == (
            "AWS.SimpleQueueService.PurgeQueueInProgress"
        )
        aws.advance(61)
        sqs.purge_queue(QueueUrl=url)

    def test_entries_of_a_batch_may_fail_alone(self, aws: LocalAws, sqs: Any, name: str) -> None:
        url = queue_of(sqs, f"partial-{name}")
        aws.inject(
            Fault(operation="sqs.SendMessageBatch", kind="partial", code="KmsDisabled", count=1)
        )
        entries = [{"Id": f"e{n}", "MessageBody": "m"} for n in range(3)]

        answer = sqs.send_message_batch(QueueUrl=url, Entries=entries)

        assert [e["Id"] for e in answer["Successful"]] == ["e1", "e2"]
        [failed] = answer["Failed"]
        assert (failed["Id"], failed["Code"]) == ("e0", "KMS.DisabledException")
        assert failed["SenderFault"]
        assert counts(sqs, url)[0] == 2
