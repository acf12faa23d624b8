"""Errors of SNS, SQS and EventBridge, as errors of a job with the next step."""

import re
from dataclasses import dataclass
from typing import Final, Literal

from botocore.exceptions import ClientError

from detection_contract.aws.arns import DestinationArn, Service
from detection_contract.aws.errors import (
    CLOCK_CODES,
    EXPIRED_CODES,
    WRONG_KEY_CODES,
    QueueFault,
    http_status,
    plain_code,
    queue_fault,
)
from detection_contract.error_codes import ErrorCode
from detection_worker.aws_session import explain_credentials, is_credentials_error, retry_after_s
from detection_worker.errors import JobError
from detection_worker.results.destinations import Refused
from detection_worker.results.s3_store_errors import UNREACHABLE

KINDS: Final = {
    Service.SNS: "SNS topic",
    Service.SQS: "SQS queue",
    Service.EVENTBRIDGE: "EventBridge bus",
}
ACTIONS: Final = {
    Service.SNS: "sns:Publish",
    Service.SQS: "sqs:SendMessage",
    Service.EVENTBRIDGE: "events:PutEvents",
}
"""IAM action that publishing needs."""

_MISSING: Final = frozenset({"notfound", "resourcenotfound"})
_DENIED: Final = frozenset(
    {"authorizationerror", "notauthorizedforsource", "notauthorizedfordetailtype"}
)
"""SNS calls a missing permission by the name that STS and EC2 give to wrong keys."""
_KMS_LATER: Final = frozenset({"kmsthrottled", "kmsthrottling"})
_SENDER: Final = frozenset(
    {
        "batchrequesttoolong",
        "invalidargument",
        "invalidmessagecontents",
        "invalidparameter",
        "invalidparametervalue",
        "malformeddetail",
        "messagetoolong",
        "parametervalueinvalid",
        "requestentitytoolarge",
        "validation",
        "validationerror",
    }
)
_TOO_LONG: Final = re.compile(r"shorter than|too long|too large|exceeded|size", re.IGNORECASE)

Remedy = Literal["none", "again", "shorter", "alone"]
"""What the notifier may do at once: nothing; send it again; in its short form; in its own call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a notification was not published.

    Attributes:
        error: As an error of the job.
        remedy: What may help at once.
    """

    error: JobError
    remedy: Remedy = "none"


def explain_call(exc: Exception, arn: DestinationArn) -> Failure:
    """Return why a whole call failed; botocore has tried it again where that may help.

    Args:
        exc: One of ``storage.s3_errors.CALL_ERRORS``.
        arn: The destination.
    """
    if isinstance(exc, ClientError):
        error = exc.response.get("Error", {})
        code = str(error.get("Code", ""))
        # SNS calls a missing permission by the name that others give to wrong keys.
        denied = arn.service is Service.SNS and plain_code(code) == "AuthorizationError"
        if denied or not is_credentials_error(exc):
            failure = _explain(
                Refused(code=code, message=str(error.get("Message", ""))),
                arn,
                status=http_status(exc.response),
                pause_s=retry_after_s(exc),
            )
            return failure if failure.remedy != "again" else Failure(error=failure.error)
    if is_credentials_error(exc):
        reason = ". ".join(explain_credentials(exc).splitlines()).replace("!.", ":")
        return Failure(error=_error(arn, reason, environment=True))
    reason = f"{_service(arn)} cannot be reached ({type(exc).__name__})"
    return Failure(error=_error(arn, reason, environment=isinstance(exc, UNREACHABLE)))


def explain_entry(refused: Refused, arn: DestinationArn) -> Failure:
    """Return why one entry of a call was refused."""
    return _explain(refused, arn, status=0, pause_s=None)


def _explain(
    refused: Refused, arn: DestinationArn, *, status: int, pause_s: float | None
) -> Failure:
    code = plain_code(refused.code)
    if refused.code.startswith("KMS."):
        code = f"Kms{code}"  # as SQS itself names it; its query protocol has KMS.NotFoundException
    low = code.lower()
    fault = queue_fault(
        {"Error": {"Code": refused.code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    )
    if low in _MISSING or fault is QueueFault.MISSING or _names_no_topic(refused, low):
        return Failure(error=_error(arn, _missing(arn), environment=True))
    if low.startswith("kms") and low not in _KMS_LATER:
        return Failure(error=_error(arn, _kms(arn, code), environment=True))
    if low in _DENIED or fault is QueueFault.DENIED:
        return Failure(error=_error(arn, _denied(arn, code), environment=True))
    if code in WRONG_KEY_CODES | EXPIRED_CODES | CLOCK_CODES:
        return Failure(error=_error(arn, f"AWS credentials do not work: {code}", environment=True))
    reason = f"{_service(arn)} answered {refused.code or status} {refused.message}".rstrip()
    error = _error(arn, " ".join(reason.split()), pause_s=pause_s)
    if low in _SENDER or status == 413:
        too_long = status == 413 or "toolong" in low or _TOO_LONG.search(refused.message)
        return Failure(error=error, remedy="shorter" if too_long else "alone")
    return Failure(error=error, remedy="again")


def _names_no_topic(refused: Refused, low: str) -> bool:
    return low.startswith("invalidparameter") and "TopicArn" in refused.message


def _error(
    arn: DestinationArn,
    reason: str,
    *,
    environment: bool = False,
    pause_s: float | None = None,
) -> JobError:
    return JobError(
        ErrorCode.NOTIFICATION_FAILED,
        f"{KINDS[arn.service]} {arn.name} was not notified: {reason}",
        environment=environment,
        retry_after_s=pause_s,
    )


def _service(arn: DestinationArn) -> str:
    return KINDS[arn.service].partition(" ")[0]


def _missing(arn: DestinationArn) -> str:
    return (
        f"it does not exist in account {arn.account}, region {arn.region}; create it, or correct "
        "--on-success and --on-failure"
    )


def _denied(arn: DestinationArn, code: str) -> str:
    return (
        f"Access Denied ({code}); allow {ACTIONS[arn.service]} on {arn.arn} in the policy of the "
        "worker's role, and in its own policy if it is another account's"
    )


def _kms(arn: DestinationArn, code: str) -> str:
    return (
        f"its KMS key cannot be used ({code}); enable the key, and allow kms:GenerateDataKey and "
        f"kms:Decrypt to the worker's role for {arn.name}"
    )
