import pytest

from detection_contract.aws.errors import (
    QueueFault,
    error_code,
    http_status,
    is_clock_error,
    queue_fault,
)


@pytest.mark.parametrize(
    ("code", "status", "fault"),
    [
        ("AWS.SimpleQueueService.NonExistentQueue", 400, QueueFault.MISSING),
        ("com.amazonaws.sqs#QueueDoesNotExist", 400, QueueFault.MISSING),
        ("com.amazon.coral.service#AccessDeniedException", 400, QueueFault.DENIED),
        ("KmsAccessDenied", 400, QueueFault.DENIED),
        ("com.amazonaws.sqs#KmsInvalidState", 400, QueueFault.DENIED),
        ("KMS.DisabledException", 400, QueueFault.DENIED),
        ("KMS.NotFoundException", 400, QueueFault.DENIED),
        ("KMS.ThrottlingException", 400, QueueFault.THROTTLED),
        ("403", 403, QueueFault.DENIED),
        ("", 401, QueueFault.DENIED),
        ("InvalidClientTokenId", 403, QueueFault.CREDENTIALS),
        ("InvalidSignatureException", 400, QueueFault.CREDENTIALS),
        ("ExpiredTokenException", 403, QueueFault.CREDENTIALS),
        ("ThrottlingException", 400, QueueFault.THROTTLED),
        ("RequestThrottled", 403, QueueFault.THROTTLED),
        ("429", 429, QueueFault.THROTTLED),
        ("OverLimit", 403, None),
        ("InternalFailure", 500, None),
        ("404", 404, None),
    ],
)
def test_a_code_means_the_same_by_every_protocol(
    code: str, status: int, fault: QueueFault | None
) -> None:
    response = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}

    assert queue_fault(response) is fault


def test_a_response_without_an_error_has_neither_code_nor_status() -> None:
    assert (error_code({}), http_status({})) == ("", 0)
    assert queue_fault({}) is None


@pytest.mark.parametrize(
    ("code", "message", "wrong"),
    [
        ("RequestTimeTooSkewed", "", True),
        ("InvalidSignature", "Signature expired: 20260101T000000Z is now earlier than", True),
        ("SignatureDoesNotMatch", "Signature not yet current: 20270101T000000Z", True),
        ("SignatureDoesNotMatch", "The request signature we calculated does not match", False),
        ("ExpiredToken", "The security token included in the request is expired", False),
    ],
)
def test_a_wrong_clock_is_told_from_wrong_keys(code: str, message: str, *, wrong: bool) -> None:
    assert is_clock_error(code, message) == wrong
