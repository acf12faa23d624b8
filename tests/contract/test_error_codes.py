import pytest

from detection_contract.error_codes import Disposition, ErrorCode, disposition


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (ErrorCode.S3_UNAVAILABLE, Disposition.RETRY),
        (ErrorCode.NO_MODEL, Disposition.RETRY),
        (ErrorCode.CREDENTIALS, Disposition.RETRY),
        (ErrorCode.INTERNAL, Disposition.RETRY),
        (ErrorCode.S3_NOT_FOUND, Disposition.DEAD_LETTER),
        (ErrorCode.UNDECODABLE, Disposition.DEAD_LETTER),
        (ErrorCode.TOO_LARGE, Disposition.DEAD_LETTER),
    ],
)
def test_what_becomes_of_a_message(code: ErrorCode, expected: Disposition) -> None:
    assert disposition(code) is expected
