"""What the error codes of AWS mean, whichever service and protocol they come by."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final

Response = Mapping[str, Any]
"""The ``response`` of botocore's ``ClientError``: ``Error`` and ``ResponseMetadata``."""


class QueueFault(StrEnum):
    """Why SQS refused a call, as far as its response says."""

    MISSING = "missing"
    """There is no such queue."""
    DENIED = "denied"
    """The caller's role lacks a permission, or the queue's KMS key cannot be used."""
    CREDENTIALS = "credentials"
    """The caller's credentials do not work."""
    THROTTLED = "throttled"
    """Too many calls."""


WRONG_KEY_CODES: Final = frozenset(
    {
        "AuthFailure",
        "AuthorizationError",
        "IncompleteSignature",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidSignature",
        "MissingAuthenticationToken",
        "MissingSecurityHeader",
        "NotSignedUp",
        "SignatureDoesNotMatch",
        "UnrecognizedClient",
    }
)
"""The credentials are wrong; they need to be changed."""
CLOCK_CODES: Final = frozenset({"RequestExpired", "RequestInTheFuture", "RequestTimeTooSkewed"})
"""This machine's clock is wrong, by more than 15 minutes for S3 and 5 for most others."""
EXPIRED_CODES: Final = (
    frozenset({"ExpiredToken", "InvalidToken", "TokenRefreshRequired"}) | CLOCK_CODES
)
"""The credentials do not work now and may work later."""
_CLOCK_WORDS: Final = ("Signature expired", "Signature not yet current")
"""How SQS and STS say that the clock is wrong, under the code of a wrong signature."""
_MISSING: Final = frozenset({"NonExistentQueue", "QueueDoesNotExist", "InvalidAddress"})
_DENIED: Final = frozenset(
    {
        "AccessDenied",
        "InvalidSecurity",
        "KmsAccessDenied",
        "KmsDisabled",
        "KmsInvalidKeyUsage",
        "KmsInvalidState",
        "KmsNotFound",
        "KmsOptInRequired",
        "OptInRequired",
    }
)
_THROTTLED: Final = frozenset(
    {
        "KmsThrottled",
        "KmsThrottling",
        "RequestLimitExceeded",
        "RequestThrottled",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "TooManyRequests",
    }
)


def plain_code(code: str) -> str:
    """Return an error code without namespace and ``Exception`` suffix.

    The same error is ``AWS.SimpleQueueService.NonExistentQueue`` by one protocol and
    ``com.amazonaws.sqs#QueueDoesNotExist`` by another.
    """
    return code.rpartition("#")[2].rpartition(".")[2].removesuffix("Exception")


def error_code(response: Response) -> str:
    """Return the error code of a response as ``plain_code`` shortens it; empty if there is none.

    If the response held no readable error, botocore puts the HTTP status there.
    """
    return plain_code(str(response.get("Error", {}).get("Code", "")))


def http_status(response: Response) -> int:
    """Return the HTTP status of a response; 0 if unknown."""
    return int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def queue_fault(response: Response) -> QueueFault | None:
    """Return why SQS refused a call; None for errors that a retry may overcome.

    Args:
        response: The ``response`` of botocore's ``ClientError``.
    """
    code, status = error_code(response), http_status(response)
    if str(response.get("Error", {}).get("Code", "")).startswith("KMS."):
        code = f"Kms{code}"  # the query protocol's KMS.DisabledException is SQS's KmsDisabled
    if code in _MISSING:
        return QueueFault.MISSING
    if code in _DENIED:
        return QueueFault.DENIED
    if code in WRONG_KEY_CODES | EXPIRED_CODES:
        return QueueFault.CREDENTIALS
    if code in _THROTTLED or status == 429:
        return QueueFault.THROTTLED
    # A proxy, an endpoint's policy or an emulator refuses with a bare status.
    bare = not code or code.isdigit()
    return QueueFault.DENIED if bare and status in (401, 403) else None


def is_clock_error(code: str, message: str) -> bool:
    """Return whether AWS refused a request because of the time that it was signed at."""
    return code in CLOCK_CODES or message.startswith(_CLOCK_WORDS)
