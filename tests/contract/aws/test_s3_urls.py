import re
from collections.abc import Callable
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from detection_contract.aws.s3_urls import (
    InvalidS3Url,
    S3Location,
    is_amazon_s3,
    object_location,
    parse_s3_url,
    redact_url,
    s3_uri,
)

REGIONS = ("us-east-1", "eu-west-3", "ap-southeast-2", "us-gov-west-1", "us-isob-east-1")
ENDPOINTS = frozenset({"minio.example:9000", "objects.internal"})
ACCOUNT = "123456789012"

label = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,14}[a-z0-9])?", fullmatch=True)
bucket_names = st.one_of(
    st.lists(label, min_size=1, max_size=4)
    .map(".".join)
    .filter(lambda name: 3 <= len(name) <= 63 and not name.replace(".", "").isdigit()),
    st.sampled_from(["a.b.c", "my.s3.bucket", "x.s3.us-east-1", "s3", "bucket"]).map(
        lambda name: name if len(name) > 2 else f"{name}.{name}"
    ),
)
key_chars = st.characters(exclude_categories=["Cs", "Cc"])
keys = st.one_of(
    st.text(key_chars, min_size=1, max_size=200),
    st.text(st.sampled_from("/.%+2F# ?&=é漢e\u0301"), min_size=1, max_size=60),
)
regions = st.sampled_from(REGIONS)
versions = st.one_of(st.none(), st.from_regex(r"[A-Za-z0-9._]{1,40}", fullmatch=True))

Form = Callable[[str, str, str], str]

VIRTUAL: dict[str, tuple[str, bool]] = {
    "s3.{r}.amazonaws.com": ("virtual host", True),
    "s3.amazonaws.com": ("virtual host, global", False),
    "s3-{r}.amazonaws.com": ("virtual host, dash", True),
    "s3.dualstack.{r}.amazonaws.com": ("dualstack", True),
    "s3-fips.{r}.amazonaws.com": ("FIPS", True),
    "s3-fips-{r}.amazonaws.com": ("FIPS, dash", True),
    "s3-fips.dualstack.{r}.amazonaws.com": ("FIPS dualstack", True),
    "s3.{r}.amazonaws.com.cn": ("China", True),
    "s3.{r}.c2s.ic.gov": ("another partition", True),
    "bucket.vpce-0a1b2c-3d4e.s3.{r}.vpce.amazonaws.com": ("VPC endpoint", True),
}
ONLY_VIRTUAL: dict[str, tuple[str, bool]] = {
    "s3-accelerate.amazonaws.com": ("accelerate", False),
    "s3-accelerate.dualstack.amazonaws.com": ("accelerate dualstack", False),
}
VIRTUAL_HOSTS = [
    pytest.param(host, named, id=name) for host, (name, named) in (VIRTUAL | ONLY_VIRTUAL).items()
]
PATH_HOSTS = [
    pytest.param(host, named, id=f"path style, {name}") for host, (name, named) in VIRTUAL.items()
]


def with_version(url: str, version: str | None) -> str:
    return url if version is None else f"{url}?versionId={version}"


@pytest.mark.parametrize(("host", "names_region"), VIRTUAL_HOSTS)
@given(bucket=bucket_names, key=keys, region=regions, version=versions)
def test_every_virtual_host_url_leads_back_to_its_object(
    host: str, *, names_region: bool, bucket: str, key: str, region: str, version: str | None
) -> None:
    url = with_version(
        f"https://{bucket}.{host.format(r=region)}/{quote(key, safe='/+')}", version
    )

    location = parse_s3_url(url)

    assert location == S3Location(
        bucket=bucket, key=key, version_id=version, region=region if names_region else None
    )


@pytest.mark.parametrize(("host", "names_region"), PATH_HOSTS)
@given(bucket=bucket_names, key=keys, region=regions, version=versions)
def test_every_path_style_url_leads_back_to_its_object(
    host: str, *, names_region: bool, bucket: str, key: str, region: str, version: str | None
) -> None:
    url = with_version(
        f"https://{host.format(r=region)}/{bucket}/{quote(key, safe='/+')}", version
    )

    location = parse_s3_url(url)

    assert location == S3Location(
        bucket=bucket, key=key, version_id=version, region=region if names_region else None
    )


@given(bucket=bucket_names, key=keys, version=versions)
def test_an_s3_uri_leads_back_to_its_object(bucket: str, key: str, version: str | None) -> None:
    location = S3Location(bucket=bucket, key=key, version_id=version)

    assert parse_s3_url(s3_uri(location)) == location


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("endpoint", sorted(ENDPOINTS))
@given(bucket=bucket_names, key=keys)
def test_urls_of_a_configured_endpoint_lead_back_to_their_object(
    scheme: str, endpoint: str, bucket: str, key: str
) -> None:
    expected = S3Location(bucket=bucket, key=key)
    encoded = quote(key, safe="/+")

    path_style = parse_s3_url(
        f"{scheme}://{endpoint}/{bucket}/{encoded}", endpoint_hosts=ENDPOINTS
    )
    host_style = parse_s3_url(
        f"{scheme}://{bucket}.{endpoint}/{encoded}", endpoint_hosts=ENDPOINTS
    )

    assert path_style == expected
    assert host_style == expected


@pytest.mark.parametrize(
    ("url", "bucket", "key", "region"),
    [
        pytest.param(
            "s3://bucket/path/to/file.ext", "bucket", "path/to/file.ext", None, id="guide"
        ),
        pytest.param("S3://bucket/k", "bucket", "k", None, id="scheme in upper case"),
        pytest.param("s3a://bucket/k", "bucket", "k", None, id="s3a"),
        pytest.param("s3n://bucket/k", "bucket", "k", None, id="s3n"),
        pytest.param("s3://bucket/a%20b", "bucket", "a%20b", None, id="s3 keys are literal"),
        pytest.param("s3://bucket/a b?c#d", "bucket", "a b?c#d", None, id="? and # in an s3 key"),
        pytest.param("s3://bucket//a//b/../.", "bucket", "/a//b/../.", None, id="no normalising"),
        pytest.param("s3://bucket/folder/", "bucket", "folder/", None, id="trailing slash"),
        pytest.param(
            "HTTPS://Bucket.S3.EU-West-1.amazonaws.com/K.JPG",
            "bucket",
            "K.JPG",
            "eu-west-1",
            id="host in upper case",
        ),
        pytest.param(
            "https://bucket.s3.amazonaws.com/a+b%2Bc%2520d%2Fe.png",
            "bucket",
            "a+b+c%20d/e.png",
            None,
            id="decoded exactly once, plus is plus",
        ),
        pytest.param(
            "https://bucket.s3.amazonaws.com/a b%zz.png", "bucket", "a b%zz.png", None, id="raw"
        ),
        pytest.param(
            "https://bucket.s3.amazonaws.com//a/%2e%2e/../b",
            "bucket",
            "/a/../../b",
            None,
            id="dots and empty segments stay",
        ),
        pytest.param(
            "https://bucket.s3-external-1.amazonaws.com/k", "bucket", "k", "us-east-1", id="ext-1"
        ),
        pytest.param(
            "https://my-point-s3alias.s3.us-east-1.amazonaws.com/k",
            "my-point-s3alias",
            "k",
            "us-east-1",
            id="access point alias",
        ),
        pytest.param(
            f"https://point-{ACCOUNT}.s3-accesspoint.us-west-2.amazonaws.com/a/k",
            f"arn:aws:s3:us-west-2:{ACCOUNT}:accesspoint/point",
            "a/k",
            "us-west-2",
            id="access point",
        ),
        pytest.param(
            f"https://point-{ACCOUNT}.s3-accesspoint-fips.dualstack.us-gov-west-1.amazonaws.com/k",
            f"arn:aws-us-gov:s3:us-gov-west-1:{ACCOUNT}:accesspoint/point",
            "k",
            "us-gov-west-1",
            id="access point, FIPS, dualstack, GovCloud",
        ),
        pytest.param(
            f"https://a-b-{ACCOUNT}.accesspoint.vpce-0a.s3.cn-north-1.vpce.amazonaws.com.cn/k",
            f"arn:aws-cn:s3:cn-north-1:{ACCOUNT}:accesspoint/a-b",
            "k",
            "cn-north-1",
            id="access point of a VPC endpoint in China",
        ),
        pytest.param(
            f"https://point-{ACCOUNT}.s3-object-lambda.us-west-2.amazonaws.com/k",
            f"arn:aws:s3-object-lambda:us-west-2:{ACCOUNT}:accesspoint/point",
            "k",
            "us-west-2",
            id="object lambda",
        ),
        pytest.param(
            f"https://point-{ACCOUNT}.op-01ac5d28a6a232904.s3-outposts.us-west-2.amazonaws.com/k",
            f"arn:aws:s3-outposts:us-west-2:{ACCOUNT}:outpost/op-01ac5d28a6a232904/accesspoint/point",
            "k",
            "us-west-2",
            id="outpost",
        ),
        pytest.param(
            "https://b1--use1-az4--x-s3.s3express-use1-az4.us-east-1.amazonaws.com/k",
            "b1--use1-az4--x-s3",
            "k",
            "us-east-1",
            id="express one zone",
        ),
        pytest.param(
            f"s3://arn:aws:s3:us-west-2:{ACCOUNT}:accesspoint:point/a/k?versionId=v1",
            f"arn:aws:s3:us-west-2:{ACCOUNT}:accesspoint/point",
            "a/k",
            "us-west-2",
            id="ARN with a colon",
        ),
        pytest.param(
            f"s3://arn:aws:s3::{ACCOUNT}:accesspoint/mfzwi23gnjvgw.mrap/k",
            f"arn:aws:s3::{ACCOUNT}:accesspoint/mfzwi23gnjvgw.mrap",
            "k",
            None,
            id="multi-region access point",
        ),
        pytest.param(
            f"s3://arn:aws:s3-outposts:us-west-2:{ACCOUNT}:outpost:op-01:accesspoint:point/k",
            f"arn:aws:s3-outposts:us-west-2:{ACCOUNT}:outpost/op-01/accesspoint/point",
            "k",
            "us-west-2",
            id="outpost ARN",
        ),
    ],
)
def test_a_documented_form_names_its_object(
    url: str, bucket: str, key: str, region: str | None
) -> None:
    location = parse_s3_url(url)

    assert (location.bucket, location.key, location.region) == (bucket, key, region)


@pytest.mark.parametrize(
    "query",
    [
        pytest.param(
            "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=A%2F20250101&X-Amz-Date=D"
            "&X-Amz-Expires=60&X-Amz-SignedHeaders=host&X-Amz-Security-Token=T&X-Amz-Signature=0f"
            "&x-id=GetObject&response-content-type=image%2Fpng&versionId=a%2Bb",
            id="version 4",
        ),
        pytest.param("AWSAccessKeyId=A&Signature=S%3D&Expires=1&versionId=a+b", id="version 2"),
    ],
)
def test_a_presigned_query_is_ignored_but_for_the_version(query: str) -> None:
    location = parse_s3_url(f"https://bucket.s3.us-east-1.amazonaws.com/k.png?{query}")

    assert location == S3Location(
        bucket="bucket", key="k.png", version_id="a+b", region="us-east-1"
    )


AWS = "https://bucket.s3.amazonaws.com"

REFUSED = [
    pytest.param("", "begin with", id="empty"),
    pytest.param("bucket/key", "begin with", id="no scheme"),
    pytest.param("/tmp/file.png", "begin with", id="local path"),
    pytest.param("ftp://bucket.s3.amazonaws.com/k", "begin with", id="another scheme"),
    pytest.param("https:/bucket.s3.amazonaws.com/k", "begin with", id="one slash"),
    pytest.param("https://s3.amazonaws.com.evil.org/bucket/k", "host is not", id="suffix added"),
    pytest.param("https://evil.org/?s3.amazonaws.com", "host is not", id="AWS in the query"),
    pytest.param(
        "https://evil.org/bucket.s3.amazonaws.com/k", "host is not", id="AWS in the path"
    ),
    pytest.param("https://bucket.s3.amazonaws.com@evil.org/k", "user inform", id="AWS as user"),
    pytest.param("https://u:p@bucket.s3.amazonaws.com/k", "user inform", id="user information"),
    pytest.param("https://bucket.s3.amazonaws.com\\.evil.org/k", "host has", id="backslash"),
    pytest.param("https://evils3.amazonaws.com/k/k", "host is not", id="no dot before s3"),
    pytest.param("https://buc\u212aet.s3.amazonaws.com/k", "host has", id="Kelvin sign"),
    pytest.param("https://bucket.s3.amazonaws.com./k", "host is not", id="dot after the host"),
    pytest.param("https://bucket.s3.amazonaws.com:443/k", "port", id="port"),
    pytest.param("https://[::1]/bucket/k", "IPv6", id="IPv6"),
    pytest.param("https://169.254.169.254/latest/meta-data", "host is not", id="metadata service"),
    pytest.param("http://bucket.s3.amazonaws.com/k", "https", id="http"),
    pytest.param(f"{AWS}", "no key", id="no key"),
    pytest.param(f"{AWS}/", "no key", id="empty key"),
    pytest.param("s3://bucket", "no key", id="s3 without key"),
    pytest.param("s3://bucket/?versionId=v", "no key", id="version without key"),
    pytest.param("https://s3.amazonaws.com/bucket", "no key", id="path style without key"),
    pytest.param("https://s3.amazonaws.com//bucket/k", "bucket name", id="empty bucket"),
    pytest.param("https://s3.amazonaws.com/b%75cket/k", "bucket name", id="encoded bucket"),
    pytest.param("https://..s3.amazonaws.com/k", "bucket name", id="bucket of a dot"),
    pytest.param("s3:///k", "bucket name", id="s3 without bucket"),
    pytest.param("s3://ab/k", "bucket name", id="short bucket"),
    pytest.param(f"s3://{'a' * 64}/k", "bucket name", id="long bucket"),
    pytest.param("s3://My_Bucket/k", "bucket name", id="capitals and underscore"),
    pytest.param("s3://a..b/k", "bucket name", id="two dots"),
    pytest.param("s3://-abc/k", "bucket name", id="hyphen first"),
    pytest.param("s3://192.168.5.4/k", "bucket name", id="bucket like an address"),
    pytest.param("s3://bücket/k", "bucket name", id="bucket not ASCII"),
    pytest.param("s3://user:pass@bucket/k", "bucket name", id="user information in s3"),
    pytest.param("s3://bucket:9000/k", "bucket name", id="port in s3"),
    pytest.param(f"s3://bucket/{'k' * 1025}", "1024 bytes", id="long key"),
    pytest.param(f"s3://bucket/{'é' * 513}", "1024 bytes", id="long key in bytes"),
    pytest.param(f"{AWS}/{'%41' * 1025}", "1024 bytes", id="long key after decoding"),
    pytest.param(f"{AWS}/{'a' * 20_000}", "16384", id="very long URL"),
    pytest.param("s3://bucket/a\nb", "control", id="line feed"),
    pytest.param(f"{AWS}/a%00b", "control", id="encoded NUL"),
    pytest.param(f"{AWS}/a\tb", "control", id="tab"),
    pytest.param("s3://bucket/\udc80", "Unicode", id="surrogate"),
    pytest.param(f"{AWS}/%ff", "UTF-8", id="not UTF-8"),
    pytest.param(f"{AWS}/a#b", "%23", id="fragment"),
    pytest.param(f"{AWS}/what?.jpg", "%3F", id="unescaped question mark"),
    pytest.param(f"{AWS}/k?acl", "%3F", id="sub-resource"),
    pytest.param(f"{AWS}/k?versionId=", "versionId", id="empty version"),
    pytest.param(f"{AWS}/k?versionId=a%0Ab", "versionId", id="control character in the version"),
    pytest.param(f"{AWS}/k?versionId=a&versionId=b", "two versions", id="two versions"),
    pytest.param("s3://arn:aws:s3:::bucket/k", "ARN", id="ARN of a bucket"),
    pytest.param("s3://arn:aws:sqs:us-east-1:123456789012:q/k", "ARN", id="ARN of a queue"),
    pytest.param(
        "https://mfzwi23gnjvgw.mrap.accesspoint.s3-global.amazonaws.com/k",
        "accesspoint/NAME.mrap",
        id="multi-region host",
    ),
    pytest.param(
        "http://bucket.s3-website-us-east-1.amazonaws.com/k", "website", id="website, dash"
    ),
    pytest.param("http://bucket.s3-website.eu-west-3.amazonaws.com/k", "website", id="website"),
    pytest.param("https://minio.example:9000/bucket/k", "port", id="endpoint not configured"),
]


@pytest.mark.parametrize(("url", "reason"), REFUSED)
def test_anything_else_is_refused_with_the_reason(url: str, reason: str) -> None:
    with pytest.raises(InvalidS3Url, match=re.escape(reason)) as caught:
        parse_s3_url(url)

    assert "accepted are s3://bucket/key" in str(caught.value)


def test_an_endpoint_does_not_admit_its_look_alikes() -> None:
    for url in (
        "https://evilobjects.internal/bucket/k",
        "https://objects.internal.evil.org/bucket/k",
        "https://objects.internal:8080/bucket/k",
        "https://x@objects.internal/bucket/k",
    ):
        with pytest.raises(InvalidS3Url):
            parse_s3_url(url, endpoint_hosts=ENDPOINTS)


def test_the_refusal_names_the_url_but_no_secret() -> None:
    with pytest.raises(InvalidS3Url) as caught:
        parse_s3_url("https://user:hunter2@evil.org/k?X-Amz-Signature=0123abcd#fragment")

    assert "https://evil.org/k:" in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert "0123abcd" not in str(caught.value)


@given(st.text(st.characters(), max_size=80) | st.from_regex(r"(s3|https?)://.{0,60}"))
@example("https://[")
@example("s3://arn:")
def test_any_text_is_an_object_or_a_refusal_on_one_line(text: str) -> None:
    refusal, location = "", None
    try:
        location = parse_s3_url(text, endpoint_hosts=ENDPOINTS)
    except InvalidS3Url as invalid:
        refusal = str(invalid)

    assert refusal.isprintable()
    assert bool(refusal) != (location is not None and 1 <= len(location.key.encode()) <= 1024)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        pytest.param("https://u:p@h.example/a?b=c#d", "https://h.example/a", id="everything"),
        pytest.param("https://h.example?sig=1", "https://h.example", id="no path"),
        pytest.param("https://h.example/a#token=1", "https://h.example/a", id="fragment"),
        pytest.param("s3://key:secret@bucket/a#1?X-Amz-Signature=1", "s3://bucket/a#1", id="s3"),
        pytest.param("u:p@h/a?b://c", "h/a", id="separator inside the query"),
        pytest.param("s3://bucket/a://b", "s3://bucket/a://b", id="separator inside the key"),
        pytest.param("a\nb", "a\\nb", id="control character"),
        pytest.param("https://h/a@b", "https://h/a@b", id="at sign in the path"),
    ],
)
def test_a_url_is_shown_without_its_secrets(url: str, shown: str) -> None:
    assert redact_url(url) == shown


@given(st.text(max_size=60))
def test_whatever_follows_the_question_mark_is_never_shown(secret: str) -> None:
    assert redact_url(f"https://h.example/a?{secret}") == "https://h.example/a"


def test_an_event_location_is_checked_like_a_url() -> None:
    location = object_location(bucket="bucket", key="a b", version_id="", region="nowhere")

    assert location == S3Location(bucket="bucket", key="a b")
    with pytest.raises(InvalidS3Url, match="bucket name"):
        object_location(bucket="Bad", key="k")
    with pytest.raises(InvalidS3Url, match="no key"):
        object_location(bucket="bucket", key="")


@pytest.mark.parametrize(
    ("url", "own"),
    [
        ("https://s3.eu-west-1.amazonaws.com/bucket/key", True),
        ("https://bucket.s3.amazonaws.com", True),
        ("https://S3-FIPS.us-gov-west-1.amazonaws.com/", True),
        ("http://minio.example:9000/bucket/key", False),
        ("https://s3.amazonaws.com.example/bucket/key", False),
    ],
)
def test_the_hosts_of_amazon_s3_are_told_from_other_stores(url: str, own: bool) -> None:  # noqa: FBT001
    assert is_amazon_s3(url) is own
