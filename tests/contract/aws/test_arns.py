import re

import pytest

from detection_contract.aws.arns import (
    DESTINATION_PATTERN,
    Service,
    is_destination_arn,
    may_be_queue,
    parse_destination_arn,
    partition_of,
)
from detection_contract.aws.s3_urls import S3Location, object_arn


@pytest.mark.parametrize(
    ("arn", "service", "region", "name"),
    [
        ("arn:aws:sns:us-east-1:123456789012:Told_1", Service.SNS, "us-east-1", "Told_1"),
        ("arn:aws:sns:us-east-1:123456789012:a.fifo", Service.SNS, "us-east-1", "a.fifo"),
        ("arn:aws-cn:sqs:cn-north-1:123456789012:q", Service.SQS, "cn-north-1", "q"),
        (
            "arn:aws-us-gov:events:us-gov-west-1:123456789012:event-bus/a/b.c",
            Service.EVENTBRIDGE,
            "us-gov-west-1",
            "a/b.c",
        ),
    ],
)
def test_the_parts_of_an_arn(arn: str, service: Service, region: str, name: str) -> None:
    parts = parse_destination_arn(arn)

    assert (parts.arn, parts.service, parts.region, parts.name) == (arn, service, region, name)
    assert parts.account == "123456789012"
    assert parts.partition == partition_of(region)
    assert parts.fifo is name.endswith(".fifo")
    assert is_destination_arn(arn)
    assert re.fullmatch(DESTINATION_PATTERN, arn)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "told",
        "arn:aws:sns:us-east-1:123456789012:",
        "arn:aws:sns:us-east-1:12345:told",
        "arn:aws:sns:us-east-1:123456789012:told:0b9f6d7e-6d0a-4c1e-8b9a-0c1d2e3f4a5b",
        "arn:aws:sns:us-east-1:123456789012:told\n",
        "arn:aws:sns:us-east-1:123456789012:event-bus/told",
        "arn:aws:events:us-east-1:123456789012:told",
        "arn:aws:events:us-east-1:123456789012:rule/told",
        "arn:aws:lambda:us-east-1:123456789012:function",
        "https://sqs.us-east-1.amazonaws.com/123456789012/q",
    ],
)
def test_what_is_no_arn_of_a_destination(text: str) -> None:
    assert not is_destination_arn(text)
    assert not re.fullmatch(DESTINATION_PATTERN, text)
    with pytest.raises(ValueError, match="is no ARN of an SNS topic, SQS queue or EventBridge"):
        parse_destination_arn(text)


@pytest.mark.parametrize(
    ("location", "arn"),
    [
        (S3Location(bucket="b", key="a b/é"), "arn:aws:s3:::b/a b/é"),
        (S3Location(bucket="b", key="k", region="cn-north-1"), "arn:aws-cn:s3:::b/k"),
        (
            S3Location(bucket="arn:aws:s3:eu-west-1:123456789012:accesspoint/p", key="k"),
            "arn:aws:s3:eu-west-1:123456789012:accesspoint/p/object/k",
        ),
    ],
)
def test_the_arn_of_an_object(location: S3Location, arn: str) -> None:
    assert object_arn(location, region="us-east-1") == arn


def test_a_location_without_a_region_is_in_the_partition_of_the_worker() -> None:
    location = S3Location(bucket="b", key="k")

    assert object_arn(location, region="us-gov-west-1") == "arn:aws-us-gov:s3:::b/k"


@pytest.mark.parametrize(
    ("url", "same"),
    [
        ("https://sqs.us-east-1.amazonaws.com/123456789012/q", True),
        ("https://queue.amazonaws.com/123456789012/q", True),
        ("http://localhost:4566/000000000000/q", True),
        ("http://localhost:4566/queue/q/", True),
        ("https://sqs.eu-west-1.amazonaws.com/123456789012/q", False),
        ("https://sqs.us-east-1.amazonaws.com/210987654321/q", False),
        ("https://sqs.us-east-1.amazonaws.com/123456789012/other", False),
    ],
)
def test_the_queue_that_an_arn_and_a_url_name(url: str, *, same: bool) -> None:
    queue = parse_destination_arn("arn:aws:sqs:us-east-1:123456789012:q")
    topic = parse_destination_arn("arn:aws:sns:us-east-1:123456789012:q")

    assert may_be_queue(queue, url) is same
    assert not may_be_queue(topic, url)
