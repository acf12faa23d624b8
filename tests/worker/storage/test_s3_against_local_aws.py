"""The storage against a strict S3, with the default sizes."""

import gzip
import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from detection_contract.aws.s3_urls import S3Location, parse_s3_url
from detection_contract.error_codes import ErrorCode
from detection_testing.aws.faults import Fault
from detection_testing.aws.local_aws import LocalAws
from detection_worker.aws_session import make_session
from detection_worker.errors import JobError
from detection_worker.settings import MIB, AwsSettings
from detection_worker.storage.base import FetchedObject
from detection_worker.storage.s3 import S3Storage
from detection_worker.storage.s3_ranges import Retries


@pytest.fixture(scope="module")
def local() -> Iterator[LocalAws]:
    with LocalAws.in_thread() as running:
        yield running


@pytest.fixture(scope="module")
def local_storage(local: LocalAws) -> Iterator[S3Storage]:
    aws = AwsSettings(
        access_key_id=local.credentials.access_key_id,
        secret_access_key=local.credentials.secret_access_key,
        endpoint_url=local.endpoint_url,
    )
    made = S3Storage(make_session(aws), aws, retries=Retries(base_s=0.001))
    with closing(made) as storage:
        yield storage


def fetch(storage: S3Storage, location: S3Location, target: Path) -> FetchedObject:
    return storage.fetch(
        location,
        target,
        max_bytes=100 * MIB,
        on_progress=lambda: None,
        cancelled=lambda: False,
    )


def gets(local: LocalAws) -> int:
    return int(local.stats()["requests"].get("s3.GetObject", 0))


@pytest.mark.parametrize(
    ("size_bytes", "calls"),
    [
        pytest.param(1, 1, id="one byte"),
        pytest.param(8 * MIB, 1, id="a whole first range"),
        pytest.param(8 * MIB + 1, 2, id="one byte more"),
        pytest.param(20 * MIB, 3, id="three ranges"),
    ],
)
def test_an_object_costs_a_call_for_each_8_mib(
    size_bytes: int, calls: int, local: LocalAws, local_storage: S3Storage, target: Path
) -> None:
    body = os.urandom(size_bytes)
    url = local.put_object("media", f"{size_bytes}.bin", body, content_type="video/mp4")
    before = gets(local)

    fetched = fetch(local_storage, parse_s3_url(url), target)

    assert target.read_bytes() == body
    assert (fetched.size_bytes, fetched.content_type) == (size_bytes, "video/mp4")
    assert gets(local) - before == calls


def test_an_empty_object_is_an_empty_file(
    local: LocalAws, local_storage: S3Storage, target: Path
) -> None:
    url = local.put_object("media", "empty", b"")

    with pytest.raises(JobError) as caught:
        fetch(local_storage, parse_s3_url(url), target)

    assert caught.value.code is ErrorCode.EMPTY_FILE


@pytest.mark.parametrize(
    ("location", "code"),
    [
        pytest.param(
            S3Location(bucket="media", key="missing"), ErrorCode.S3_NOT_FOUND, id="no key"
        ),
        pytest.param(
            S3Location(bucket="nowhere", key="k"), ErrorCode.S3_NO_SUCH_BUCKET, id="no bucket"
        ),
    ],
)
def test_what_is_missing_is_told_apart(
    location: S3Location, code: ErrorCode, local: LocalAws, local_storage: S3Storage, target: Path
) -> None:
    local.put_object("media", "present", b"x")

    with pytest.raises(JobError) as caught:
        fetch(local_storage, location, target)

    assert caught.value.code is code


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(Fault(operation="s3.GetObject", kind="truncate", count=2), id="truncated"),
        pytest.param(Fault(operation="s3.GetObject", kind="reset", count=2), id="reset"),
        pytest.param(Fault(operation="s3.GetObject", kind="throttle", count=2), id="slow down"),
        pytest.param(Fault(operation="s3.GetObject", kind="drop_response", count=2), id="dropped"),
    ],
)
def test_two_faults_in_a_row_cost_nothing_but_time(
    fault: Fault, local: LocalAws, local_storage: S3Storage, target: Path
) -> None:
    body = os.urandom(300_000)
    url = local.put_object("media", "spoiled", body)
    local.inject(fault)

    fetch(local_storage, parse_s3_url(url), target)

    assert target.read_bytes() == body
    local.clear_faults()


@pytest.mark.parametrize("coding", ["gzip", "deflate", "aws-chunked,gzip", "utf-8", "identity"])
def test_a_content_encoding_is_left_to_the_decoder(
    coding: str, local: LocalAws, local_storage: S3Storage, target: Path
) -> None:
    body = gzip.compress(os.urandom(10_000))
    url = local.put_object("media", "packed.jpg", body, content_encoding=coding)

    fetch(local_storage, parse_s3_url(url), target)

    assert target.read_bytes() == body


@pytest.mark.parametrize("coding", ["br", "zstd", "gzip, br", "BR"])
def test_a_content_encoding_that_cannot_be_undone_is_named(
    coding: str, local: LocalAws, local_storage: S3Storage, target: Path
) -> None:
    url = local.put_object("media", "packed.jpg", b"x" * 100, content_encoding=coding)

    with pytest.raises(JobError, match="Content-Encoding") as caught:
        fetch(local_storage, parse_s3_url(url), target)

    assert caught.value.code is ErrorCode.UNSUPPORTED_TYPE
    assert not target.exists()
