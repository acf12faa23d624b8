from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detection_contract.aws.s3_urls import MAX_KEY_BYTES, S3Location, parse_s3_url, s3_uri
from detection_contract.result_keys import (
    DEFAULT_TEMPLATE,
    MAX_PREFIX_BYTES,
    MAX_TEMPLATE_BYTES,
    is_key_template,
    is_plain,
    key_pattern,
    names_media,
    page_key,
    page_template,
    result_key,
)

EVENING = 1_764_547_199.0
"""2025-11-30, a second before midnight in UTC."""
ALL = "{date}/{bucket}/{key}/{request_id}-{message_id}-{index}.json"


def key_of(template: str = DEFAULT_TEMPLATE, **changed: Any) -> str:
    values: dict[str, Any] = {
        "prefix": "results/",
        "request_id": "req-1",
        "message_id": "m-1",
        "index": 0,
        "sent_at_s": EVENING,
        "media": ("bucket", "a/clip.mp4"),
    }
    return result_key(template, **{**values, **changed})


@pytest.mark.parametrize(
    ("changed", "key"),
    [
        pytest.param({}, "results/2025/11/30/req-1.json", id="usual"),
        pytest.param({"prefix": ""}, "2025/11/30/req-1.json", id="no prefix"),
        pytest.param({"sent_at_s": None}, "results/undated/req-1.json", id="date unknown"),
        pytest.param({"sent_at_s": 1e18}, "results/undated/req-1.json", id="no date at all"),
        pytest.param({"request_id": "a b/é"}, "results/2025/11/30/a%20b%2F%C3%A9.json", id="odd"),
        pytest.param({"request_id": ".."}, "results/2025/11/30/%2E%2E.json", id="dots"),
        pytest.param(
            {"request_id": "../../x"}, "results/2025/11/30/%2E%2E%2F..%2Fx.json", id="way out"
        ),
        pytest.param({"request_id": "50%"}, "results/2025/11/30/50%25.json", id="percent"),
        pytest.param(
            {"request_id": "\ud800"}, "results/2025/11/30/%ED%A0%80.json", id="surrogate"
        ),
    ],
)
def test_a_key_of_the_default_template(changed: dict[str, Any], key: str) -> None:
    assert key_of(**changed) == key


@pytest.mark.parametrize(
    ("media", "folder"),
    [
        pytest.param(("bucket", "a/b/clip.mp4"), "bucket/a/b/clip.mp4", id="folders stay"),
        pytest.param(("bucket", "../b//c/"), "bucket/%2E%2E/b%2F%2Fc%2F", id="odd slashes"),
        pytest.param(
            ("arn:aws:s3:eu-west-1:123456789012:accesspoint/p", "k"),
            "arn%3Aaws%3As3%3Aeu-west-1%3A123456789012%3Aaccesspoint%2Fp/k",
            id="access point",
        ),
        pytest.param(None, "-/-", id="a message without media"),
    ],
)
def test_bucket_and_key_of_the_media(media: tuple[str, str] | None, folder: str) -> None:
    assert key_of("{bucket}/{key}/{request_id}", media=media) == f"results/{folder}/req-1"


@pytest.mark.parametrize(
    "template",
    [
        DEFAULT_TEMPLATE,
        ALL,
        "{request_id}",
        "{message_id}-{index}.json",
        "results of {date}/é {request_id}",
        "a" * (MAX_TEMPLATE_BYTES - 12) + "{request_id}",
    ],
)
def test_templates_that_are_accepted(template: str) -> None:
    assert is_key_template(template)


@pytest.mark.parametrize(
    "template",
    [
        pytest.param("", id="empty"),
        pytest.param(" ", id="blank"),
        pytest.param("results.json", id="one key for every result"),
        pytest.param("{date}/{bucket}/{key}.json", id="one key for every result of a file"),
        pytest.param("{message_id}.json", id="one key for every file of a message"),
        pytest.param("{request_id}/{user}", id="unknown placeholder"),
        pytest.param("{request_id:>9}", id="format"),
        pytest.param("{request_id}{", id="half a brace"),
        pytest.param("{{request_id}}", id="doubled braces"),
        pytest.param("/{request_id}", id="slash at the start"),
        pytest.param("{request_id}/", id="slash at the end"),
        pytest.param("{date}//{request_id}", id="doubled slash"),
        pytest.param("../{request_id}", id="parent folder"),
        pytest.param("a/./{request_id}", id="same folder"),
        pytest.param("{request_id}?versionId=1", id="looks like a version"),
        pytest.param("{request_id}\n", id="line feed"),
        pytest.param("{request_id}\u202e", id="reordering mark"),
        pytest.param("{request_id}\ud800", id="half a surrogate pair"),
        pytest.param("é" * (MAX_TEMPLATE_BYTES // 2) + "{request_id}", id="too long"),
    ],
)
def test_templates_that_are_refused(template: str) -> None:
    assert not is_key_template(template)


ids = st.text(min_size=1, max_size=256) | st.text(
    st.sampled_from("./%-_ éa~\U0001f600"), min_size=1
)
buckets = st.from_regex(r"[a-z0-9.-]{3,63}", fullmatch=True)
media_objects = st.none() | st.tuples(buckets, st.text(st.sampled_from("./a é"), min_size=1))


@given(
    st.sampled_from([DEFAULT_TEMPLATE, ALL, "{message_id}{index}", ".{request_id}/x"]),
    st.sampled_from(["", "results/", "é" * (MAX_PREFIX_BYTES // 2 - 1) + "/"]),
    ids,
    ids,
    st.none() | st.floats(allow_nan=True),
    media_objects,
)
def test_any_key_lies_below_the_prefix_and_is_one_that_s3_takes(
    template: str,
    prefix: str,
    request_id: str,
    message_id: str,
    sent_at_s: float | None,
    media: tuple[str, str] | None,
) -> None:
    key = key_of(
        template,
        prefix=prefix,
        request_id=request_id,
        message_id=message_id,
        sent_at_s=sent_at_s,
        media=media,
    )
    below = key.removeprefix(prefix)

    assert key.startswith(prefix)
    assert below
    assert len(key.encode()) <= MAX_KEY_BYTES
    assert not {"", ".", ".."} & set(below.split("/"))
    location = S3Location(bucket="bucket", key=key)
    assert parse_s3_url(s3_uri(location)) == location


@given(st.sets(ids, min_size=2, max_size=8), st.sampled_from(["", "x" * (MAX_PREFIX_BYTES - 1)]))
def test_different_ids_have_different_keys(request_ids: set[str], prefix: str) -> None:
    keys = {key_of(request_id=each, prefix=f"{prefix}/") for each in request_ids}

    assert len(keys) == len(request_ids)


def test_a_key_that_would_be_too_long_keeps_its_ending_and_stays_its_own() -> None:
    long = "é" * 256
    keys = [
        key_of(request_id=f"{long[:-1]}{last}", media=(f"bucket{number}", "k"), template=ALL)
        for last, number in product("ab", "12")
    ]

    assert len(set(keys)) == len(keys)
    assert all(key.endswith(".json") and len(key) <= MAX_KEY_BYTES for key in keys)
    assert key_of(request_id=long, template=ALL) == key_of(request_id=long, template=ALL)


@given(
    st.sampled_from([DEFAULT_TEMPLATE, ALL, "a+b/{message_id}{index}"]),
    st.text(min_size=1, max_size=60),
    st.none() | st.floats(0, 4e9),
    media_objects,
)
def test_keys_are_recognised_by_their_template(
    template: str, request_id: str, sent_at_s: float | None, media: tuple[str, str] | None
) -> None:
    key = key_of(template, prefix="", request_id=request_id, sent_at_s=sent_at_s, media=media)

    assert key_pattern(template).fullmatch(key)


@pytest.mark.parametrize(
    "key",
    ["clip.mp4", "2025/11/30/clip.mp4", "2025/11/30/a/req-1.json", "2025/11/req-1.json"],
)
def test_other_keys_are_not_taken_for_results(key: str) -> None:
    assert not key_pattern(DEFAULT_TEMPLATE).fullmatch(key)


@pytest.mark.parametrize(
    ("prefix", "plain"),
    [("", True), ("a/b.c/..d/", True), ("a?b/", False), ("a/../b/", False), ("./a/", False)],
)
def test_prefixes_whose_urls_name_their_objects(prefix: str, *, plain: bool) -> None:
    assert is_plain(prefix) is plain


@pytest.mark.parametrize(
    ("template", "media"),
    [
        ("{date}/{request_id}.json", False),
        ("{request_id}", False),
        ("{request_id}/{key}", True),
        ("{request_id}.JPG", True),
        ("{key}/{request_id}.json", False),
    ],
)
def test_templates_whose_keys_end_like_media(template: str, *, media: bool) -> None:
    assert names_media(template) is media


def test_a_page_lies_beside_its_envelope_under_a_key_that_no_envelope_has() -> None:
    assert page_template(DEFAULT_TEMPLATE) == "{date}/{request_id}.html"
    assert page_key("out/a.b.json") == "out/a.b.html"
    for template in ("{request_id}", "{request_id}.html", "{request_id}.JSON"):
        assert page_template(template) is None
    with pytest.raises(ValueError, match=r"a\.html does not end with \.json"):
        page_key("a.html")
