"""Results go to moto's server and to the strict local AWS."""

import uuid
from dataclasses import dataclass
from functools import cache
from typing import Any

import boto3
import pytest

from detection_testing.aws.local_aws import LocalAws
from detection_worker.aws_session import make_session
from detection_worker.settings import AwsSettings


@dataclass(frozen=True, slots=True)
class Cloud:
    """An AWS to test against, and names that no other test has.

    Attributes:
        aws: How the worker reaches it.
        session: With its credentials.
        tag: Part of every name.
    """

    aws: AwsSettings
    session: boto3.Session
    tag: str

    def client(self, service: str, region: str | None = None) -> Any:
        return client_of(self.session, service, self.aws.endpoint_url, region or self.aws.region)

    def bucket(self) -> str:
        name = f"results-{self.tag}"
        self.client("s3").create_bucket(Bucket=name)
        return name


@cache
def client_of(session: boto3.Session, service: str, url: str, region: str) -> Any:
    return session.client(service, endpoint_url=url, region_name=region)


@cache
def session_of(aws: AwsSettings) -> boto3.Session:
    """Share the service descriptions that a session reads: most of what making a client costs."""
    return make_session(aws)


def cloud_at(url: str, *, key: str, secret: str) -> Cloud:
    aws = AwsSettings(access_key_id=key, secret_access_key=secret, endpoint_url=url)
    return Cloud(aws=aws, session=session_of(aws), tag=uuid.uuid4().hex[:12])


@pytest.fixture
def local(local_aws: LocalAws) -> Cloud:
    found = local_aws.credentials
    return cloud_at(
        local_aws.endpoint_url, key=found.access_key_id, secret=found.secret_access_key
    )


@pytest.fixture
def moto(moto_server: str) -> Cloud:
    return cloud_at(moto_server, key="AKIAIOSFODNN7EXAMPLE", secret="secret")


@pytest.fixture(params=["local", "moto"])
def cloud(request: pytest.FixtureRequest) -> Cloud:
    """Each of the two in turn."""
    found: Cloud = request.getfixturevalue(request.param)
    return found
