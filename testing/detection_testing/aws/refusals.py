"""What each service answers when a fault or a bad credential refuses a request."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from detection_testing.aws.eventbridge.buses import EventsError
from detection_testing.aws.eventbridge.http import render_error as render_events_error
from detection_testing.aws.faults import Fault
from detection_testing.aws.query import QueryError
from detection_testing.aws.s3.errors import S3Error
from detection_testing.aws.s3.errors import render_error as render_s3_error
from detection_testing.aws.sns.http import render_error as render_sns_error
from detection_testing.aws.sqs.errors import SqsError
from detection_testing.aws.sqs.http import render_error as render_sqs_error
from detection_testing.aws.sqs.registry import ACCOUNT_ID, REGION
from detection_testing.aws.sts.credentials import Refusal
from detection_testing.aws.sts.http import render_error as render_sts_error
from detection_testing.http.values import Request, Response

OTHER_REGION: Final = "eu-west-1"
"""Where a bucket lies that ``wrong_region`` hits."""

_KMS_ACTION: Final = {"s3.PutObject": "kms:GenerateDataKey"}
_REDIRECT: Final = (
    "The bucket you are attempting to access must be addressed using the specified endpoint. "
    "Please send all future requests to this endpoint."
)


@dataclass(frozen=True, slots=True)
class _Answer:
    code: str
    status: int
    text: str = "Refused"
    details: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


_ANSWERS: Final[Mapping[str, Mapping[str, _Answer]]] = {
    "sqs": {
        "error": _Answer("ServiceUnavailable", 503),
        "throttle": _Answer("RequestThrottled", 403),
        "access_denied": _Answer("AccessDenied", 403),
        "not_found": _Answer("QueueDoesNotExist", 400, "The specified queue does not exist."),
        "kms_denied": _Answer("KmsAccessDenied", 400),
        "clock_skew": _Answer("SignatureDoesNotMatch", 403, "Signature expired"),
    },
    "s3": {
        "error": _Answer("InternalError", 500, "We encountered an internal error."),
        "throttle": _Answer("SlowDown", 503, "Please reduce your request rate."),
        "access_denied": _Answer("AccessDenied", 403, "Access Denied"),
        "not_found": _Answer("NoSuchBucket", 404, "The specified bucket does not exist"),
        "kms_denied": _Answer("AccessDenied", 403),
        "conflict": _Answer(
            "ConditionalRequestConflict",
            409,
            "The conditional request cannot succeed due to a conflicting operation.",
        ),
        "wrong_region": _Answer(
            "PermanentRedirect",
            301,
            _REDIRECT,
            details={"Endpoint": f"s3.{OTHER_REGION}.amazonaws.com"},
            headers={"x-amz-bucket-region": OTHER_REGION},
        ),
        "clock_skew": _Answer(
            "RequestTimeTooSkewed",
            403,
            "The difference between the request time and the current time is too large.",
            details={"MaxAllowedSkewMilliseconds": "900000"},
        ),
    },
    "sns": {
        "error": _Answer("InternalError", 500),
        "throttle": _Answer("Throttled", 429, "Rate exceeded"),
        "access_denied": _Answer("AuthorizationError", 403, "not authorized to perform"),
        "not_found": _Answer("NotFound", 404, "Topic does not exist"),
        "kms_denied": _Answer("KMSAccessDenied", 400),
        "clock_skew": _Answer("SignatureDoesNotMatch", 403, "Signature expired"),
    },
    "events": {
        "error": _Answer("InternalException", 500),
        "throttle": _Answer("ThrottlingException", 400, "Rate exceeded"),
        "access_denied": _Answer("AccessDeniedException", 400, "not authorized to perform"),
        "not_found": _Answer("ResourceNotFoundException", 400, "Event bus does not exist."),
        "clock_skew": _Answer("InvalidSignatureException", 400, "Signature expired"),
    },
    "sts": {
        "error": _Answer("InternalFailure", 500),
        "throttle": _Answer("Throttling", 400),
        "access_denied": _Answer("AccessDenied", 403),
        "clock_skew": _Answer("SignatureDoesNotMatch", 403, "Signature expired"),
    },
    "callback": {
        "error": _Answer("ServiceUnavailable", 503),
        "throttle": _Answer("TooManyRequests", 429),
        "access_denied": _Answer("Forbidden", 403),
    },
}
# S3's own names and statuses for what the other services share.
_S3_REFUSALS: Final[Mapping[Refusal, tuple[str, int]]] = {
    "MissingAuthenticationToken": ("AccessDenied", 403),
    "InvalidClientTokenId": ("InvalidAccessKeyId", 403),
    "ExpiredToken": ("ExpiredToken", 400),
    "RequestExpired": ("AccessDenied", 403),
}


def fault_error(operation: str, fault: Fault, request: Request) -> Response | None:
    """Return the answer of a service to a request that a fault refuses.

    None if the fault's kind refuses nothing, or nothing of this service.

    Args:
        operation: ``s3.GetObject``.
        fault: What hit it.
        request: The request.
    """
    service = operation.partition(".")[0]
    answer = _ANSWERS[service].get(fault.kind)
    if answer is None:
        return None
    if fault.kind == "kms_denied" and service == "s3":
        answer = _Answer(answer.code, answer.status, _kms_text(operation))
    code, status = fault.code or answer.code, fault.status or answer.status
    given = _Answer(code, status, answer.text, answer.details, answer.headers)
    response = _render(service, given, request)
    response.status = status
    return response


def refused(service: str, refusal: Refusal, request: Request) -> Response:
    """Return the answer of a service to a request whose credentials are not good."""
    text = "The security token included is not valid"
    code, status = _S3_REFUSALS[refusal] if service == "s3" else (refusal, 403)
    return _render(service, _Answer(code, status, text), request)


def _render(service: str, answer: _Answer, request: Request) -> Response:
    if service == "sqs":
        return render_sqs_error(SqsError(answer.code, answer.text))
    if service == "s3":
        error = S3Error(
            answer.code,
            answer.text,
            status=answer.status,
            details=answer.details,
            headers=answer.headers,
        )
        return render_s3_error(error, resource=request.path)
    if service == "sns":
        return render_sns_error(QueryError(answer.code, answer.text, status=answer.status))
    if service == "events":
        return render_events_error(EventsError(answer.code, answer.text, status=answer.status))
    if service == "sts":
        return render_sts_error(QueryError(answer.code, answer.text, status=answer.status))
    return Response(status=answer.status, body=answer.code.encode())


def _kms_text(operation: str) -> str:
    # S3 answers with the plain code of a denial; only the text tells that a key denied it.
    action = _KMS_ACTION.get(operation, "kms:Decrypt")
    return (
        f"User: arn:aws:iam::{ACCOUNT_ID}:user/local is not authorized to perform: {action} on "
        f"resource: arn:aws:kms:{REGION}:{ACCOUNT_ID}:key/local because no identity-based policy "
        f"allows the {action} action"
    )
