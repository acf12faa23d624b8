"""S3 URLs: every documented form, parsed to bucket, key, version and region."""

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote, unquote_to_bytes

from detection_contract.aws.arns import partition_of

MAX_KEY_BYTES: Final = 1024
"""Longest object key, in UTF-8; https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html."""
MAX_URL_CHARS: Final = 16_384
"""Fits the longest key, percent-encoded, and a presigned query with a session token."""
_SHOWN_URL_CHARS: Final = 512
_S3_SCHEMES: Final = frozenset({"s3", "s3a", "s3n"})

ACCEPTED: Final = (
    "accepted are s3://bucket/key and the https URLs of Amazon S3, "
    "for example https://bucket.s3.region.amazonaws.com/key"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Location:
    """Bucket and key of an object, with version and region if they are known.

    Attributes:
        bucket: Bucket name, or the ARN or alias of an access point.
        key: Object key, decoded exactly once, never normalised; not empty.
        version_id: Version of the object; None means the latest.
        region: AWS region that the URL names; None if it names none.
    """

    bucket: str
    key: str
    version_id: str | None = None
    region: str | None = None


class InvalidS3Url(ValueError):  # noqa: N818 - reads as what it says: this is an invalid S3 URL
    """A text is not the URL of an S3 object; the message omits its query, which may be signed."""


class _Refused(Exception):  # noqa: N818 - carries a reason inside this module only
    """Why, as a clause that follows the URL in the message."""


# Host grammar: botocore's S3 endpoint rule set, and the older forms that S3 still serves.
_REGION: Final = r"(?P<region>(?:[a-z]{2}|eusc)(?:-[a-z]+){1,2}-[0-9]{1,2})"
_SUFFIX: Final = (
    r"(?:amazonaws\.com|amazonaws\.com\.cn|amazonaws\.eu|c2s\.ic\.gov|sc2s\.sgov\.gov"
    r"|cloud\.adc-e\.uk|csp\.hci\.ic\.gov)"
)
# Greedy on purpose: a bucket may itself contain ".s3.", so the service is found from the right.
_BUCKET: Final = r"(?:(?P<bucket>.+)\.)?"
_POINT: Final = r"(?P<point>[a-z0-9-]{3,50})-(?P<account>[0-9]{12})"
_VPCE: Final = rf"vpce-[a-z0-9-]+\.s3\.{_REGION}\.vpce\.{_SUFFIX}"

_BUCKET_HOSTS: Final = tuple(
    re.compile(_BUCKET + host)
    for host in (
        rf"s3(?:-fips)?(?:\.dualstack)?\.{_REGION}\.{_SUFFIX}",
        rf"s3-(?:fips-)?{_REGION}\.{_SUFFIX}",
        rf"s3(?P<external>-external-1)?\.{_SUFFIX}",
        rf"s3-accelerate(?:\.dualstack)?\.{_SUFFIX}",
        rf"s3express(?:-fips)?-[a-z0-9-]+(?:\.dualstack)?\.{_REGION}\.{_SUFFIX}",
        rf"bucket\.{_VPCE}",
    )
)
_POINT_HOSTS: Final = (
    (
        "s3",
        re.compile(rf"{_POINT}\.s3-accesspoint(?:-fips)?(?:\.dualstack)?\.{_REGION}\.{_SUFFIX}"),
    ),
    ("s3", re.compile(rf"{_POINT}\.accesspoint\.{_VPCE}")),
    (
        "s3-object-lambda",
        re.compile(rf"{_POINT}\.s3-object-lambda(?:-fips)?\.{_REGION}\.{_SUFFIX}"),
    ),
    (
        "s3-outposts",
        re.compile(rf"{_POINT}\.(?P<outpost>op-[a-z0-9]+)\.s3-outposts\.{_REGION}\.{_SUFFIX}"),
    ),
)
_MULTI_REGION_HOST: Final = re.compile(rf"[a-z0-9]+\.mrap\.accesspoint\.s3-global\.{_SUFFIX}")
_WEBSITE_HOST: Final = re.compile(rf".+\.s3-website[.-][a-z0-9-]+\.{_SUFFIX}")
_ARN_AND_KEY: Final = re.compile(
    r"(?P<head>arn:aws[a-z-]*:(?:s3|s3-object-lambda|s3-outposts):(?P<region>[a-z0-9-]*):[0-9]{12}:)"
    r"(?P<resource>(?:outpost[/:]op-[a-z0-9]+[/:])?accesspoint[/:][a-z0-9-]{3,50}(?:\.mrap)?)"
    r"/(?P<key>.*)",
    re.DOTALL,
)
_BUCKET_NAME: Final = re.compile(r"(?!.*\.\.)[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_IPV4_SHAPE: Final = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}")
# Amazon's own examples hold "+"; "/" and "=" are kept for other makers of base64.
_VERSION_ID: Final = r"[A-Za-z0-9._~+/=-]{1,1024}"
_S3_VERSION: Final = re.compile(rf"(?P<key>.*)\?versionId=(?P<version>{_VERSION_ID})", re.DOTALL)
_IGNORED_PARAMETER: Final = re.compile(
    r"x-amz-.+|x-id|awsaccesskeyid|signature|expires|response-.+", re.IGNORECASE
)
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def parse_s3_url(url: str, *, endpoint_hosts: frozenset[str] = frozenset()) -> S3Location:
    """Return the object that ``url`` names; nothing is contacted.

    In an ``s3://``, ``s3a://`` or ``s3n://`` URL the key is taken literally, as the AWS command
    line does: ``%``, ``?`` and ``#`` are part of it, only a closing ``?versionId=…`` is
    not. In an ``https`` URL the path is percent-decoded exactly once, ``+`` stays ``+``, and
    nothing is normalised. Credentials in a presigned query are ignored.

    Args:
        url: Any form that the Amazon S3 user guide documents.
        endpoint_hosts: Lower-case ``host`` or ``host:port`` of S3-compatible endpoints whose http
            and https URLs, path style or ``bucket.host``, are accepted too.

    Raises:
        InvalidS3Url: ``url`` is not one of these forms, or its bucket or key cannot exist.
    """
    try:
        return _parse(url, endpoint_hosts=endpoint_hosts)
    except _Refused as refused:
        shown = redact_url(url)
        if len(shown) > _SHOWN_URL_CHARS:
            shown = shown[:_SHOWN_URL_CHARS] + "…"
        raise InvalidS3Url(f"Not an S3 URL: {shown}: {refused}; {ACCEPTED}") from None


def object_location(
    *, bucket: str, key: str, version_id: str | None = None, region: str | None = None
) -> S3Location:
    """Return the location with its bucket, key and version checked.

    Args:
        bucket: A bucket name, not an ARN.
        key: Already decoded.
        version_id: None or empty means the latest.
        region: AWS region; ignored if it does not look like one.

    Raises:
        InvalidS3Url: One of them cannot exist in S3.
    """
    try:
        return S3Location(
            bucket=_checked_bucket(bucket),
            key=_checked_key(key),
            version_id=_checked_version(version_id) if version_id else None,
            region=region if region and re.fullmatch(_REGION, region) else None,
        )
    except _Refused as refused:
        shown = redact_url(f"s3://{bucket}/{key}")[:_SHOWN_URL_CHARS]
        raise InvalidS3Url(f"Not an S3 object: {shown}: {refused}") from None


def s3_uri(location: S3Location) -> str:
    """Return the ``s3://`` form of ``location``, with its version if it has one."""
    version = f"?versionId={location.version_id}" if location.version_id else ""
    return f"s3://{location.bucket}/{location.key}{version}"


def object_arn(location: S3Location, *, region: str) -> str:
    """Return the ARN of an object as IAM and events write it.

    Args:
        location: The object.
        region: Any region of its partition, for a location that names none.
    """
    if location.bucket.startswith("arn:"):
        return f"{location.bucket}/object/{location.key}"
    return f"arn:{partition_of(location.region or region)}:s3:::{location.bucket}/{location.key}"


def is_amazon_s3(url: str) -> bool:
    """Return whether the host of an http or https URL is one of Amazon S3."""
    authority = url.partition("://")[2].partition("/")[0].lower()
    return any(pattern.fullmatch(authority) for pattern in _BUCKET_HOSTS)


def redact_url(url: str) -> str:
    """Return ``url`` for logs: no query, fragment or user info, on one printable line."""
    named = url.partition("?")[0]
    scheme, separator, rest = named.partition("://") if "://" in named else ("", "", named)
    if scheme.lower() not in _S3_SCHEMES:
        rest = rest.partition("#")[0]
    authority, slash, path = rest.partition("/")
    shown = f"{scheme}{separator}{authority.rpartition('@')[2]}{slash}{path}"
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
        for char in shown
    )


def _parse(url: str, *, endpoint_hosts: frozenset[str]) -> S3Location:
    if len(url) > MAX_URL_CHARS:
        raise _Refused(f"it is longer than {MAX_URL_CHARS} characters")
    if _CONTROL.search(url):
        raise _Refused("it contains a control character")
    scheme, separator, rest = url.partition("://")
    scheme = scheme.lower()
    if separator and scheme in _S3_SCHEMES:
        return _parse_s3_scheme(rest)
    if separator and scheme in {"https", "http"}:
        return _parse_http(rest, scheme=scheme, endpoint_hosts=endpoint_hosts)
    raise _Refused("it does not begin with s3:// or https://")


def _parse_s3_scheme(rest: str) -> S3Location:
    version = None
    if versioned := _S3_VERSION.fullmatch(rest):
        rest, version = versioned["key"], versioned["version"]
    if rest.startswith("arn:"):
        found = _ARN_AND_KEY.fullmatch(rest)
        if found is None:
            raise _Refused("its ARN is not that of an access point, followed by / and a key")
        # boto3 takes both separators; one spelling gives one object one name.
        return S3Location(
            bucket=found["head"] + found["resource"].replace(":", "/"),
            key=_checked_key(found["key"]),
            version_id=version,
            region=found["region"] or None,
        )
    bucket, _, key = rest.partition("/")
    return S3Location(bucket=_checked_bucket(bucket), key=_checked_key(key), version_id=version)


def _parse_http(rest: str, *, scheme: str, endpoint_hosts: frozenset[str]) -> S3Location:
    if "#" in rest:
        raise _Refused("it has a fragment; write a # of the key as %23")
    address, _, query = rest.partition("?")
    authority, _, path = address.partition("/")
    if "@" in authority:
        raise _Refused("it has user information before its host")
    if not authority.isascii() or "\\" in authority:
        raise _Refused("its host has characters that no host name has")
    bucket, region = _bucket_of_host(authority.lower(), scheme=scheme, endpoints=endpoint_hosts)
    if bucket is None:
        bucket, _, path = path.partition("/")
    return S3Location(
        bucket=bucket if bucket.startswith("arn:") else _checked_bucket(bucket),
        key=_checked_key(_percent_decoded(path)),
        version_id=_version_of_query(query),
        region=region,
    )


def _bucket_of_host(
    host: str, *, scheme: str, endpoints: frozenset[str]
) -> tuple[str | None, str | None]:
    """Return bucket (or access point ARN) and region; a bucket of None means path style."""
    aws = _aws_host(host)
    if aws is not None:
        if scheme != "https":
            raise _Refused("Amazon S3 is addressed by https")
        return aws
    if host in endpoints:
        return None, None
    for endpoint in sorted(endpoints, key=len, reverse=True):
        if host.endswith("." + endpoint):
            return host.removesuffix("." + endpoint), None
    if ":" in host:
        raise _Refused("its host has a port or is an IPv6 address")
    raise _Refused("its host is not one of Amazon S3")


def _aws_host(host: str) -> tuple[str | None, str | None] | None:
    for service, pattern in _POINT_HOSTS:
        if found := pattern.fullmatch(host):
            return _access_point_arn(found, service=service), found["region"]
    for pattern in _BUCKET_HOSTS:
        if found := pattern.fullmatch(host):
            groups = found.groupdict()
            region = "us-east-1" if groups.get("external") else groups.get("region")
            return found["bucket"], region
    if _MULTI_REGION_HOST.fullmatch(host):
        raise _Refused(
            "the host of a multi-region access point does not name its account; "
            "write s3://arn:aws:s3::ACCOUNT:accesspoint/NAME.mrap/KEY"
        )
    if _WEBSITE_HOST.fullmatch(host):
        raise _Refused("it is a website endpoint, which names a page and not an object")
    return None


def _access_point_arn(found: re.Match[str], *, service: str) -> str:
    groups = found.groupdict()
    region = groups["region"]
    outpost = f"outpost/{groups['outpost']}/" if "outpost" in groups else ""
    account, point = groups["account"], groups["point"]
    return f"arn:{partition_of(region)}:{service}:{region}:{account}:{outpost}accesspoint/{point}"


def _version_of_query(query: str) -> str | None:
    version = None
    for parameter in query.split("&") if query else ():
        name, _, value = parameter.partition("=")
        if name == "versionId":
            if version is not None:
                raise _Refused("it names two versions")
            version = _checked_version(unquote(value))
        elif not _IGNORED_PARAMETER.fullmatch(name):
            # Dropping it could silently analyse another object than the one meant.
            raise _Refused("its query is not one of S3; write a ? of the key as %3F")
    return version


def _percent_decoded(path: str) -> str:
    try:
        return unquote_to_bytes(path).decode("utf-8")
    except UnicodeError:
        raise _Refused("its key is not UTF-8") from None


def _checked_bucket(bucket: str) -> str:
    if not _BUCKET_NAME.fullmatch(bucket) or _IPV4_SHAPE.fullmatch(bucket):
        raise _Refused(
            "its bucket name is not 3 to 63 lower-case letters, digits, dots and hyphens"
        )
    return bucket


def _checked_key(key: str) -> str:
    if not key:
        raise _Refused("it has no key")
    try:
        size = len(key.encode("utf-8"))
    except UnicodeEncodeError:
        raise _Refused("its key is not Unicode text") from None
    if size > MAX_KEY_BYTES:
        raise _Refused(f"its key is longer than {MAX_KEY_BYTES} bytes")
    if _CONTROL.search(key):
        raise _Refused("its key contains a control character")
    return key


def _checked_version(version: str) -> str:
    if not re.fullmatch(_VERSION_ID, version):
        raise _Refused("its versionId is empty or has characters that no version has")
    return version
