"""Signatures of callbacks by HMAC-SHA256: Standard Webhooks 1.0.0, https://www.standardwebhooks.com.

Receivers in Python may use ``verify`` as it stands.
"""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from typing import Final

ID_HEADER: Final = "webhook-id"
TIMESTAMP_HEADER: Final = "webhook-timestamp"
SIGNATURE_HEADER: Final = "webhook-signature"
SECRET_PREFIX: Final = "whsec_"  # noqa: S105 - the public prefix of every secret
MIN_SECRET_BYTES: Final = 24
MAX_SECRET_BYTES: Final = 64
TOLERANCE_S: Final = 300
"""How far a receiver lets the timestamp be from its own clock."""
_VERSION: Final = "v1"
# A full stop separates the signed parts, and header values are visible ASCII.
_ID: Final = re.compile(r"[!-\-/-~]{1,256}")


class InvalidSignature(ValueError):  # noqa: N818 - reads as what it says
    """A callback's signature is wrong, missing or too old; the message says which."""


def is_webhook_id(text: str) -> bool:
    """Return whether ``text`` can be signed: 1 to 256 visible ASCII characters, no full stop."""
    return _ID.fullmatch(text) is not None


def decode_secret(secret: str) -> bytes:
    """Return the key in ``secret``, which is ``whsec_`` and base64 of 24 to 64 bytes.

    Raises:
        ValueError: It is not a valid secret; the message does not show it.
    """
    encoded = secret.strip().removeprefix(SECRET_PREFIX)
    if encoded == secret.strip():
        raise ValueError(f"a signing secret must begin with {SECRET_PREFIX}")
    try:
        key = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"a signing secret must be base64 after {SECRET_PREFIX}") from None
    if not MIN_SECRET_BYTES <= len(key) <= MAX_SECRET_BYTES:
        raise ValueError(
            f"a signing secret must hold {MIN_SECRET_BYTES} to {MAX_SECRET_BYTES} bytes, "
            f"not {len(key)}"
        )
    return key


def sign(secret: str, *, webhook_id: str, timestamp_s: int, body: bytes) -> str:
    """Return the signature of one delivery attempt, as ``v1,<base64>``.

    Args:
        secret: See ``decode_secret``.
        webhook_id: 1 to 256 visible ASCII characters without a full stop.
        timestamp_s: Unix seconds of the attempt.
        body: The bytes that are posted.

    Raises:
        ValueError: The secret or the id is not acceptable.
    """
    if not is_webhook_id(webhook_id):
        raise ValueError("a webhook id must be visible ASCII characters without a full stop")
    content = f"{webhook_id}.{timestamp_s}.".encode() + body
    digest = hmac.new(decode_secret(secret), content, hashlib.sha256).digest()
    return f"{_VERSION},{base64.b64encode(digest).decode()}"


def headers(
    secrets: Sequence[str], *, webhook_id: str, timestamp_s: int, body: bytes
) -> dict[str, str]:
    """Return the headers of one delivery attempt.

    Args:
        secrets: One signature is made with each: during a rotation both the old and the new
            receiver accept. Without any there is no signature header.
        webhook_id: The same for every attempt: the receiver's idempotency key.
        timestamp_s: Unix seconds of this attempt.
        body: The bytes that are posted.

    Raises:
        ValueError: As ``sign``.
    """
    made = {ID_HEADER: webhook_id, TIMESTAMP_HEADER: str(timestamp_s)}
    if secrets:
        made[SIGNATURE_HEADER] = " ".join(
            sign(secret, webhook_id=webhook_id, timestamp_s=timestamp_s, body=body)
            for secret in secrets
        )
    return made


def verify(
    secrets: Sequence[str],
    received: Mapping[str, str],
    body: bytes,
    *,
    now_s: float,
    tolerance_s: float = TOLERANCE_S,
) -> None:
    """Check that ``body`` was signed with one of ``secrets`` within the tolerance.

    Args:
        secrets: All secrets that are valid now, each as for ``decode_secret``.
        received: The request's headers; case of the names does not matter.
        body: The received bytes, not parsed and encoded again.
        now_s: Unix seconds on the receiver's clock.
        tolerance_s: Older and newer timestamps are refused, against replays.

    Raises:
        InvalidSignature: A header is missing or malformed, the timestamp is off, or no signature
            fits.
        ValueError: A secret is not acceptable.
    """
    lower = {name.lower(): value for name, value in received.items()}
    missing = [n for n in (ID_HEADER, TIMESTAMP_HEADER, SIGNATURE_HEADER) if n not in lower]
    if missing:
        raise InvalidSignature(f"missing header {missing[0]}")
    webhook_id, stamp = lower[ID_HEADER], lower[TIMESTAMP_HEADER]
    if not _ID.fullmatch(webhook_id) or not re.fullmatch(r"[0-9]{1,12}", stamp):
        raise InvalidSignature(f"malformed header {ID_HEADER} or {TIMESTAMP_HEADER}")
    if abs(now_s - int(stamp)) > tolerance_s:
        raise InvalidSignature(f"the timestamp is more than {tolerance_s:g} s off")
    offered = [s.encode("utf-8", "replace") for s in lower[SIGNATURE_HEADER].split(" ")]
    made = [
        sign(secret, webhook_id=webhook_id, timestamp_s=int(stamp), body=body).encode()
        for secret in secrets
    ]
    # In constant time, so that the duration does not reveal the right signature.
    if not any(hmac.compare_digest(mine, theirs) for mine in made for theirs in offered):
        raise InvalidSignature("no signature fits")
