"""Events of objects, as S3 sends them to queues: the same on the strict S3 and on moto."""

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any
from urllib.parse import unquote_plus

import pytest
from botocore.exceptions import ClientError

from detection_contract.events import event_contents
from detection_testing.aws.local_aws import LocalAws

KEY = "uploads/two words+é.jpg"


class Site:
    """A bucket and a queue, of one of the two implementations."""

    def __init__(self, client: Callable[[str], Any], name: str) -> None:
        self.s3, self.sqs = client("s3"), client("sqs")
        self.bucket = f"events-{name}"
        self.s3.create_bucket(Bucket=self.bucket)
        self.queue_url = self.sqs.create_queue(QueueName=f"s3-events-{name}")["QueueUrl"]
        self.queue_arn = self.sqs.get_queue_attributes(
            QueueUrl=self.queue_url, AttributeNames=["QueueArn"]
        )["Attributes"]["QueueArn"]

    def configure(self, **configuration: Any) -> None:
        known = {"QueueArn": self.queue_arn, "Events": ["s3:ObjectCreated:*"]}
        self.s3.put_bucket_notification_configuration(
            Bucket=self.bucket,
            NotificationConfiguration={"QueueConfigurations": [{**known, **configuration}]},
        )

    def received(self) -> list[dict[str, Any]]:
        messages = self.sqs.receive_message(QueueUrl=self.queue_url, MaxNumberOfMessages=10)
        return [json.loads(m["Body"]) for m in messages.get("Messages", [])]

    def records(self) -> list[dict[str, Any]]:
        return [record for body in self.received() for record in body.get("Records", [])]


@pytest.fixture
def site(client: Callable[[str], Any], name: str) -> Site:
    return Site(client, name)


def test_an_object_that_is_put_is_told_of(site: Site) -> None:
    site.configure(Id="mine")

    put = site.s3.put_object(Bucket=site.bucket, Key=KEY, Body=b"12345")

    [record] = site.records()
    assert (record["eventSource"], record["eventName"]) == ("aws:s3", "ObjectCreated:Put")
    assert record["eventVersion"].startswith("2.")
    assert datetime.fromisoformat(record["eventTime"]).tzinfo is not None
    assert record["s3"]["configurationId"] == "mine"
    assert record["s3"]["bucket"]["name"] == site.bucket
    assert record["s3"]["bucket"]["arn"] == f"arn:aws:s3:::{site.bucket}"
    told = record["s3"]["object"]
    assert unquote_plus(told["key"]) == KEY
    assert (told["size"], told["eTag"]) == (5, put["ETag"].strip('"'))


def test_the_queue_gets_a_test_event_first(site: Site) -> None:
    site.configure()

    [event] = site.received()
    assert (event["Service"], event["Event"]) == ("Amazon S3", "s3:TestEvent")
    assert event["Bucket"] == site.bucket


def test_only_the_keys_asked_for_are_told_of(site: Site) -> None:
    rules = [{"Name": "prefix", "Value": "uploads/"}, {"Name": "suffix", "Value": ".jpg"}]
    site.configure(Filter={"Key": {"FilterRules": rules}})

    for key in ("uploads/a.jpg", "uploads/a.png", "results/a.jpg"):
        site.s3.put_object(Bucket=site.bucket, Key=key, Body=b"1")

    keys = [unquote_plus(r["s3"]["object"]["key"]) for r in site.records()]
    assert keys == ["uploads/a.jpg"]


def test_what_is_configured_can_be_read_back_and_ended(site: Site) -> None:
    site.configure(Id="mine")
    [shown] = site.s3.get_bucket_notification_configuration(Bucket=site.bucket)[
        "QueueConfigurations"
    ]

    site.s3.put_bucket_notification_configuration(Bucket=site.bucket, NotificationConfiguration={})
    site.s3.put_object(Bucket=site.bucket, Key="k", Body=b"1")

    assert (shown["Id"], shown["QueueArn"]) == ("mine", site.queue_arn)
    assert shown["Events"] == ["s3:ObjectCreated:*"]
    assert site.records() == []


class TestStrict:
    """What moto does not do as S3 does, and what tests ask the local AWS for."""

    @pytest.fixture
    def client(self, aws: LocalAws) -> Callable[[str], Any]:
        return lambda service: {"s3": aws.s3(), "sqs": aws.sqs()}[service]

    def test_a_queue_that_does_not_exist_or_is_fifo_is_refused(self, site: Site) -> None:
        fifo = site.sqs.create_queue(
            QueueName=f"{site.bucket}.fifo", Attributes={"FifoQueue": "true"}
        )
        assert fifo["QueueUrl"]
        for arn in (
            f"{site.queue_arn}-no",
            f"arn:aws:sqs:us-east-1:123456789012:{site.bucket}.fifo",
        ):
            with pytest.raises(ClientError, match="Unable to validate") as caught:
                site.configure(QueueArn=arn)
            assert caught.value.response["Error"]["Code"] == "InvalidArgument"

    def test_later_events_of_a_key_have_greater_sequencers(self, site: Site) -> None:
        site.configure()
        for _ in range(3):
            site.s3.put_object(Bucket=site.bucket, Key="k", Body=b"1")

        found = [record["s3"]["object"]["sequencer"] for record in site.records()]

        assert sorted(found) == found
        assert len(set(found)) == 3

    def test_a_version_is_named(self, site: Site) -> None:
        site.configure()
        versioning = {"Status": "Enabled"}
        site.s3.put_bucket_versioning(Bucket=site.bucket, VersioningConfiguration=versioning)

        put = site.s3.put_object(Bucket=site.bucket, Key="k", Body=b"1")

        assert site.records()[0]["s3"]["object"]["versionId"] == put["VersionId"]

    def test_deletions_are_told_of_if_asked_for(self, site: Site) -> None:
        site.s3.put_object(Bucket=site.bucket, Key="k", Body=b"1")
        site.configure(Events=["s3:ObjectRemoved:*"])

        site.s3.delete_object(Bucket=site.bucket, Key="k")

        assert [r["eventName"] for r in site.records()] == ["ObjectRemoved:Delete"]

    def test_a_refused_upload_is_not_told_of(self, site: Site) -> None:
        site.configure()
        with pytest.raises(ClientError):
            site.s3.put_object(Bucket=site.bucket, Key="k", Body=b"1", ContentMD5="AAAA")

        assert site.records() == []

    def test_the_worker_s_own_parser_reads_it(self, aws: LocalAws, name: str) -> None:
        url = aws.create_queue(name).queue_url
        aws.notify(f"told-{name}", url, prefix="uploads/")
        aws.put_object(f"told-{name}", KEY, b"12345")

        setup, event = [
            json.loads(m["Body"])
            for m in aws.sqs().receive_message(QueueUrl=url, MaxNumberOfMessages=10)["Messages"]
        ]

        assert event["Records"][0]["s3"]["object"]["key"] == "uploads/two+words%2B%C3%A9.jpg"
        contents, none = event_contents(event), event_contents(setup)
        assert contents is not None
        assert [(o.location.bucket, o.location.key) for o in contents.created] == [
            (f"told-{name}", KEY)
        ]
        assert none is not None
        assert not none.created
