import pytest

from detection_contract.aws.s3_prefixes import is_s3_prefix, parse_s3_prefix
from detection_contract.aws.s3_urls import InvalidS3Url


@pytest.mark.parametrize(
    ("url", "bucket", "prefix"),
    [
        ("s3://bucket", "bucket", ""),
        ("s3://bucket/", "bucket", ""),
        ("s3://bucket/results", "bucket", "results/"),
        ("s3://bucket/results/", "bucket", "results/"),
        ("s3://a.b-c/é/x y/", "a.b-c", "é/x y/"),
    ],
)
def test_bucket_and_prefix(url: str, bucket: str, prefix: str) -> None:
    place = parse_s3_prefix(url)

    assert (place.bucket, place.prefix) == (bucket, prefix)
    assert is_s3_prefix(url)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "bucket/results",
        "https://bucket.s3.amazonaws.com/results/",
        "s3://",
        "s3:///results/",
        "s3://Bucket/",
        "s3://bu/",
        "s3://bucket/a\x00b/",
        "s3://bucket/" + "x" * 1025,
    ],
)
def test_what_names_no_place_for_objects(url: str) -> None:
    assert not is_s3_prefix(url)
    with pytest.raises(InvalidS3Url):
        parse_s3_prefix(url)
