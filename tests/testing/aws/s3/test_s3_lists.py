"""Lists of objects and their deletion: the same on the strict S3 and on moto."""

from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st

from detection_testing.aws.local_aws import LocalAws
from detection_testing.aws.s3.listing import listing_of, page_of

KEYS = ["a", "a/1", "a/2/x", "a/2/y", "b c+d&é.json", "b/1", "c", "d/", "d/e"]


@pytest.fixture
def s3(client: Callable[[str], Any]) -> Any:
    return client("s3")


@pytest.fixture
def bucket(s3: Any, name: str) -> str:
    s3.create_bucket(Bucket=f"lists-{name}")
    for key in KEYS:
        s3.put_object(Bucket=f"lists-{name}", Key=key, Body=key.encode())
    return f"lists-{name}"


def listed(page: dict[str, Any]) -> tuple[list[str], list[str]]:
    keys = [entry["Key"] for entry in page.get("Contents", [])]
    return keys, [entry["Prefix"] for entry in page.get("CommonPrefixes", [])]


@pytest.mark.parametrize(
    ("asked", "keys", "prefixes"),
    [
        pytest.param({}, KEYS, [], id="all"),
        pytest.param({"Prefix": "a/"}, ["a/1", "a/2/x", "a/2/y"], [], id="a prefix"),
        pytest.param({"Prefix": "nothing"}, [], [], id="no key"),
        pytest.param(
            {"Delimiter": "/"}, ["a", KEYS[4], "c"], ["a/", "b/", "d/"], id="the top folder"
        ),
        pytest.param({"Prefix": "a/", "Delimiter": "/"}, ["a/1"], ["a/2/"], id="a folder"),
        pytest.param({"Prefix": "d/", "Delimiter": "/"}, ["d/", "d/e"], [], id="its own marker"),
        pytest.param({"StartAfter": "b/1"}, ["c", "d/", "d/e"], [], id="after a key"),
        pytest.param({"StartAfter": "a/2/xx", "Prefix": "a/"}, ["a/2/y"], [], id="after no key"),
    ],
)
def test_a_list_has_the_keys_and_folders_asked_for(
    s3: Any, bucket: str, asked: dict[str, str], keys: list[str], prefixes: list[str]
) -> None:
    page = s3.list_objects_v2(Bucket=bucket, **asked)

    assert listed(page) == (keys, prefixes)
    assert page["KeyCount"] == len(keys) + len(prefixes)
    assert not page["IsTruncated"]


@pytest.mark.parametrize("asked", [{}, {"Delimiter": "/"}, {"Prefix": "a", "StartAfter": "a"}])
@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_pages_together_are_the_whole_list(
    s3: Any, bucket: str, asked: dict[str, str], size: int
) -> None:
    whole = listed(s3.list_objects_v2(Bucket=bucket, **asked))

    pages = list(
        s3.get_paginator("list_objects_v2").paginate(
            Bucket=bucket, **asked, PaginationConfig={"PageSize": size}
        )
    )

    assert all(page["KeyCount"] <= size for page in pages)
    assert [key for page in pages for key in listed(page)[0]] == whole[0]
    assert [prefix for page in pages for prefix in listed(page)[1]] == whole[1]


def test_an_entry_tells_size_etag_and_date(s3: Any, bucket: str) -> None:
    [entry] = s3.list_objects_v2(Bucket=bucket, Prefix="b c")["Contents"]
    head = s3.head_object(Bucket=bucket, Key=KEYS[4])

    assert (entry["Size"], entry["ETag"]) == (head["ContentLength"], head["ETag"])
    assert entry["LastModified"] == head["LastModified"]


def test_several_objects_are_deleted_at_once(s3: Any, bucket: str) -> None:
    gone = [{"Key": key} for key in (*KEYS[:5], "never there")]

    answer = s3.delete_objects(Bucket=bucket, Delete={"Objects": gone})

    assert {entry["Key"] for entry in answer["Deleted"]} == {entry["Key"] for entry in gone}
    assert listed(s3.list_objects_v2(Bucket=bucket))[0] == ["b/1", "c", "d/", "d/e"]


def test_a_version_is_deleted_for_good_and_a_marker_uncovers_it(s3: Any, bucket: str) -> None:
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    one = s3.put_object(Bucket=bucket, Key="v", Body=b"1")["VersionId"]
    two = s3.put_object(Bucket=bucket, Key="v", Body=b"2")["VersionId"]
    marker = s3.delete_object(Bucket=bucket, Key="v")

    s3.delete_object(Bucket=bucket, Key="v", VersionId=two)
    s3.delete_object(Bucket=bucket, Key="v", VersionId=marker["VersionId"])

    assert marker["DeleteMarker"]
    got = s3.get_object(Bucket=bucket, Key="v")
    assert (got["VersionId"], got["Body"].read()) == (one, b"1")


class TestStrict:
    """What moto does not do as S3 does."""

    @pytest.fixture
    def s3(self, aws: LocalAws) -> Any:
        return aws.s3()

    @pytest.mark.parametrize(
        ("asked", "code"),
        [
            pytest.param({"ContinuationToken": "no token"}, "InvalidArgument", id="no token"),
            pytest.param({"MaxKeys": -1}, "InvalidArgument", id="a negative page"),
            pytest.param({"Bucket": "lists-nowhere"}, "NoSuchBucket", id="no bucket"),
        ],
    )
    def test_a_list_that_means_nothing_is_refused(
        self, s3: Any, bucket: str, asked: dict[str, Any], code: str
    ) -> None:
        with pytest.raises(ClientError) as caught:
            s3.list_objects_v2(**{"Bucket": bucket, **asked})

        assert caught.value.response["Error"]["Code"] == code

    def test_no_page_has_more_than_a_thousand(self, s3: Any, bucket: str) -> None:
        assert s3.list_objects_v2(Bucket=bucket, MaxKeys=5000)["MaxKeys"] == 1000
        empty = s3.list_objects_v2(Bucket=bucket, MaxKeys=0)
        assert (empty["KeyCount"], empty["IsTruncated"]) == (0, False)

    def test_a_quiet_deletion_tells_only_failures(self, s3: Any, bucket: str) -> None:
        gone = {"Objects": [{"Key": "c"}], "Quiet": True}

        assert "Deleted" not in s3.delete_objects(Bucket=bucket, Delete=gone)
        assert s3.list_objects_v2(Bucket=bucket, Prefix="c")["KeyCount"] == 0

    @pytest.mark.parametrize(
        "keys", [[], [{"Key": f"k{n}"} for n in range(1001)]], ids=["none", "1,001"]
    )
    def test_one_to_a_thousand_objects_are_deleted_at_once(
        self, s3: Any, bucket: str, keys: list[dict[str, str]]
    ) -> None:
        with pytest.raises(ClientError) as caught:
            s3.delete_objects(Bucket=bucket, Delete={"Objects": keys})

        assert caught.value.response["Error"]["Code"] == "MalformedXML"


@given(
    keys=st.sets(st.text("ab/é", min_size=1, max_size=5), max_size=12),
    prefix=st.text("ab/", max_size=2),
    delimiter=st.sampled_from(["", "/", "b"]),
    after=st.text("ab/é", max_size=3),
    size=st.integers(1, 4),
)
def test_any_list_is_the_sum_of_its_pages(
    keys: set[str], prefix: str, delimiter: str, after: str, size: int
) -> None:
    ordered = sorted((k for k in keys if k.startswith(prefix)), key=str.encode)
    asked = {"prefix": prefix, "delimiter": delimiter, "start-after": after}
    whole = page_of(ordered, listing_of(asked))
    pages = [page_of(ordered, listing_of({**asked, "max-keys": str(size)}))]
    while pages[-1].next_token:
        more = {**asked, "max-keys": str(size), "continuation-token": pages[-1].next_token}
        pages.append(page_of(ordered, listing_of(more)))

    assert [k for p in pages for k in p.keys] == list(whole.keys)
    assert [k for p in pages for k in p.prefixes] == list(whole.prefixes)
    listed_or_rolled = [k for k in ordered if k.encode() > after.encode()]
    assert all(k in whole.keys or k.startswith(whole.prefixes) for k in listed_or_rolled)
