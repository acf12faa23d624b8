"""Conditional reads and writes: the same on the strict S3 and on moto, where moto has them."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from detection_testing.aws.faults import Fault
from detection_testing.aws.local_aws import LocalAws

OTHER = '"00000000000000000000000000000000"'
LONG_AGO = datetime(2001, 2, 3, tzinfo=UTC)
TOMORROW = datetime.now(UTC) + timedelta(days=1)


@pytest.fixture
def s3(client: Callable[[str], Any]) -> Any:
    return client("s3")


@pytest.fixture
def bucket(s3: Any, name: str) -> str:
    s3.create_bucket(Bucket=f"conditions-{name}")
    return f"conditions-{name}"


def answer(call: Callable[[], Any]) -> tuple[str, int]:
    """Error code and status of a call; no code if it succeeded."""
    try:
        response = call()
    except ClientError as exc:
        response = exc.response
    code = response.get("Error", {}).get("Code", "")
    return code, response["ResponseMetadata"]["HTTPStatusCode"]


def test_only_the_first_of_two_writers_creates_an_object(s3: Any, bucket: str) -> None:
    first = answer(lambda: s3.put_object(Bucket=bucket, Key="k", Body=b"1", IfNoneMatch="*"))
    second = answer(lambda: s3.put_object(Bucket=bucket, Key="k", Body=b"2", IfNoneMatch="*"))

    assert (first, second) == (("", 200), ("PreconditionFailed", 412))
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"1"


def test_only_the_first_of_two_writers_replaces_an_object(s3: Any, bucket: str) -> None:
    old = s3.put_object(Bucket=bucket, Key="k", Body=b"0")["ETag"]

    first = answer(lambda: s3.put_object(Bucket=bucket, Key="k", Body=b"1", IfMatch=old))
    second = answer(lambda: s3.put_object(Bucket=bucket, Key="k", Body=b"2", IfMatch=old))

    assert (first, second) == (("", 200), ("PreconditionFailed", 412))
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"1"


def test_nothing_is_replaced_that_is_not_there(s3: Any, bucket: str) -> None:
    put = answer(lambda: s3.put_object(Bucket=bucket, Key="k", Body=b"1", IfMatch=OTHER))

    assert put == ("NoSuchKey", 404)
    assert answer(lambda: s3.get_object(Bucket=bucket, Key="k")) == ("NoSuchKey", 404)


def test_an_object_may_be_created_again_once_it_is_deleted(s3: Any, bucket: str) -> None:
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    s3.put_object(Bucket=bucket, Key="k", Body=b"1")
    s3.delete_object(Bucket=bucket, Key="k")

    again = answer(lambda: s3.put_object(Bucket=bucket, Key="k", Body=b"2", IfNoneMatch="*"))

    assert again == ("", 200)


@pytest.mark.parametrize("operation", ["get_object", "head_object"])
@pytest.mark.parametrize(
    ("conditions", "status"),
    [
        pytest.param({"IfNoneMatch": "ETAG"}, 304, id="the ETag it has"),
        pytest.param({"IfNoneMatch": OTHER}, 200, id="another ETag"),
        pytest.param({"IfMatch": "ETAG"}, 200, id="if it is this one"),
        pytest.param({"IfMatch": OTHER}, 412, id="if it is another one"),
        pytest.param({"IfModifiedSince": LONG_AGO}, 200, id="modified since then"),
        pytest.param({"IfModifiedSince": TOMORROW}, 304, id="not modified since then"),
        pytest.param({"IfUnmodifiedSince": LONG_AGO}, 412, id="no longer the one of then"),
        pytest.param({"IfUnmodifiedSince": TOMORROW}, 200, id="still the one of then"),
    ],
)
def test_a_read_depends_on_its_condition(
    s3: Any, bucket: str, operation: str, conditions: dict[str, Any], status: int
) -> None:
    etag = s3.put_object(Bucket=bucket, Key="k", Body=b"one")["ETag"]
    given = {n: etag if value == "ETAG" else value for n, value in conditions.items()}

    assert answer(lambda: getattr(s3, operation)(Bucket=bucket, Key="k", **given))[1] == status


def test_a_range_is_read_only_if_the_object_changed(s3: Any, bucket: str) -> None:
    etag = s3.put_object(Bucket=bucket, Key="k", Body=b"0123456789")["ETag"]
    read: dict[str, Any] = {"Bucket": bucket, "Key": "k", "Range": "bytes=0-3"}

    unchanged = answer(lambda: s3.get_object(**read, IfNoneMatch=etag))
    s3.put_object(Bucket=bucket, Key="k", Body=b"abcdefghij")
    changed = s3.get_object(**read, IfNoneMatch=etag)

    assert unchanged == ("304", 304)
    assert changed["ResponseMetadata"]["HTTPStatusCode"] == 206
    assert changed["Body"].read() == b"abcd"
    assert changed["ContentRange"] == "bytes 0-3/10"


class TestStrict:
    """What moto does not do as S3 does."""

    @pytest.fixture
    def s3(self, aws: LocalAws) -> Any:
        return aws.s3()

    def test_304_names_the_etag_and_the_date_and_has_no_content(
        self, s3: Any, bucket: str
    ) -> None:
        etag = s3.put_object(Bucket=bucket, Key="k", Body=b"one", ContentType="text/x")["ETag"]

        with pytest.raises(ClientError) as caught:
            s3.get_object(Bucket=bucket, Key="k", IfNoneMatch=etag)

        headers = caught.value.response["ResponseMetadata"]["HTTPHeaders"]
        assert headers["etag"] == etag
        assert headers["last-modified"].endswith("GMT")
        assert not {"content-type", "content-length", "x-amz-meta-a"} & headers.keys()

    def test_an_etag_outranks_a_date(self, s3: Any, bucket: str) -> None:
        # S3 API reference, GetObject, IfMatch and IfNoneMatch.
        etag = s3.put_object(Bucket=bucket, Key="k", Body=b"one")["ETag"]
        read = {"Bucket": bucket, "Key": "k"}

        assert answer(lambda: s3.get_object(**read, IfMatch=etag, IfUnmodifiedSince=LONG_AGO)) == (
            "",
            200,
        )
        assert answer(
            lambda: s3.get_object(**read, IfNoneMatch=etag, IfModifiedSince=LONG_AGO)
        ) == ("304", 304)
        assert answer(
            lambda: s3.get_object(**read, IfNoneMatch=OTHER, IfModifiedSince=TOMORROW)
        ) == ("", 200)

    def test_a_write_takes_no_etag_that_must_not_match(self, s3: Any, bucket: str) -> None:
        put = answer(lambda: s3.put_object(Bucket=bucket, Key="k", Body=b"1", IfNoneMatch=OTHER))

        assert put == ("NotImplemented", 501)

    def test_a_condition_counts_before_the_bytes_are_looked_at(self, s3: Any, bucket: str) -> None:
        s3.put_object(Bucket=bucket, Key="k", Body=b"1")

        put = answer(
            lambda: s3.put_object(
                Bucket=bucket, Key="k", Body=b"2", IfNoneMatch="*", ChecksumCRC32="AAAAAA=="
            )
        )

        assert put == ("PreconditionFailed", 412)

    def test_a_condition_on_an_object_that_was_deleted_meanwhile_is_a_conflict(
        self, aws: LocalAws, s3: Any, bucket: str
    ) -> None:
        aws.inject(Fault(operation="s3.PutObject", kind="conflict", count=1))

        put = answer(lambda: s3.put_object(Bucket=bucket, Key="k", Body=b"1", IfNoneMatch="*"))

        assert put == ("ConditionalRequestConflict", 409)
