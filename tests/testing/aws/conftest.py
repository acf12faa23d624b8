"""Clients of our services and of moto's, so that the same test runs against both."""

from collections.abc import Callable
from typing import Any

import boto3
import pytest
from botocore.config import Config

from detection_testing.aws.local_aws import LocalAws

Client = Callable[[str], Any]


@pytest.fixture(params=["strict", "moto"])
def client(request: pytest.FixtureRequest) -> Client:
    """Make boto3 clients of a service, by its name: of ours, then of moto's."""
    if request.param == "moto":
        return _clients(request.getfixturevalue("moto_server"))
    aws: LocalAws = request.getfixturevalue("aws")
    return _clients(aws.endpoint_url, aws.credentials.access_key_id)


def _clients(url: str, access_key_id: str = "any") -> Client:
    config = Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"})

    def make(service: str) -> Any:
        return boto3.client(
            service,
            endpoint_url=url,
            region_name="us-east-1",
            aws_access_key_id=access_key_id,
            aws_secret_access_key="any",
            config=config,
        )

    return make
