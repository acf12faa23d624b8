"""Server-side encryption as headers: asked for with an upload, told with every answer."""

import re
from collections.abc import Mapping

from detection_testing.aws.s3.errors import S3Error, invalid_argument
from detection_testing.aws.sqs.registry import ACCOUNT_ID, REGION

ALGORITHM = "x-amz-server-side-encryption"
KEY_ID = "x-amz-server-side-encryption-aws-kms-key-id"
BUCKET_KEY = "x-amz-server-side-encryption-bucket-key-enabled"
DEFAULT: Mapping[str, str] = {ALGORITHM: "AES256"}
"""Since January 2023 S3 encrypts every object that asks for nothing with its own keys."""

_KMS = ("aws:kms", "aws:kms:dsse")
_KEY_ARN = f"arn:aws:kms:{REGION}:{ACCOUNT_ID}:"
_MANAGED_KEY = "key/00000000-0000-4000-8000-000000000000"
"""Stands for ``aws/s3``, the account's own key for S3."""
_KEY = re.compile(r"(key/|alias/)?[\w/-]+", re.A)


def encryption_of(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers of an object encrypted as an upload asks.

    Raises:
        S3Error: ``InvalidArgument``; ``KMS.NotFoundException`` for what is no key at all.
    """
    algorithm, key = headers.get(ALGORITHM), headers.get(KEY_ID)
    if algorithm in _KMS:
        return {ALGORITHM: algorithm, KEY_ID: _arn(key), **_bucket_key(headers)}
    if key is not None:
        text = "Server Side Encryption with AWS KMS managed key requires HTTP header "
        raise invalid_argument(
            f"{text}{ALGORITHM} : aws:kms", name=ALGORITHM, value=str(algorithm)
        )
    if algorithm not in (None, "AES256"):
        text = "The encryption method specified is not supported"
        raise invalid_argument(text, name=ALGORITHM, value=algorithm)
    return dict(DEFAULT)


def is_kms(encryption: Mapping[str, str]) -> bool:
    """Say whether a key of KMS encrypts the object: its ETag is then no digest of its bytes."""
    return encryption.get(ALGORITHM) in _KMS


def _arn(key: str | None) -> str:
    if key is None:
        return _KEY_ARN + _MANAGED_KEY
    if key.startswith("arn:aws"):
        return key
    if not _KEY.fullmatch(key):
        raise S3Error("KMS.NotFoundException", f"Invalid keyId '{key}'", status=400)
    return _KEY_ARN + (key if "/" in key else f"key/{key}")


def _bucket_key(headers: Mapping[str, str]) -> dict[str, str]:
    return {BUCKET_KEY: "true"} if headers.get(BUCKET_KEY, "").lower() == "true" else {}
