"""Cache entries in S3, on the strict local AWS and on moto."""

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest

from detection_contract.aws.s3_prefixes import S3PrefixLocation
from detection_testing.aws.faults import Fault
from detection_testing.aws.local_aws import LocalAws
from detection_worker.aws_session import make_session
from detection_worker.cache import s3
from detection_worker.cache.base import CacheError
from detection_worker.cache.codec import MAX_ENTRY_BYTES
from detection_worker.cache.s3 import S3Entries

NAME = "a" * 64
Make = Callable[..., S3Entries]


@pytest.fixture
def make_entries() -> Iterator[Make]:
    made: list[S3Entries] = []

    def make(cloud: Any, **options: Any) -> S3Entries:
        place = S3PrefixLocation(bucket=cloud.bucket, prefix="cache/v 1/")
        made.append(S3Entries(cloud.session, cloud.aws, options.pop("place", place), **options))
        return made[-1]

    yield make
    for entries in made:
        entries.close()


@pytest.fixture
def entries(make_entries: Make, cloud: Any) -> S3Entries:
    return make_entries(cloud)


@pytest.fixture
def strict(make_entries: Make, local: Any) -> S3Entries:
    return make_entries(local)


def test_an_entry_is_written_once_and_read_back(entries: S3Entries, cloud: Any) -> None:
    assert entries.get(NAME) is None

    etag = entries.put(NAME, b'{"a":1}', replaces=None)

    found = entries.get(NAME)
    assert found is not None
    assert (found.body, found.etag) == (b'{"a":1}', etag)
    stored = cloud.s3.head_object(Bucket=cloud.bucket, Key=f"cache/v 1/{NAME}")
    assert stored["ContentType"] == "application/json"


def test_the_slower_of_two_writers_changes_nothing(entries: S3Entries) -> None:
    first = entries.put(NAME, b"first", replaces=None)

    assert entries.put(NAME, b"second", replaces=None) is None
    assert entries.put(NAME, b"third", replaces='"0123456789abcdef0123456789abcdef"') is None

    found = entries.get(NAME)
    assert found is not None
    assert (found.body, found.etag) == (b"first", first)


def test_an_entry_that_was_read_is_replaced(entries: S3Entries) -> None:
    first = entries.put(NAME, b"first", replaces=None)

    second = entries.put(NAME, b"second", replaces=first)

    assert second not in {None, first}
    found = entries.get(NAME)
    assert found is not None
    assert found.body == b"second"
    assert entries.put(NAME, b"third", replaces=first) is None


def test_one_that_expired_meanwhile_is_left_alone(entries: S3Entries, cloud: Any) -> None:
    etag = entries.put(NAME, b"first", replaces=None)
    cloud.s3.delete_object(Bucket=cloud.bucket, Key=f"cache/v 1/{NAME}")

    assert entries.put(NAME, b"second", replaces=etag) is None


def test_of_many_that_write_at_once_one_wins(entries: S3Entries) -> None:
    start, etags = threading.Barrier(8), []

    def write(number: int) -> None:
        start.wait(10)
        etags.append(entries.put(NAME, b"%d" % number, replaces=None))

    threads = [threading.Thread(target=write, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    [winner] = [etag for etag in etags if etag is not None]
    found = entries.get(NAME)
    assert found is not None
    assert found.etag == winner


def test_a_huge_entry_is_not_read_whole(entries: S3Entries, cloud: Any) -> None:
    body = os.urandom(MAX_ENTRY_BYTES * 3)
    cloud.put(f"cache/v 1/{NAME}", body)

    found = entries.get(NAME)

    assert found is not None
    assert MAX_ENTRY_BYTES < len(found.body) < len(body)


def test_a_missing_bucket_is_an_error_and_no_miss(make_entries: Make, cloud: Any) -> None:
    place = S3PrefixLocation(bucket=f"{cloud.bucket}-none", prefix="")
    entries = make_entries(cloud, place=place)

    with pytest.raises(CacheError, match=r"S3 answered 404 \(NoSuchBucket\)") as caught:
        entries.get(NAME)
    assert caught.value.lasts
    for replaces in (None, '"e"'):
        with pytest.raises(CacheError, match="NoSuchBucket"):
            entries.put(NAME, b"x", replaces=replaces)


def test_a_bucket_of_another_account_is_refused(make_entries: Make, local: Any) -> None:
    entries = make_entries(local, expected_bucket_owner="999999999999")

    with pytest.raises(CacheError) as caught:
        entries.get(NAME)
    assert caught.value.denied


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        pytest.param("access_denied", r"access is denied \(AccessDenied\)", id="denied"),
        pytest.param("throttle", r"S3 answered 503 \(SlowDown\)", id="throttled"),
        pytest.param("error", r"S3 answered 500 \(InternalError\)", id="unavailable"),
        pytest.param("clock_skew", r"S3 answered 403 \(RequestTimeTooSkewed\)", id="clock"),
    ],
)
def test_what_the_store_refuses_is_told_apart(
    kind: Any, text: str, strict: S3Entries, local_aws: LocalAws
) -> None:
    local_aws.inject(Fault(operation="s3.*Object", kind=kind))

    with pytest.raises(CacheError, match=text) as reading:
        strict.get(NAME)
    with pytest.raises(CacheError, match=text) as writing:
        strict.put(NAME, b"x", replaces=None)
    denied = kind == "access_denied"
    assert reading.value.denied is writing.value.denied is denied
    # A single entry may be refused; a role that cannot write one entry can write none.
    assert reading.value.lasts is not denied
    assert writing.value.lasts


def test_a_role_that_may_not_list_finds_nothing(
    make_entries: Make, moto_server: str, monkeypatch: pytest.MonkeyPatch, moto: Any
) -> None:
    entries = make_entries(moto)
    text = (
        "User: arn:aws:sts::1:assumed-role/w/s is not authorized to perform: s3:ListBucket on "
        'resource: "arn:aws:s3:::b" because no identity-based policy allows the action'
    )

    def refuse(**_: Any) -> Any:
        raise entries._client.exceptions.ClientError(
            {
                "Error": {"Code": "AccessDenied", "Message": text},
                "ResponseMetadata": {"HTTPStatusCode": 403},
            },
            "GetObject",
        )

    monkeypatch.setattr(entries._client, "get_object", refuse)
    assert entries.get(NAME) is None


def test_a_writer_that_meets_another_gives_way(strict: S3Entries, local_aws: LocalAws) -> None:
    local_aws.inject(Fault(operation="s3.PutObject", kind="conflict"))

    assert strict.put(NAME, b"x", replaces=None) is None


@pytest.mark.parametrize("status", [400, 501])
def test_a_store_without_conditional_writes_is_written_to_plainly(
    status: int, strict: S3Entries, local_aws: LocalAws
) -> None:
    code = "NotImplemented" if status == 501 else "InvalidArgument"
    fault = Fault(operation="s3.PutObject", kind="error", code=code, status=status, count=1)
    local_aws.inject(fault)
    before = puts(local_aws)

    assert strict.put(NAME, b"first", replaces=None)
    # From now on it is not asked again, and the last writer wins.
    assert strict.put(NAME, b"second", replaces=None)

    assert puts(local_aws) - before == 3
    found = strict.get(NAME)
    assert found is not None
    assert found.body == b"second"


def test_a_refusal_for_another_reason_keeps_conditions(
    strict: S3Entries, local_aws: LocalAws
) -> None:
    # With a condition and without, each time signed here and then by botocore.
    fault = Fault(operation="s3.PutObject", kind="error", code="BadDigest", status=400, count=4)
    local_aws.inject(fault)

    with pytest.raises(CacheError, match=r"S3 answered 400 \(BadDigest\)"):
        strict.put(NAME, b"x", replaces=None)

    assert strict.put(NAME, b"first", replaces=None)
    assert strict.put(NAME, b"second", replaces=None) is None


@pytest.fixture
def late_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try again although a busy machine takes long to see that a connection broke."""
    monkeypatch.setattr(s3, "RETRY_WITHIN_S", 60.0)


def puts(local_aws: LocalAws) -> int:
    return int(local_aws.stats()["requests"].get("s3.PutObject", 0))


@pytest.mark.parametrize("kind", ["reset", "drop_response", "truncate"])
@pytest.mark.usefixtures("late_retries")
def test_a_connection_that_breaks_is_tried_once_more(
    kind: Any, strict: S3Entries, local_aws: LocalAws
) -> None:
    strict.put(NAME, b"x" * 1000, replaces=None)
    local_aws.inject(Fault(operation="s3.GetObject", kind=kind, count=1))

    found = strict.get(NAME)

    assert found is not None
    assert found.body == b"x" * 1000
    local_aws.inject(Fault(operation="s3.GetObject", kind=kind, count=2))
    with pytest.raises(CacheError, match="S3 cannot be reached"):
        strict.get(NAME)


@pytest.mark.usefixtures("late_retries")
def test_a_write_that_was_carried_out_unanswered_is_a_lost_race(
    strict: S3Entries, local_aws: LocalAws
) -> None:
    local_aws.inject(Fault(operation="s3.PutObject", kind="drop_response", count=1))

    assert strict.put(NAME, b"x", replaces=None) is None
    found = strict.get(NAME)
    assert found is not None
    assert found.body == b"x"


def test_a_store_that_stalls_is_given_up_within_seconds(
    strict: S3Entries, local_aws: LocalAws
) -> None:
    strict.put(NAME, b"x" * 1000, replaces=None)
    local_aws.inject(Fault(operation="s3.GetObject", kind="stall", seconds=30))
    started_s = time.monotonic()

    with pytest.raises(CacheError):
        strict.get(NAME)

    assert time.monotonic() - started_s < 10


def test_a_store_that_does_not_answer_is_given_up_within_seconds(
    make_entries: Make, local: Any
) -> None:
    with closing(socket.socket()) as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        aws = replace(local.aws, endpoint_url=url)
        nowhere = replace(local, aws=aws, session=make_session(aws))
        entries, started_s = make_entries(nowhere), time.monotonic()
        with pytest.raises(CacheError, match=r"S3 cannot be reached \(ReadTimeoutError\)"):
            entries.get(NAME)
        with pytest.raises(CacheError, match=r"S3 cannot be reached \(ReadTimeoutError\)"):
            entries.put(NAME, b"x", replaces=None)

    assert time.monotonic() - started_s < 15
