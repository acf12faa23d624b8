"""Errors of S3 while results are stored, as errors of a job with the next step."""

from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from botocore.exceptions import (
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    ProxyConnectionError,
    SSLError,
)

from detection_contract.aws.errors import error_code, http_status
from detection_contract.error_codes import ErrorCode
from detection_worker.aws_session import (
    explain_credentials,
    is_credentials_error,
    retry_after_s,
)
from detection_worker.errors import JobError
from detection_worker.storage.s3_errors import missing_permission, passes

UNREACHABLE: Final = (
    ConnectTimeoutError,
    EndpointConnectionError,
    ProxyConnectionError,
    SSLError,
)
"""No connection was made at all; a timeout of one that was made may be a single request's."""
_OF_ONE_OBJECT: Final = frozenset(
    {
        "BadDigest",
        "EntityTooLarge",
        "IncompleteBody",
        "InvalidURI",
        "KeyTooLongError",
        "MaxMessageLengthExceeded",
        "MetadataTooLarge",
        "XAmzContentSHA256Mismatch",
    }
)
"""Refusals that are about one object; any other would meet every result."""
_WRONG_REGION: Final = frozenset(
    {
        "AuthorizationHeaderMalformed",
        "IllegalLocationConstraint",
        "PermanentRedirect",
        "Redirect",
        "TemporaryRedirect",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """Where results are stored.

    Attributes:
        name: Bucket name.
        kms_key_id: KMS key that the worker names; None if it names none.
        owner: Account that must own the bucket; None if any may.
    """

    name: str
    kms_key_id: str | None = None
    owner: str | None = None

    @property
    def encryption(self) -> dict[str, str]:
        """Parameters of ``PutObject``."""
        if self.kms_key_id is None:
            return {}
        return {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": self.kms_key_id}

    @property
    def ownership(self) -> dict[str, str]:
        """Parameters of every call."""
        return {"ExpectedBucketOwner": self.owner} if self.owner else {}


def explain_store(exc: Exception, bucket: Bucket) -> JobError:
    """Return an exception of ``put_object`` or ``get_object`` as ``RESULT_NOT_STORED``.

    Args:
        exc: One of ``storage.s3_errors.CALL_ERRORS``.
        bucket: Where the result was to go.
    """
    if is_credentials_error(exc):
        reason = ". ".join(explain_credentials(exc).splitlines()).replace("!.", ":")
        return _failed(reason, environment=True)
    if isinstance(exc, ClientError):
        return _explain_answer(exc, bucket)
    return _failed(
        f"S3 cannot be reached ({type(exc).__name__})", environment=isinstance(exc, UNREACHABLE)
    )


def _failed(
    reason: str, *, environment: bool = False, retry_after_s: float | None = None
) -> JobError:
    return JobError(
        ErrorCode.RESULT_NOT_STORED,
        f"The result could not be stored: {reason}",
        environment=environment,
        retry_after_s=retry_after_s,
    )


def _explain_answer(exc: ClientError, bucket: Bucket) -> JobError:
    code, status = error_code(exc.response), http_status(exc.response)
    if kms := _about_kms(exc, bucket):
        return _failed(kms, environment=True)
    if code not in _WRONG_REGION and passes(exc):
        # Without an error code, a gateway or proxy in between answered.
        foreign = status >= HTTPStatus.INTERNAL_SERVER_ERROR and code.isdigit()
        full = status == HTTPStatus.INSUFFICIENT_STORAGE
        return _failed(
            f"S3 answered {status} ({code})",
            environment=foreign or full,
            retry_after_s=retry_after_s(exc),
        )
    return _failed(
        _refusal(exc, bucket, code=code, status=status), environment=code not in _OF_ONE_OBJECT
    )


def _about_kms(exc: ClientError, bucket: Bucket) -> str | None:
    """Return what is wrong with the KMS key; None if it is something else, or may pass."""
    whole = str(exc.response.get("Error", {}).get("Code", ""))
    missing = missing_permission(exc) or ""
    key = f"the KMS key {bucket.kms_key_id}" if bucket.kms_key_id else "the bucket's KMS key"
    if missing.startswith("kms:"):
        return (
            f"{key} may not be used ({missing} is not allowed); allow it in the policies of the "
            "worker's role and of the key"
        )
    if whole.startswith("KMS.") and "Throttling" not in whole and "Internal" not in whole:
        return (
            f"{key} cannot be used ({whole}); enable it, or name another by --results-kms-key-id"
        )
    return None


def _refusal(exc: ClientError, bucket: Bucket, *, code: str, status: int) -> str:
    name = bucket.name
    if code == "NoSuchBucket":
        return f"S3 bucket does not exist: {name}; create it, or correct --results"
    if code in _WRONG_REGION:
        return (
            f"bucket {name} is in another region than the one that was asked "
            f"({code}); set --aws-region, or the endpoint, to the bucket's"
        )
    if status == HTTPStatus.FORBIDDEN:
        return _denied(exc, bucket)
    text = " ".join(str(exc.response.get("Error", {}).get("Message", "")).split())
    return f"S3 refuses it in bucket {name}: {code} ({status}) {text}".rstrip()


def _denied(exc: ClientError, bucket: Bucket) -> str:
    missing = missing_permission(exc)
    text = str(exc.response.get("Error", {}).get("Message", ""))
    if "explicit deny" in text:
        return (
            f"a policy denies it in bucket {bucket.name} ({missing or 'Access Denied'}); if the "
            "bucket demands encryption with a KMS key, name it by --results-kms-key-id"
        )
    owner = (
        f"; also check that the bucket belongs to account {bucket.owner}, as "
        "--results-bucket-owner says"
        if bucket.owner and not missing
        else ""
    )
    return (
        f"Access Denied in bucket {bucket.name}; allow {missing or 's3:PutObject'} on it in the "
        f"policy of the worker's role (`detection-worker iam-policy` prints one){owner}"
    )
