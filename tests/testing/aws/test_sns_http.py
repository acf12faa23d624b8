"""SNS as boto3 sees it: the same on the strict local AWS and on moto."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from detection_testing.aws.faults import Fault
from detection_testing.aws.local_aws import LocalAws

ATTRIBUTES = {
    "verdict": {"DataType": "String", "StringValue": "fake"},
    "score": {"DataType": "Number", "StringValue": "0.75"},
}


class Site:
    """A topic with a queue, of one of the two implementations."""

    def __init__(self, client: Callable[[str], Any], name: str, *, fifo: bool = False) -> None:
        self.sns, self.sqs = client("sns"), client("sqs")
        end, kind = (".fifo", {"FifoQueue": "true"}) if fifo else ("", {})
        topic_kind = {"FifoTopic": "true"} if fifo else {}
        self.queue_url = self.sqs.create_queue(QueueName=f"sns-{name}{end}", Attributes=kind)[
            "QueueUrl"
        ]
        self.queue_arn = self.sqs.get_queue_attributes(
            QueueUrl=self.queue_url, AttributeNames=["QueueArn"]
        )["Attributes"]["QueueArn"]
        self.topic_arn = self.sns.create_topic(Name=f"topic-{name}{end}", Attributes=topic_kind)[
            "TopicArn"
        ]

    def subscribe(self, **attributes: str) -> str:
        arn: str = self.sns.subscribe(
            TopicArn=self.topic_arn,
            Protocol="sqs",
            Endpoint=self.queue_arn,
            Attributes=attributes,
            ReturnSubscriptionArn=True,
        )["SubscriptionArn"]
        return arn

    def received(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        while messages := self.sqs.receive_message(
            QueueUrl=self.queue_url,
            MaxNumberOfMessages=10,
            MessageAttributeNames=["All"],
            MessageSystemAttributeNames=["All"],
        ).get("Messages"):
            found += messages
            for message in messages:
                self.sqs.delete_message(
                    QueueUrl=self.queue_url, ReceiptHandle=message["ReceiptHandle"]
                )
        return found


@pytest.fixture
def site(client: Callable[[str], Any], name: str) -> Site:
    return Site(client, name)


@pytest.fixture
def fifo(client: Callable[[str], Any], name: str) -> Site:
    return Site(client, name, fifo=True)


def code_of(call: Callable[[], object]) -> tuple[str, int]:
    with pytest.raises(ClientError) as caught:
        call()
    response = caught.value.response
    return response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]


def test_raw_delivery_hands_text_and_attributes_over_as_they_are(site: Site) -> None:
    site.subscribe(RawMessageDelivery="true")

    site.sns.publish(TopicArn=site.topic_arn, Message='{"a": "é"}', MessageAttributes=ATTRIBUTES)

    [message] = site.received()
    assert message["Body"] == '{"a": "é"}'
    assert message["MessageAttributes"] == ATTRIBUTES


def test_without_it_a_message_comes_in_an_envelope(site: Site) -> None:
    site.subscribe()

    published = site.sns.publish(
        TopicArn=site.topic_arn, Message="text", Subject="about", MessageAttributes=ATTRIBUTES
    )

    envelope = json.loads(site.received()[0]["Body"])
    assert (envelope["Type"], envelope["MessageId"]) == ("Notification", published["MessageId"])
    assert (envelope["TopicArn"], envelope["Message"]) == (site.topic_arn, "text")
    assert envelope["Subject"] == "about"
    assert envelope["Timestamp"].endswith("Z")
    assert envelope["MessageAttributes"]["verdict"] == {"Type": "String", "Value": "fake"}


def test_a_batch_is_answered_entry_by_entry(site: Site) -> None:
    site.subscribe(RawMessageDelivery="true")
    entries = [
        {"Id": f"e{n}", "Message": f"m{n}", "MessageAttributes": ATTRIBUTES} for n in range(10)
    ]

    answer = site.sns.publish_batch(TopicArn=site.topic_arn, PublishBatchRequestEntries=entries)

    assert [entry["Id"] for entry in answer["Successful"]] == [f"e{n}" for n in range(10)]
    assert not answer["Failed"]
    received = site.received()
    assert sorted(m["Body"] for m in received) == [f"m{n}" for n in range(10)]
    assert all(m["MessageAttributes"] == ATTRIBUTES for m in received)


@pytest.mark.parametrize(
    ("policy", "wanted"),
    [
        pytest.param({"verdict": ["fake", "real"]}, True, id="one of several"),
        pytest.param({"verdict": ["real"]}, False, id="another value"),
        pytest.param({"verdict": [{"prefix": "fa"}]}, True, id="a prefix"),
        pytest.param({"verdict": [{"anything-but": ["real"]}]}, True, id="not that"),
        pytest.param({"verdict": [{"anything-but": ["fake"]}]}, False, id="not this"),
        pytest.param({"other": [{"exists": False}]}, True, id="one that is missing"),
        pytest.param({"verdict": ["fake"], "other": ["x"]}, False, id="all of them"),
        pytest.param({"score": [0.75]}, True, id="a number"),
    ],
)
def test_a_subscriber_gets_what_its_policy_lets_through(
    site: Site, policy: dict[str, Any], *, wanted: bool
) -> None:
    site.subscribe(RawMessageDelivery="true", FilterPolicy=json.dumps(policy))

    site.sns.publish(TopicArn=site.topic_arn, Message="m", MessageAttributes=ATTRIBUTES)

    assert len(site.received()) == wanted


def test_a_fifo_topic_keeps_groups_and_drops_what_comes_twice(fifo: Site) -> None:
    fifo.subscribe(RawMessageDelivery="true")
    publish = {"TopicArn": fifo.topic_arn, "MessageGroupId": "g"}

    for number in (1, 1, 2):
        fifo.sns.publish(**publish, Message=f"m{number}", MessageDeduplicationId=f"d{number}")

    received = fifo.received()
    assert [m["Body"] for m in received] == ["m1", "m2"]
    assert {m["Attributes"]["MessageGroupId"] for m in received} == {"g"}
    assert [m["Attributes"]["MessageDeduplicationId"] for m in received] == ["d1", "d2"]


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        pytest.param(
            lambda site: site.sns.publish(TopicArn=f"{site.topic_arn}-no", Message="m"),
            ("NotFound", 404),
            id="no such topic",
        ),
        pytest.param(
            lambda site: site.sns.publish(TopicArn=site.topic_arn, Message="x" * 262_145),
            ("InvalidParameter", 400),
            id="over 256 KiB",
        ),
        pytest.param(
            lambda site: site.sns.publish_batch(
                TopicArn=site.topic_arn,
                PublishBatchRequestEntries=[{"Id": f"{n}", "Message": "m"} for n in range(11)],
            ),
            ("TooManyEntriesInBatchRequest", 400),
            id="eleven at once",
        ),
        pytest.param(
            lambda site: site.sns.publish_batch(
                TopicArn=site.topic_arn,
                PublishBatchRequestEntries=[{"Id": "a", "Message": "m"}] * 2,
            ),
            ("BatchEntryIdsNotDistinct", 400),
            id="one id twice",
        ),
    ],
)
def test_errors_have_the_codes_of_sns(
    site: Site, call: Callable[[Site], object], expected: tuple[str, int]
) -> None:
    assert code_of(lambda: call(site)) == expected


class TestStrict:
    """What moto does not do as SNS does, and what tests ask the local AWS for."""

    @pytest.fixture
    def client(self, aws: LocalAws) -> Callable[[str], Any]:
        return lambda service: {"sns": aws.sns(), "sqs": aws.sqs()}[service]

    def test_a_batch_of_more_than_256_kib_is_refused(self, site: Site) -> None:
        entries = [{"Id": f"{n}", "Message": "x" * 30_000} for n in range(9)]

        assert code_of(
            lambda: site.sns.publish_batch(
                TopicArn=site.topic_arn, PublishBatchRequestEntries=entries
            )
        ) == ("BatchRequestTooLong", 400)

    def test_a_raw_message_with_more_than_ten_attributes_is_thrown_away(self, site: Site) -> None:
        site.subscribe(RawMessageDelivery="true")
        many = {f"a{n}": ATTRIBUTES["verdict"] for n in range(11)}

        site.sns.publish(TopicArn=site.topic_arn, Message="m", MessageAttributes=many)

        assert site.received() == []

    def test_entries_of_a_batch_may_fail_alone(self, aws: LocalAws, site: Site) -> None:
        site.subscribe(RawMessageDelivery="true")
        aws.inject(Fault(operation="sns.PublishBatch", kind="partial", entries=2, count=1))
        entries = [{"Id": f"e{n}", "Message": f"m{n}"} for n in range(3)]

        answer = site.sns.publish_batch(
            TopicArn=site.topic_arn, PublishBatchRequestEntries=entries
        )

        assert [e["Id"] for e in answer["Successful"]] == ["e2"]
        assert [(e["Id"], e["Code"], e["SenderFault"]) for e in answer["Failed"]] == [
            ("e0", "InternalError", False),
            ("e1", "InternalError", False),
        ]
        assert [m["Body"] for m in site.received()] == ["m2"]

    @pytest.mark.parametrize(
        ("kind", "code", "status"),
        [
            ("error", "InternalError", 500),
            ("throttle", "Throttled", 429),
            ("access_denied", "AuthorizationError", 403),
            ("not_found", "NotFound", 404),
            ("kms_denied", "KMSAccessDenied", 400),
        ],
    )
    def test_a_fault_speaks_as_sns(
        self, aws: LocalAws, site: Site, kind: Any, code: str, status: int
    ) -> None:
        aws.inject(Fault(operation="sns.Publish", kind=kind, count=1))

        assert code_of(lambda: site.sns.publish(TopicArn=site.topic_arn, Message="m")) == (
            code,
            status,
        )

    def test_what_was_published_can_be_read_back(self, aws: LocalAws, fifo: Site) -> None:
        since = len(aws.published())
        fifo.subscribe(RawMessageDelivery="true")
        publish = {"TopicArn": fifo.topic_arn, "MessageGroupId": "g", "Message": "m"}
        for _ in range(2):
            fifo.sns.publish(**publish, MessageDeduplicationId="d", MessageAttributes=ATTRIBUTES)

        first, second = aws.published(since=since)

        assert first.message_id == second.message_id
        assert (first.message, first.attributes["verdict"]) == ("m", "fake")
        assert first.deduplication_id == "d"
        assert (len(first.queues), second.queues) == (1, [])

    def test_only_a_queue_that_exists_can_subscribe(self, site: Site) -> None:
        site.queue_arn += "-no"

        assert code_of(site.subscribe) == ("InvalidParameter", 400)
