"""Which failed downloads are the worker's own fault, so that every message would fail."""

import contextlib
import errno
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import (
    ConnectTimeoutError,
    EndpointConnectionError,
    NoCredentialsError,
    ProxyConnectionError,
)

from detection_contract.aws.s3_urls import S3Location
from detection_contract.error_codes import ErrorCode
from detection_worker.errors import JobError
from detection_worker.settings import AwsSettings
from detection_worker.storage.s3 import S3Storage
from detection_worker.storage.s3_errors import Home, Interrupted, explain
from detection_worker.storage.s3_ranges import Retries, disk_error

WHERE = S3Location(bucket="media", key="a.jpg")
ELSEWHERE = S3Location(bucket="media", key="a.jpg", region="ap-east-1")
HOME = Home(region="eu-west-1", host="s3.eu-west-1.amazonaws.com")


@pytest.fixture
def nobody() -> Iterator[str]:
    with socket.socket() as bound:  # bound but not listening: refuses
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"


def failure(storage: S3Storage, target: Path, location: S3Location = WHERE) -> JobError:
    with pytest.raises(JobError) as caught:
        storage.fetch(
            location,
            target,
            max_bytes=1000,
            on_progress=lambda: None,
            cancelled=lambda: False,
        )
    return caught.value


def status(code: int, name: str) -> Callable[[Any], None]:
    return lambda handler: handler.error(code, name)


def page(handler: Any) -> None:
    """Answer as a proxy does whose upstream is gone."""
    body = b"<html>502 Bad Gateway</html>"
    handler.send_response(502)
    handler.send_header("Content-Type", "text/html")
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(status(403, "RequestTimeTooSkewed"), id="the clock"),
        pytest.param(status(400, "ExpiredToken"), id="an expired token"),
        pytest.param(status(403, "SignatureDoesNotMatch"), id="a wrong secret"),
        pytest.param(status(403, "InvalidAccessKeyId"), id="an unknown key"),
        pytest.param(page, id="a proxy without upstream"),
    ],
)
def test_what_every_object_would_get_is_the_workers_fault(
    answer: Callable[[Any], None], s3: Any, storage: S3Storage, target: Path
) -> None:
    s3.fail(*[answer] * 4)

    assert failure(storage, target).environment


@pytest.mark.parametrize(
    ("code", "name"),
    [
        (404, "NoSuchKey"),
        (404, "NoSuchBucket"),
        (403, "AccessDenied"),
        (403, "InvalidObjectState"),
        (416, "InvalidRange"),
        (503, "SlowDown"),
        (500, "InternalError"),
    ],
)
def test_what_s3_says_of_an_object_is_not(
    code: int, name: str, s3: Any, storage: S3Storage, target: Path
) -> None:
    s3.fail(*[status(code, name)] * 4)

    assert not failure(storage, target).environment


def test_an_endpoint_that_does_not_answer_is_the_workers_fault(
    nobody: str, aws: AwsSettings, make_storage: Callable[..., S3Storage], target: Path
) -> None:
    gone = AwsSettings(access_key_id="AKID", secret_access_key="secret", endpoint_url=nobody)

    error = failure(make_storage(aws=gone), target)

    assert error.code is ErrorCode.S3_UNAVAILABLE
    assert error.environment


def test_a_full_disk_is_the_workers_fault() -> None:
    assert disk_error(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))).environment


@pytest.mark.parametrize(
    ("exc", "location", "own"),
    [
        (NoCredentialsError(), WHERE, True),
        (
            EndpointConnectionError(endpoint_url="https://media.s3.eu-west-1.amazonaws.com/a.jpg"),
            WHERE,
            True,
        ),
        # A redirect led there: from a VPC with a gateway endpoint no other region is reached.
        (
            ConnectTimeoutError(endpoint_url="https://media.s3.ap-east-1.amazonaws.com/a.jpg"),
            WHERE,
            False,
        ),
        (
            EndpointConnectionError(endpoint_url="https://media.s3.xx-fake-1.amazonaws.com/a"),
            ELSEWHERE,
            False,
        ),
        (ProxyConnectionError(proxy_url="http://proxy:3128"), WHERE, True),
    ],
)
def test_a_place_that_only_a_message_names_proves_nothing(
    exc: Exception, location: S3Location, *, own: bool
) -> None:
    meaning = explain(exc, location, HOME)

    assert isinstance(meaning, JobError | Interrupted)
    assert meaning.environment == own


def test_tokens_that_one_region_does_not_know_are_no_fault_of_the_worker(
    s3: Any, storage: S3Storage, target: Path
) -> None:
    s3.fail(status(400, "InvalidToken"))

    error = failure(storage, target)

    assert (error.code, error.environment) == (ErrorCode.CREDENTIALS, False)


@pytest.mark.parametrize("answer", [None, status(404, "NoSuchKey"), status(416, "InvalidRange")])
def test_a_probe_leaves_nothing_behind(
    answer: Callable[[Any], None] | None, s3: Any, storage: S3Storage, target: Path
) -> None:
    s3.put("/media/a.jpg", b"x" * 5000)
    if answer:
        s3.fail(answer)

    with contextlib.suppress(JobError):
        storage.probe(WHERE, target)

    assert not target.exists()
    assert [headers["Range"] for _, headers in s3.requests] == ["bytes=0-0"]


def test_a_probe_asks_once_and_tells_what_still_fails(
    s3: Any, make_storage: Callable[..., S3Storage], target: Path
) -> None:
    s3.fail(*[page] * 4)

    with pytest.raises(JobError) as caught:
        make_storage(retries=Retries(attempts=4, base_s=0.001)).probe(WHERE, target)

    assert caught.value.environment
    assert len(s3.requests) == 1


def denied(permission: str) -> Callable[[Any], None]:
    """Refuse as S3 does since it names the permission that is missing."""

    def answer(handler: Any) -> None:
        text = (
            f"User: arn:aws:sts::1:assumed-role/w/i is not authorized to perform: {permission} on"
        )
        body = f"<Error><Code>AccessDenied</Code><Message>{text} x</Message></Error>".encode()
        handler.send_response(403)
        handler.send_header("Content-Type", "application/xml")
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def read_before(s3: Any, storage: S3Storage, target: Path) -> None:
    s3.put("/media/good.jpg", b"x" * 10)
    storage.fetch(
        S3Location(bucket="media", key="good.jpg"),
        target,
        max_bytes=1000,
        on_progress=lambda: None,
        cancelled=lambda: False,
    )
    target.unlink()


@pytest.mark.parametrize("permission", ["s3:GetObject", "kms:Decrypt", "s3:GetObjectVersion"])
def test_a_permission_that_was_lost_is_the_workers_fault(
    permission: str, s3: Any, storage: S3Storage, target: Path
) -> None:
    read_before(s3, storage, target)
    s3.fail(denied(permission), denied(permission))

    error = failure(storage, target)

    assert (error.code, error.environment) == (ErrorCode.S3_FORBIDDEN, True)
    assert error.message == (
        f"Failed to download S3 file: Access Denied ({permission} is not allowed)"
    )
    assert not target.exists()
    s3.fail(denied(permission), denied(permission))
    with pytest.raises(JobError) as caught:
        storage.probe(WHERE, target)
    assert caught.value.environment
    s3.fail(denied(permission))  # it is granted again, for all but this object
    with pytest.raises(JobError) as caught:
        storage.probe(WHERE, target)
    assert not caught.value.environment


@pytest.mark.parametrize(
    "answers",
    [
        pytest.param([denied("s3:GetObject")], id="the other object is still readable"),
        pytest.param(
            [denied("kms:Decrypt"), status(404, "NoSuchKey")], id="the other object is gone"
        ),
        pytest.param(
            [denied("kms:Decrypt"), denied("s3:ListBucket")], id="gone, and nobody may list"
        ),
        pytest.param([denied("s3:ListBucket")], id="this object may not exist"),
        pytest.param([status(403, "AccessDenied")], id="no permission is named"),
    ],
)
def test_a_permission_for_one_object_is_a_matter_of_its_message(
    answers: list[Callable[[Any], None]], s3: Any, storage: S3Storage, target: Path
) -> None:
    read_before(s3, storage, target)
    s3.fail(*answers)

    error = failure(storage, target)

    assert (error.code, error.environment) == (ErrorCode.S3_FORBIDDEN, False)
    assert error.message.startswith("Failed to download S3 file: Access Denied")
    assert not target.exists()


def test_a_permission_that_it_never_had_is_a_matter_of_the_message(
    s3: Any, storage: S3Storage, target: Path
) -> None:
    s3.fail(denied("s3:GetObject"))

    assert not failure(storage, target).environment
    assert len(s3.requests) == 1
