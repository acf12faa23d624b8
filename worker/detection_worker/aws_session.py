"""AWS sessions and clients, and how to recognise broken credentials."""

import threading
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any, Final

import boto3
from botocore.config import Config
from botocore.exceptions import (
    ClientError,
    CredentialRetrievalError,
    LoginError,
    MetadataRetrievalError,
    NoAuthTokenError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
    ProfileNotFound,
    SSOError,
    TokenRetrievalError,
    UnknownCredentialError,
)

from detection_contract import user_messages
from detection_contract.aws.errors import (
    EXPIRED_CODES,
    WRONG_KEY_CODES,
    error_code,
    is_clock_error,
)
from detection_contract.aws.quick import operations
from detection_worker.settings import AwsSettings

CALL_ERRORS: Final = operations.CALL_ERRORS
CONNECT_TIMEOUT_S: Final = 5.0
ATTEMPTS: Final = 3
"""botocore's standard mode: exponential backoff with jitter and a retry quota for each client."""

_MISSING = (NoCredentialsError, PartialCredentialsError, ProfileNotFound, UnknownCredentialError)
_UNOBTAINABLE = (
    CredentialRetrievalError,
    LoginError,
    MetadataRetrievalError,
    NoAuthTokenError,
    SSOError,
    TokenRetrievalError,
)
# botocore fetches role credentials during another call, which then fails; only the name of the
# operation shows it.
_CREDENTIAL_OPERATIONS = ("AssumeRole", "GetRoleCredentials", "CreateToken")
_SET_CLOCK: Final = (
    "The clock of this machine differs from AWS's by minutes: set it, and keep it by NTP."
)
_USER_AGENT = f"detection-queue/{version('detection-queue')} Boto3/{boto3.__version__}"
_client_lock = threading.Lock()


def make_session(aws: AwsSettings) -> boto3.Session:
    """Return a session; keep it for the life of the process.

    The session caches and refreshes credentials (IRSA, Pod Identity, instance role); a session for
    each call would fetch them each time.
    """
    return boto3.Session(
        aws_access_key_id=aws.access_key_id,
        aws_secret_access_key=aws.secret_access_key,
        aws_session_token=aws.session_token,
        region_name=aws.region,
    )


def client(
    session: boto3.Session,
    service: str,
    aws: AwsSettings,
    *,
    read_timeout_s: float,
    pool: int = 10,
    connect_timeout_s: float = CONNECT_TIMEOUT_S,
    attempts: int = ATTEMPTS,
    region: str | None = None,
) -> Any:
    """Return a thread-safe client; creating one takes tens of ms of CPU, so keep it.

    Args:
        session: Session from ``make_session``.
        service: Name of the service, such as ``s3``.
        aws: Endpoint and region.
        read_timeout_s: Longest pause between two reads; for a long poll more than its wait.
        pool: Connections kept; at least the number of threads that use the client at once.
        connect_timeout_s: Longest TCP and TLS handshake, in seconds.
        attempts: Attempts of each call in total, >= 1.
        region: Region to use instead of ``aws.region``.
    """
    config = Config(
        retries={"mode": "standard", "total_max_attempts": attempts},
        connect_timeout=connect_timeout_s,
        read_timeout=read_timeout_s,
        max_pool_connections=pool,
        tcp_keepalive=True,
        # Ranged reads carry no checksum, and other stores than S3 do not support them.
        response_checksum_validation="when_required",
        request_checksum_calculation="when_required",
        # For each call botocore would build its user agent and check parameters that typed
        # code made: together a tenth of the CPU of a small GET.
        user_agent=_USER_AGENT,
        parameter_validation=False,
    )
    with _client_lock:  # Session.client is not thread-safe (boto3 guide, "Multithreading").
        made = session.client(
            service,
            region_name=region or aws.region,
            endpoint_url=aws.endpoint_url,
            config=config,
        )
    made.meta.events.register_last("before-call.s3", _send_at_once)
    return made


def _send_at_once(params: Mapping[str, Any], **_: object) -> None:
    """Send a body with its head: all of ours are small.

    botocore would wait for 100 Continue first: a round trip, or a second with stores that do not
    answer it.
    """
    params["headers"].pop("Expect", None)


def identity(session: boto3.Session, aws: AwsSettings) -> str:
    """Return the ARN of the caller; needs no IAM permission.

    Raises:
        Exception: Any of botocore's; see ``is_credentials_error``.
    """
    sts = client(session, "sts", aws, read_timeout_s=10.0)
    try:
        return str(sts.get_caller_identity()["Arn"])
    finally:
        sts.close()


def is_credentials_error(exc: BaseException) -> bool:
    """Return whether a call failed because of the credentials and not because of the request."""
    if isinstance(exc, _MISSING + _UNOBTAINABLE):
        return True
    # botocore reads the token of IRSA and Pod Identity during another call: a missing file raises
    # OSError, an empty one a parameter error that names the token.
    if isinstance(exc, ParamValidationError):
        return "WebIdentityToken" in str(exc)
    if isinstance(exc, OSError):
        return isinstance(exc, FileNotFoundError | PermissionError)
    if isinstance(exc, ClientError):
        return exc.operation_name.startswith(_CREDENTIAL_OPERATIONS) or error_code(
            exc.response
        ) in (WRONG_KEY_CODES | EXPIRED_CODES)
    return False


def needs_human(exc: BaseException) -> bool:
    """Return whether a credentials error lasts until the configuration is changed.

    An expired token or a metadata service that does not answer may work again in a minute.
    """
    if isinstance(exc, _MISSING):
        return True
    return isinstance(exc, ClientError) and error_code(exc.response) in WRONG_KEY_CODES


def explain_credentials(exc: BaseException) -> str:
    """Return a sentence about a credentials error, and on the next line what to do."""
    if isinstance(exc, _MISSING):
        return user_messages.NO_CREDENTIALS
    reason, step = type(exc).__name__, user_messages.NO_CREDENTIALS.partition("\n")[2]
    if isinstance(exc, ClientError):
        reason = error_code(exc.response)
        if is_clock_error(reason, str(exc.response.get("Error", {}).get("Message", ""))):
            step = _SET_CLOCK
    return f"AWS credentials do not work: {reason}\n{step}"


def retry_after_s(exc: ClientError) -> float | None:
    """Return the seconds that the service asked to wait; None if it did not."""
    headers: Mapping[str, str] = exc.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    value = headers.get("retry-after", "")
    return float(value) if value.isascii() and value.isdigit() else None
