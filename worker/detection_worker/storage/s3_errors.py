"""Errors of S3, translated to errors of a job."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import unquote_plus, urlsplit

from botocore.exceptions import (
    ClientError,
    EndpointProviderError,
    InvalidRegionError,
    MissingDependencyException,
    ParamValidationError,
)
from botocore.parsers import ResponseParserError

from detection_contract import user_messages
from detection_contract.aws.errors import error_code, http_status
from detection_contract.aws.s3_urls import S3Location, s3_uri
from detection_contract.error_codes import ErrorCode
from detection_worker.aws_session import (
    explain_credentials,
    is_credentials_error,
    retry_after_s,
)
from detection_worker.errors import JobError

PASSING_CODES: Final = frozenset({"OperationAborted", "RequestTimeout", "SlowDown", "Throttling"})
_ENCODED: Final = re.compile(r"(?=.*(?:\+|%[0-9A-Fa-f]{2}))[!-~]+")
"""A URL-encoded key contains neither spaces nor characters beyond ASCII."""
_NOT_AUTHORIZED: Final = re.compile(r"not authorized to perform: ([a-z0-9]{1,32}:[A-Za-z]{1,64})")
_READING: Final = frozenset({"kms:Decrypt", "s3:GetObject", "s3:GetObjectVersion"})
"""Permissions to read an object that exists; for a missing one S3 names ``s3:ListBucket``."""
PASSING_STATUSES: Final = frozenset({307, 408, 409, 425, 429})
_UNFETCHABLE = (
    EndpointProviderError,
    InvalidRegionError,
    MissingDependencyException,
    ParamValidationError,
)


class Interrupted(Exception):  # noqa: N818 - the read may be resumed; not an error yet
    """A read stopped for a reason that may pass.

    Attributes:
        retry_after_s: Seconds that S3 asked to wait; None if it did not.
        environment: S3 could not be reached, so the object itself may be fine.
    """

    def __init__(
        self, message: str, *, retry_after_s: float | None = None, environment: bool = False
    ) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        self.environment = environment


class ObjectChanged(Exception):  # noqa: N818 - not an error yet: the fetch starts again
    """The object was replaced after its first bytes were read."""


class PermissionMissing(JobError):  # noqa: N818 - reads as what it says
    """S3 names the permission that the caller lacks for an object that exists."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Home:
    """The worker's own region and endpoint.

    Messages may name other regions; their failures say nothing about the worker.

    Attributes:
        region: The worker's region; None where one endpoint serves every region.
        host: Host of its S3 endpoint, with the port if the URL has one.
    """

    region: str | None
    host: str

    def holds(self, location: S3Location) -> bool:
        """Return whether an object is in this region, as far as its URL says."""
        return self.region is None or location.region in (None, self.region)

    def reached_for(self, exc: Exception) -> bool:
        """Return whether the connection that failed was to this endpoint, or to a proxy."""
        details: Mapping[str, object] = getattr(exc, "kwargs", {})
        if "proxy_url" in details:
            return True
        return urlsplit(str(details.get("endpoint_url", ""))).netloc.endswith(self.host)


EVERYWHERE: Final = Home(region=None, host="")


def explain(
    exc: Exception, location: S3Location, home: Home = EVERYWHERE
) -> JobError | Interrupted | ObjectChanged:
    """Return an exception of ``get_object`` as an error of the job.

    Args:
        exc: One of ``CALL_ERRORS``.
        location: The requested object.
        home: The worker's region and endpoint, to tell failures of the worker's environment from
            those of a region that a message names.
    """
    if is_credentials_error(exc):
        return JobError(
            ErrorCode.CREDENTIALS,
            _first_line(explain_credentials(exc)),
            environment=home.holds(location) and not _is_of_the_region(exc),
        )
    if isinstance(exc, ClientError):
        return _explain_answer(exc, location, home)
    if isinstance(exc, _UNFETCHABLE):
        return JobError(
            ErrorCode.BAD_URL, f"S3 cannot be asked for {shown(location)} ({type(exc).__name__})"
        )
    if isinstance(exc, ResponseParserError):
        return Interrupted(
            "S3 gave an answer that cannot be read", environment=home.holds(location)
        )
    return Interrupted(
        f"S3 cannot be reached ({type(exc).__name__})", environment=home.reached_for(exc)
    )


def _is_of_the_region(exc: Exception) -> bool:
    """Return whether only the region of one bucket may refuse the credentials.

    Opt-in regions answer ``InvalidToken`` to credentials of other regions.
    """
    return isinstance(exc, ClientError) and error_code(exc.response) == "InvalidToken"


def _explain_answer(
    exc: ClientError, location: S3Location, home: Home
) -> JobError | Interrupted | ObjectChanged:
    code, status = error_code(exc.response), http_status(exc.response)
    if status == 412:
        return ObjectChanged()
    if passes(exc):
        # Without an error code, a gateway or proxy in between answered.
        foreign = status >= 500 and code.isdigit()
        return Interrupted(
            f"S3 answered {status} ({code})",
            retry_after_s=retry_after_s(exc),
            environment=foreign and home.holds(location),
        )
    missing = missing_permission(exc)
    if missing is not None:
        denied = f"{_first_line(user_messages.ACCESS_DENIED)} ({missing} is not allowed)"
        kind = PermissionMissing if missing in _READING else JobError
        return kind(ErrorCode.S3_FORBIDDEN, denied)
    return JobError(*_refusal(location, code=code, status=status))


def _refusal(location: S3Location, *, code: str, status: int) -> tuple[ErrorCode, str]:
    where = shown(location)
    if status == 416:
        return ErrorCode.EMPTY_FILE, empty(location)
    if code == "NoSuchBucket":
        return ErrorCode.S3_NO_SUCH_BUCKET, f"S3 bucket does not exist: {location.bucket}"
    # 405: the version named is a delete marker.
    if status in (404, 405) or (location.version_id and code == "InvalidArgument"):
        return ErrorCode.S3_NOT_FOUND, (
            f"{_first_line(user_messages.FILE_NOT_FOUND.format(url=where))}{_hint(location)}"
        )
    if code == "InvalidObjectState":
        return ErrorCode.S3_FORBIDDEN, f"S3 file is archived, restore it first: {where}"
    if status == 403:
        return ErrorCode.S3_FORBIDDEN, _first_line(user_messages.ACCESS_DENIED)
    return ErrorCode.S3_FORBIDDEN, f"Failed to download S3 file: {code} ({status})"


def missing_permission(exc: ClientError) -> str | None:
    """Return the IAM action that S3 says the caller lacks; None if it names none."""
    found = _NOT_AUTHORIZED.search(str(exc.response.get("Error", {}).get("Message", "")))
    denied = http_status(exc.response) == 403 and error_code(exc.response) == "AccessDenied"
    return found[1] if found and denied else None


def passes(exc: ClientError) -> bool:
    """Return whether the same request may work later."""
    code, status = error_code(exc.response), http_status(exc.response)
    # KMS answers through S3: a key that is throttled or being enabled again works later.
    from_kms = str(exc.response.get("Error", {}).get("Code", "")).startswith("KMS.")
    busy = status in PASSING_STATUSES or status >= 500 or code in PASSING_CODES
    return busy or (from_kms and status != 403)


def empty(location: S3Location) -> str:
    """Return the message about an object without bytes."""
    return f"S3 file is empty: {shown(location)}{_hint(location)}"


def _hint(location: S3Location) -> str:
    """Return a likely mistake in the key of a missing object; empty if there is none."""
    key = location.key
    if key.endswith("/"):
        return " (a key that ends with / is a folder or a prefix: name a file below it)"
    if not _ENCODED.fullmatch(key):
        return ""
    decoded = replace(location, key=unquote_plus(key))
    return f" (the key looks URL-encoded, as in events of S3; decoded it is {shown(decoded)})"


def shown(location: S3Location) -> str:
    """Return the ``s3://`` form of ``location`` on one printable line."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
        for char in s3_uri(location)
    )


def _first_line(text: str) -> str:
    return text.partition("\n")[0]
