"""The access keys that the local services accept; signatures themselves are not verified."""

import re
import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, NamedTuple

from detection_testing.http.values import Request

Refusal = Literal[
    "MissingAuthenticationToken", "InvalidClientTokenId", "ExpiredToken", "RequestExpired"
]

ACCESS_KEY_ID = "AKIALOCALAWS00000001"
SECRET_ACCESS_KEY = "local-aws-has-no-secrets"  # noqa: S105 - public, of a loopback fake
_SIGNED = re.compile(r"Credential=([^/,\s]+)/")


class Credentials(NamedTuple):
    """One set of keys; ``session_token`` is None for long-lived ones."""

    access_key_id: str
    secret_access_key: str
    session_token: str | None


LOCAL = Credentials(ACCESS_KEY_ID, SECRET_ACCESS_KEY, None)
"""Always accepted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Issued:
    credentials: Credentials
    expires_s: float
    arn: str


class CredentialStore:
    """Knows which access keys are good.

    Args:
        required: False lets every request in, signed or not.
    """

    def __init__(self, *, required: bool = True) -> None:
        self._required = required
        self._issued: dict[str, _Issued] = {}

    def issue(self, *, arn: str, expires_s: float) -> Credentials:
        """Make temporary credentials that end at ``expires_s`` (Unix seconds)."""
        key = "ASIA" + secrets.token_hex(8).upper()
        credentials = Credentials(key, secrets.token_hex(20), secrets.token_hex(32))
        self._issued[key] = _Issued(credentials=credentials, expires_s=expires_s, arn=arn)
        return credentials

    def refusal(self, request: Request, *, now_s: float) -> Refusal | None:
        """Return why a request is not let in, or None."""
        if not self._required:
            return None
        key, token, expires_s = _presented(request)
        if key is None:
            return "MissingAuthenticationToken"
        if expires_s is not None and now_s >= expires_s:
            return "RequestExpired"
        if key == ACCESS_KEY_ID:
            return None
        issued = self._issued.get(key)
        if issued is None or issued.credentials.session_token != token:
            return "InvalidClientTokenId"
        return "ExpiredToken" if now_s >= issued.expires_s else None

    def identity(self, request: Request) -> str:
        """Return the ARN of a request's signer."""
        issued = self._issued.get(_presented(request)[0] or "")
        return issued.arn if issued else "arn:aws:iam::123456789012:user/local"


def _presented(request: Request) -> tuple[str | None, str | None, float | None]:
    signed = _SIGNED.search(request.headers.get("authorization", ""))
    if signed:
        return signed.group(1), request.headers.get("x-amz-security-token"), None
    query = request.parameters() if "Signature=" in request.query else {}
    if "AWSAccessKeyId" in query:  # a URL presigned by version 2, boto3's default in us-east-1
        end_s = float(query.get("Expires", "0"))
        return query["AWSAccessKeyId"], query.get("x-amz-security-token"), end_s
    if "X-Amz-Credential" not in query:
        return None, None, None
    key = query["X-Amz-Credential"].partition("/")[0]
    return key, query.get("X-Amz-Security-Token"), _presigned_end_s(query)


def _presigned_end_s(query: dict[str, str]) -> float:
    # Signature Version 4, query parameters: valid for X-Amz-Expires seconds from X-Amz-Date.
    try:
        signed = datetime.strptime(query["X-Amz-Date"], "%Y%m%dT%H%M%S%z")
        return signed.timestamp() + int(query["X-Amz-Expires"])
    except (KeyError, ValueError):
        return 0.0
