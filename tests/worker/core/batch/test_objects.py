"""Which objects of a listing or a manifest are analysed, and how several are named at once."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detection_contract.aws.s3_urls import parse_s3_url, s3_uri
from detection_worker.core.batch.objects import (
    Selection,
    Skip,
    StoredObject,
    location_of,
    parse_pattern,
)

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


def item(key: str, **values: object) -> StoredObject:
    return StoredObject(**{"bucket": "media", "key": key, "size_bytes": 1, **values})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("key", "values", "why"),
    [
        ("up/a.mp4", {}, None),
        ("up/a b+c%ünï.JPG", {}, None),
        ("up/", {}, Skip.FOLDER),
        ("up/a.txt", {}, Skip.OTHER_TYPE),
        ("up/a.mp4", {"size_bytes": 0}, Skip.EMPTY),
        ("up/a.mp4", {"size_bytes": None}, None),
        ("up/a.mp4", {"archived": True}, Skip.ARCHIVED),
        ("up/a.mp4", {"removed": True}, Skip.REMOVED),
        ("up/a\nb.mp4", {}, Skip.NO_URL),
        ("up/a\ud800.mp4", {}, Skip.NO_URL),
        ("up/a?versionId=b.mp4", {}, Skip.NO_URL),
        ("x" * 1021 + ".mp4", {}, Skip.NO_URL),
        ("up/a.mp4", {"bucket": "No_Bucket"}, Skip.NO_URL),
    ],
)
def test_an_object_is_analysed_unless_a_reason_speaks_against_it(
    key: str, values: dict[str, object], why: Skip | None
) -> None:
    assert Selection().why_not(item(key, **values)) is why


def test_keys_of_unknown_types_are_taken_if_that_is_wanted() -> None:
    assert Selection(any_type=True).why_not(item("up/recording")) is None
    assert Selection(any_type=True).why_not(item("up/")) is Skip.FOLDER


@pytest.mark.parametrize(
    ("include", "exclude", "taken"),
    [
        ((), (), {"a.mp4", "sub/b.mp4", "sub/c.jpg"}),
        (("*.mp4",), (), {"a.mp4", "sub/b.mp4"}),
        (("sub/*", "a.*"), ("*.jpg",), {"a.mp4", "sub/b.mp4"}),
        ((), ("sub/*",), {"a.mp4"}),
        (("*.MP4",), (), set()),
    ],
)
def test_patterns_match_what_follows_the_folder(
    include: tuple[str, ...], exclude: tuple[str, ...], taken: set[str]
) -> None:
    within = parse_pattern("s3://media/up/")
    chosen = Selection(within=within, include=include, exclude=exclude)
    names = ("a.mp4", "sub/b.mp4", "sub/c.jpg")

    assert {n for n in names if chosen.why_not(item(f"up/{n}")) is None} == taken
    assert chosen.why_not(item("up/a.mp4", bucket="other")) is Skip.LEFT_OUT
    assert chosen.why_not(item("down/a.mp4")) is Skip.LEFT_OUT


def test_older_objects_are_left_out_and_unknown_times_are_an_error() -> None:
    since = Selection(since=NOON)

    assert since.why_not(item("a.mp4", last_modified=NOON)) is None
    assert since.why_not(item("a.mp4", last_modified=NOON - timedelta(seconds=1))) is Skip.OLD
    with pytest.raises(ValueError, match="when its objects were uploaded"):
        since.why_not(item("a.mp4"))


@given(st.text(min_size=1), st.none() | st.text("abc123._-", min_size=1))
def test_a_url_means_the_object_and_no_other(key: str, version: str | None) -> None:
    made = item(key, version_id=version)
    location = location_of(made)

    if location is not None:
        assert (location.bucket, location.key, location.version_id) == ("media", key, version)
        assert parse_s3_url(s3_uri(location)) == location


@pytest.mark.parametrize(
    ("url", "held", "not_held"),
    [
        ("s3://media", ["a.mp4", "x/y.mp4"], []),
        ("s3://media/", ["a.mp4", "x/y.mp4"], []),
        ("S3://media/up/", ["up/a.mp4", "up/x/y.mp4"], ["upper/a.mp4", "a.mp4"]),
        ("s3://media/up/*.mp4", ["up/a.mp4", "up/.mp4"], ["up/x/a.mp4", "up/a.mp4x", "up/a.jpg"]),
        ("s3://media/up/**.mp4", ["up/a.mp4", "up/x/a.mp4"], ["up/a.jpg"]),
        ("s3://media/*/a.mp4", ["x/a.mp4"], ["x/y/a.mp4", "a.mp4"]),
        ("s3://media/2026-*/", ["2026-01/a.mp4", "2026-01/x/a.mp4"], ["2025-01/a.mp4"]),
        ("s3://media/a[1]*.jpg", ["a[1]2.jpg"], ["a12.jpg"]),
        ("s3://media/a\nb/*", ["a\nb/c"], []),
    ],
)
def test_a_pattern_holds_what_it_means(url: str, held: list[str], not_held: list[str]) -> None:
    found = parse_pattern(url)

    if "\n" in url:
        assert found is None
        return
    assert found is not None
    assert [k for k in held if not found.holds(bucket="media", key=k)] == []
    assert [k for k in not_held if found.holds(bucket="media", key=k)] == []
    assert not found.holds(bucket="other", key=held[0])


def test_line_feeds_in_keys_do_not_end_a_wildcard() -> None:
    found = parse_pattern("s3://media/**.mp4")

    assert found is not None
    assert found.holds(bucket="media", key="a\nb.mp4")


@pytest.mark.parametrize(
    "url",
    [
        "s3://media/up/a.mp4",
        "s3://media/what?.mp4",
        "s3://No_Bucket/up/",
        "s3://m*/up/",
        "https://media.s3.amazonaws.com/up/",
        "s3://arn:aws:s3:us-east-1:123456789012:accesspoint/point/up/",
        "up/",
        "*.mp4",
    ],
)
def test_other_urls_name_one_object_or_none(url: str) -> None:
    assert parse_pattern(url) is None


def test_the_folder_of_a_wildcard_is_what_lies_before_it() -> None:
    found = [parse_pattern(f"s3://media/{p}") for p in ("up/a*.mp4", "*.mp4", "up/", "")]

    assert [f and f.folder for f in found] == ["up/", "", "up/", ""]
