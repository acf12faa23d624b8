"""``s3://bucket/prefix/``: where many objects lie."""

from dataclasses import dataclass

from detection_contract.aws.s3_urls import InvalidS3Url, object_location, redact_url


@dataclass(frozen=True, slots=True, kw_only=True)
class S3PrefixLocation:
    """A bucket and a prefix.

    Attributes:
        bucket: Bucket name.
        prefix: Empty, or ends with ``/``.
    """

    bucket: str
    prefix: str


def parse_s3_prefix(url: str) -> S3PrefixLocation:
    """Return what ``s3://bucket/prefix/`` names; a missing slash at the end is added.

    Raises:
        InvalidS3Url: It is no ``s3://`` URL, or its bucket or prefix cannot exist.
    """
    scheme, _, rest = url.partition("://")
    bucket, _, prefix = rest.partition("/")
    if scheme != "s3":
        raise InvalidS3Url(f"Not an S3 prefix: {redact_url(url)}: use s3://bucket/prefix/")
    object_location(bucket=bucket, key=prefix or "x")
    whole = prefix if not prefix or prefix.endswith("/") else f"{prefix}/"
    return S3PrefixLocation(bucket=bucket, prefix=whole)


def is_s3_prefix(url: str) -> bool:
    """Return whether ``url`` is ``s3://bucket/`` with or without a prefix."""
    try:
        parse_s3_prefix(url)
    except InvalidS3Url:
        return False
    return True
