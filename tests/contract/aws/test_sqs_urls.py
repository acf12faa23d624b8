import pytest

from detection_contract.aws.sqs_urls import (
    is_public_endpoint,
    is_same_queue,
    own_endpoint,
    region_of_queue,
)


@pytest.mark.parametrize(
    ("url", "region"),
    [
        ("https://sqs.eu-west-1.amazonaws.com/1/q", "eu-west-1"),
        ("https://sqs.us-gov-west-1.amazonaws.com/1/q.fifo", "us-gov-west-1"),
        ("https://sqs.cn-north-1.amazonaws.com.cn/1/q", "cn-north-1"),
        ("https://sqs.us-iso-east-1.c2s.ic.gov/1/q", "us-iso-east-1"),
        ("https://sqs.us-isob-east-1.sc2s.sgov.gov/1/q", "us-isob-east-1"),
        ("https://sqs.eusc-de-east-1.amazonaws.eu/1/q", "eusc-de-east-1"),
        ("https://sqs-fips.us-east-1.amazonaws.com/1/q", "us-east-1"),
        ("https://sqs.eu-west-1.api.aws/1/q", "eu-west-1"),
        ("https://sqs-fips.us-west-2.api.aws/1/q", "us-west-2"),
        ("https://sqs.cn-north-1.api.amazonwebservices.com.cn/1/q", "cn-north-1"),
        ("https://vpce-0a1b-xyz.sqs.us-east-1.vpce.amazonaws.com/1/q", "us-east-1"),
        ("https://vpce-0a1b-xyz-eu-west-1a.sqs.eu-west-1.vpce.amazonaws.com/1/q", "eu-west-1"),
        ("https://vpce-0a.sqs.cn-north-1.vpce.amazonaws.com.cn/1/q", "cn-north-1"),
        ("https://us-west-2.queue.amazonaws.com/1/q", "us-west-2"),
        ("https://cn-north-1.queue.amazonaws.com.cn/1/q", "cn-north-1"),
        ("https://queue.amazonaws.com/1/q", "us-east-1"),
        ("https://sqs.eu-west-1.amazonaws.com:443/1/q", "eu-west-1"),
        ("http://sqs.eu-central-1.localhost.localstack.cloud:4566/000000000000/q", "eu-central-1"),
        ("http://localhost:4566/000000000000/q", None),
        ("https://sqs.evil.example.com/1/q", None),
        ("https://sqs.eu-west-1.amazonaws.com.example.com/1/q", None),
        ("https://example.com/sqs.eu-west-1.amazonaws.com/1/q", None),
        ("nonsense", None),
    ],
)
def test_the_region_of_a_queue_is_read_from_its_host(url: str, region: str | None) -> None:
    assert region_of_queue(url) == region


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        ("https://sqs.eu-west-1.amazonaws.com/1/q", None),
        ("https://sqs.cn-north-1.amazonaws.com.cn/1/q", None),
        ("https://us-west-2.queue.amazonaws.com/1/q", None),
        ("https://queue.amazonaws.com/1/q", None),
        ("nonsense", None),
        *(
            (f"{endpoint}/1/q", endpoint)
            for endpoint in (
                "https://sqs-fips.us-east-1.amazonaws.com",
                "https://vpce-0a.sqs.eu-west-1.vpce.amazonaws.com",
                "http://localhost:4566",
                "http://[::1]:4566",
            )
        ),
    ],
)
def test_a_queue_elsewhere_is_its_own_endpoint(url: str, endpoint: str | None) -> None:
    assert own_endpoint(url) == endpoint


@pytest.mark.parametrize(
    ("url", "public"),
    [
        ("https://sqs.eu-west-1.amazonaws.com", True),
        ("https://sqs-fips.us-east-1.amazonaws.com", True),
        ("https://sqs.eu-west-1.api.aws", True),
        ("https://vpce-0a.sqs.eu-west-1.vpce.amazonaws.com", False),
        ("http://localhost:4566", False),
    ],
)
def test_only_endpoints_of_sqs_itself_are_public(url: str, *, public: bool) -> None:
    assert is_public_endpoint(url) == public


@pytest.mark.parametrize(
    ("other", "same"),
    [
        ("https://sqs.eu-west-1.amazonaws.com/1/q/", True),
        ("https://eu-west-1.queue.amazonaws.com/1/q", True),
        ("https://vpce-0a.sqs.eu-west-1.vpce.amazonaws.com/1/q", True),
        ("https://sqs.us-east-1.amazonaws.com/1/q", False),
        ("https://sqs.eu-west-1.amazonaws.com/2/q", False),
        ("https://sqs.eu-west-1.amazonaws.com/1/q2", False),
        ("http://localhost:9324/1/q", False),
    ],
)
def test_two_urls_of_one_queue(other: str, same: bool) -> None:  # noqa: FBT001 - a column
    assert is_same_queue("https://sqs.eu-west-1.amazonaws.com/1/q", other) is same
    assert is_same_queue("http://LOCALHOST:9324/1/q", "http://localhost:9324/1/q")
