"""Why a file failed on the device, on its way back to the feeder."""

import pytest

from detection_contract.error_codes import ErrorCode
from detection_worker.core.messages.outcome import Failure
from detection_worker.pipeline.device.wire import failure_body, parse_failure


@pytest.mark.parametrize("environment", [True, False])
def test_a_feeder_learns_whether_the_file_is_to_blame(*, environment: bool) -> None:
    failure = Failure(
        code=ErrorCode.INFERENCE_FAILED, message="the device is lost", environment=environment
    )

    assert parse_failure(failure_body(failure, seconds=1.5)) == (failure, 1.5)
