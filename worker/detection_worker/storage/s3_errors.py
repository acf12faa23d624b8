"""What an error of S3 means for the job that met it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import unquote_plus, urlsplit

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    EndpointProviderError,
    InvalidRegionError,
    MissingDependencyException,
    ParamValidationError,
)
from botocore.parsers import ResponseParserError
from urllib3.exceptions import HTTPError

from detection_contract import user_messages
from detection_contract.aws.s3_urls import S3Location, s3_uri
from detection_contract.error_codes import ErrorCode
from detection_worker.aws_session import (
    error_code,
    explain_credentials,
    http_status,
    is_credentials_error,
    retry_after_s,
)
from detection_worker.errors import JobError

CALL_ERRORS: Final = (BotoCoreError, ClientError, ResponseParserError, HTTPError, OSError)
"""What a call can raise; anything else is a bug."""
PASSING_CODES: Final = frozenset({"OperationAborted", "RequestTimeout", "SlowDown", "Throttling"})
_ENCODED: Final = re.compile(r"(?=.*(?:\+|%[0-9A-Fa-f]{2}))[!-~]+")
"""An encoded key holds no spaces and nothing beyond ASCII."""
_NOT_AUTHORIZED: Final = re.compile(r"not authorized to perform: ([a-z0-9]{1,32}:[A-Za-z]{1,64})")
_READING: Final = frozenset({"kms:Decrypt", "s3:GetObject", "s3:GetObjectVersion"})
"""Without ``s3:ListBucket`` S3 names that one for an object that does not exist."""
PASSING_STATUSES: Final = frozenset({307, 408, 409, 425, 429})
_UNFETCHABLE = (
    EndpointProviderError,
    InvalidRegionError,
    MissingDependencyException,
    ParamValidationError,
)


class Interrupted(Exception):  # noqa: N818 - a read that may go on, no error of the job yet
    """A read broke off for a reason that may pass.

    Attributes:
        retry_after_s: How long S3 asked us to wait, if it did.
        environment: It says nothing about the object: S3 could not be asked.
    """

    def __init__(
        self, message: str, *, retry_after_s: float | None = None, environment: bool = False
    ) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        self.environment = environment


class ObjectChanged(Exception):  # noqa: N818 - likewise: the fetch starts again
    """The object is not the one whose first bytes were read."""


class PermissionMissing(JobError):  # noqa: N818 - reads as what it says
    """S3 names the permission that the caller lacks for an object that exists."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Home:
    """Where the worker itself lives. Messages may name other places, which prove nothing about it.

    Attributes:
        region: Its own; None where one endpoint serves every region.
        host: Of its endpoint, with the port if one is given.
    """

    region: str | None
    host: str

    def holds(self, location: S3Location) -> bool:
        """Return whether an object is to be asked for here, as far as its URL tells."""
        return self.region is None or location.region in (None, self.region)

    def reached_for(self, exc: Exception) -> bool:
        """Return whether a connection failed on its way to this place, or before."""
        details: Mapping[str, object] = getattr(exc, "kwargs", {})
        if "proxy_url" in details:
            return True
        return urlsplit(str(details.get("endpoint_url", ""))).netloc.endswith(self.host)


EVERYWHERE: Final = Home(region=None, host="")


def explain(
    exc: Exception, location: S3Location, home: Home = EVERYWHERE
) -> JobError | Interrupted | ObjectChanged:
    """Return what an exception of ``get_object`` means.

    Args:
        exc: As raised by botocore, or by the file system below its credentials.
        location: What was asked for.
        home: Tells faults of the worker's surroundings from those of a place that a message names.
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

    Regions that an account has to opt in to call the tokens of others so.
    """
    return isinstance(exc, ClientError) and error_code(exc) == "InvalidToken"


def _explain_answer(
    exc: ClientError, location: S3Location, home: Home
) -> JobError | Interrupted | ObjectChanged:
    code, status = error_code(exc), http_status(exc)
    if status == 412:
        return ObjectChanged()
    if _passes(exc, code=code, status=status):
        # Without an error that can be read, a gateway or proxy in between answered.
        foreign = status >= 500 and code.isdigit()
        return Interrupted(
            f"S3 answered {status} ({code})",
            retry_after_s=retry_after_s(exc),
            environment=foreign and home.holds(location),
        )
    missing = _NOT_AUTHORIZED.search(str(exc.response.get("Error", {}).get("Message", "")))
    if status == 403 and code == "AccessDenied" and missing:
        denied = f"{_first_line(user_messages.ACCESS_DENIED)} ({missing[1]} is not allowed)"
        kind = PermissionMissing if missing[1] in _READING else JobError
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


def _passes(exc: ClientError, *, code: str, status: int) -> bool:
    # KMS answers through S3: a key that is throttled or being enabled again works later.
    from_kms = str(exc.response.get("Error", {}).get("Code", "")).startswith("KMS.")
    busy = status in PASSING_STATUSES or status >= 500 or code in PASSING_CODES
    return busy or (from_kms and status != 403)


def empty(location: S3Location) -> str:
    """Return what to say of an object without bytes."""
    return f"S3 file is empty: {shown(location)}{_hint(location)}"


def _hint(location: S3Location) -> str:
    """Return a likely mistake in the key of an object that is not there; empty if none is seen."""
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
