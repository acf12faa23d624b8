"""Signature Version 4 of plain requests, equal to botocore's."""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, Final
from urllib.parse import urlsplit

ALGORITHM: Final = "AWS4-HMAC-SHA256"
_SIGNED: Final = frozenset({"content-type", "host"})
"""Besides those of Amazon's own."""
_AMAZON: Final = ("x-amz-", "x-amzn-query-")
_KEPT: Final = 64
"""Signing keys that are remembered: one for each day, region, service and secret key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """AWS credentials at one moment."""

    access_key: str
    secret_key: str
    token: str | None = None


def keys_of(credentials: Any) -> Keys:
    """Return botocore's credentials as they are now; it refreshes them if need be.

    Raises:
        Exception: Any of botocore's.
    """
    frozen = credentials.get_frozen_credentials()
    return Keys(access_key=frozen.access_key, secret_key=frozen.secret_key, token=frozen.token)


def sign(
    url: str,
    headers: Mapping[str, str],
    *,
    keys: Keys,
    region: str,
    now: datetime,
    service: str = "s3",
    method: str = "GET",
    body: bytes = b"",
) -> dict[str, str]:
    """Return the headers of a request with its signature of version 4.

    https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html

    Args:
        url: Percent-encoded once, as S3 wants it, with at most one query parameter.
        headers: In lower case.
        keys: The caller's.
        region: Region of what is called.
        now: UTC.
        service: Its name in signatures; only S3 is told the digest of the body.
        method: HTTP method.
        body: The request's.
    """
    parts, stamp = urlsplit(url), now.strftime("%Y%m%dT%H%M%SZ")
    payload = hashlib.sha256(body).hexdigest()
    all_headers = {**headers, "host": parts.netloc, "x-amz-date": stamp}
    if service == "s3":
        all_headers["x-amz-content-sha256"] = payload
    if keys.token:
        all_headers["x-amz-security-token"] = keys.token
    names = sorted(name for name in all_headers if name in _SIGNED or name.startswith(_AMAZON))
    listed = "".join(f"{name}:{all_headers[name].strip()}\n" for name in names)
    signed_names = ";".join(names)
    request = "\n".join((method, parts.path, parts.query, listed, signed_names, payload))
    day = stamp[:8]
    scope = f"{day}/{region}/{service}/aws4_request"
    digest = hashlib.sha256(request.encode()).hexdigest()
    text = f"{ALGORITHM}\n{stamp}\n{scope}\n{digest}"
    key = _signing_key(keys.secret_key, day, region, service)
    signature = hmac.digest(key, text.encode(), "sha256").hex()
    all_headers["authorization"] = (
        f"{ALGORITHM} Credential={keys.access_key}/{scope}, "
        f"SignedHeaders={signed_names}, Signature={signature}"
    )
    return all_headers


@lru_cache(_KEPT)
def _signing_key(secret_key: str, day: str, region: str, service: str) -> bytes:
    key = f"AWS4{secret_key}".encode()
    for part in (day, region, service, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key
