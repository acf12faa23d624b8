"""The errors of Amazon SQS, each with its three names and HTTP status."""

from dataclasses import dataclass

_SQS = "com.amazonaws.sqs#"
_COMMON = "com.amazon.coral.service#"
_LEGACY = "AWS.SimpleQueueService."


@dataclass(frozen=True, slots=True, kw_only=True)
class Wire:
    """How one error looks on the wire.

    Attributes:
        type: ``__type`` of the JSON body; botocore picks the exception class by its last part.
        query_code: In ``x-amzn-query-error``; botocore shows it as ``Error.Code``, so that
            programs written for the older query protocol still work.
        status: HTTP status.
    """

    type: str
    query_code: str
    status: int = 400


def _modelled(shape: str, query_code: str | None = None, status: int = 400) -> Wire:
    return Wire(type=_SQS + shape, query_code=query_code or shape, status=status)


# Query codes and statuses: the error sections of the SQS API reference,
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/CommonErrors.html and the
# pages of the actions. RequestThrottled is 403: botocore's retry table asks for that pair.
WIRE: dict[str, Wire] = {
    "QueueDoesNotExist": _modelled("QueueDoesNotExist", _LEGACY + "NonExistentQueue"),
    "QueueNameExists": _modelled("QueueNameExists", "QueueAlreadyExists"),
    "QueueDeletedRecently": _modelled("QueueDeletedRecently", _LEGACY + "QueueDeletedRecently"),
    "PurgeQueueInProgress": _modelled(
        "PurgeQueueInProgress", _LEGACY + "PurgeQueueInProgress", 403
    ),
    "MessageNotInflight": _modelled("MessageNotInflight", _LEGACY + "MessageNotInflight"),
    "ReceiptHandleIsInvalid": _modelled("ReceiptHandleIsInvalid"),
    "InvalidAddress": _modelled("InvalidAddress"),
    "InvalidMessageContents": _modelled("InvalidMessageContents"),
    "InvalidAttributeName": _modelled("InvalidAttributeName"),
    "InvalidAttributeValue": _modelled("InvalidAttributeValue"),
    "OverLimit": _modelled("OverLimit", "OverLimit", 403),
    "RequestThrottled": _modelled("RequestThrottled", "RequestThrottled", 403),
    "EmptyBatchRequest": _modelled("EmptyBatchRequest", _LEGACY + "EmptyBatchRequest"),
    "TooManyEntriesInBatchRequest": _modelled(
        "TooManyEntriesInBatchRequest", _LEGACY + "TooManyEntriesInBatchRequest"
    ),
    "BatchEntryIdsNotDistinct": _modelled(
        "BatchEntryIdsNotDistinct", _LEGACY + "BatchEntryIdsNotDistinct"
    ),
    "BatchRequestTooLong": _modelled("BatchRequestTooLong", _LEGACY + "BatchRequestTooLong"),
    "InvalidBatchEntryId": _modelled("InvalidBatchEntryId", _LEGACY + "InvalidBatchEntryId"),
    "KmsAccessDenied": _modelled("KmsAccessDenied", "KMS.AccessDeniedException"),
    "KmsDisabled": _modelled("KmsDisabled", "KMS.DisabledException"),
    "KmsInvalidKeyUsage": _modelled("KmsInvalidKeyUsage", "KMS.InvalidKeyUsageException"),
    "KmsInvalidState": _modelled("KmsInvalidState", "KMS.InvalidStateException"),
    "KmsNotFound": _modelled("KmsNotFound", "KMS.NotFoundException"),
    "KmsOptInRequired": _modelled("KmsOptInRequired", "KMS.OptInRequired", 403),
    "KmsThrottled": _modelled("KmsThrottled", "KMS.ThrottlingException"),
    "ResourceNotFoundException": _modelled("ResourceNotFoundException", None, 404),
    "UnsupportedOperation": _modelled("UnsupportedOperation", _LEGACY + "UnsupportedOperation"),
    "InvalidParameterValue": Wire(
        type=_COMMON + "InvalidParameterValueException", query_code="InvalidParameterValue"
    ),
    "MissingParameter": Wire(
        type=_COMMON + "MissingRequiredParameterException", query_code="MissingParameter"
    ),
    "AccessDenied": Wire(
        type=_COMMON + "AccessDeniedException", query_code="AccessDenied", status=403
    ),
    "InvalidAction": Wire(type=_COMMON + "UnknownOperationException", query_code="InvalidAction"),
    "SignatureDoesNotMatch": Wire(
        type=_COMMON + "InvalidSignatureException", query_code="SignatureDoesNotMatch", status=403
    ),
    "InvalidClientTokenId": Wire(
        type=_COMMON + "UnrecognizedClientException", query_code="InvalidClientTokenId", status=403
    ),
    "MissingAuthenticationToken": Wire(
        type=_COMMON + "MissingAuthenticationTokenException",
        query_code="MissingAuthenticationToken",
        status=403,
    ),
    "ExpiredToken": Wire(
        type=_COMMON + "ExpiredTokenException", query_code="ExpiredToken", status=403
    ),
    "RequestExpired": Wire(
        type=_COMMON + "RequestExpired", query_code="RequestExpired", status=403
    ),
    "SerializationException": Wire(
        type=_COMMON + "SerializationException", query_code="MalformedInput"
    ),
    "InternalFailure": Wire(
        type=_COMMON + "InternalFailure", query_code="InternalFailure", status=500
    ),
    "ServiceUnavailable": Wire(
        type=_COMMON + "ServiceUnavailableException", query_code="ServiceUnavailable", status=503
    ),
}


class SqsError(Exception):
    """A request that SQS refuses.

    Attributes:
        code: A key of ``WIRE``.
        message: Human-readable text.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message

    @property
    def wire(self) -> Wire:
        """How this error looks on the wire; an unlisted code stands for itself."""
        return WIRE.get(self.code) or Wire(type=_COMMON + self.code, query_code=self.code)


def bad_value(parameter: str, value: object, reason: str) -> SqsError:
    """Return the InvalidParameterValue error in the words that SQS uses."""
    text = f"Value {value} for parameter {parameter} is invalid. Reason: {reason}"
    return SqsError("InvalidParameterValue", text)
