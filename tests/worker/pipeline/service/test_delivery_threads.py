"""As many threads deliver results as wait for each destination in turn."""

import pytest

from detection_worker.pipeline.service.dependencies import delivery_threads
from detection_worker.settings import ResultSettings

TOPIC = "arn:aws:sns:us-east-1:123456789012:done"
BUS = "arn:aws:events:us-east-1:123456789012:event-bus/default"


@pytest.mark.parametrize(
    ("results", "expected"),
    [
        pytest.param(ResultSettings(), 8, id="the callback alone"),
        pytest.param(ResultSettings(results_url="s3://results/"), 16, id="a store"),
        pytest.param(ResultSettings(cache_url="s3://cache/"), 16, id="a cache"),
        pytest.param(
            ResultSettings(on_success=(TOPIC, BUS), on_failure=(BUS,)),
            24,
            id="finished jobs tell two destinations, failed ones a single one",
        ),
    ],
)
def test_there_are_threads_for_every_destination(results: ResultSettings, expected: int) -> None:
    assert delivery_threads(results, callback_workers=8) == expected
