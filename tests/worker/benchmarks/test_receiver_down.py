"""A small run of the benchmark of a receiver that is down: nothing is lost, nothing changes."""

from typing import Any

import pytest


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_callbacks_of_a_host_that_was_down_arrive_later(benchmark_report: Any) -> None:
    _, report = benchmark_report(
        "receiver_down.py", "--scale", "120", "--kills", "2", "--fault", "error"
    )

    for part in report.values():
        assert part["for_down"] > 0
        assert part["through_outbox"] > 0
        assert (part["lost"], part["changed"], part["wrong_ids"]) == (0, 0, 0)
    assert report["kills"]["kills"] == 2
