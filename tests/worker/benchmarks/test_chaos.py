"""A small run of the chaos benchmark: nothing is lost, repeated otherwise or in flight."""

from typing import Any

import pytest


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "options",
    [
        pytest.param((), id="all"),
        pytest.param(("--no-destinations",), id="callbacks alone"),
        pytest.param(("--no-destinations", "--feeders", "2"), id="feeders"),
    ],
)
def test_killed_and_stopped_workers_lose_nothing(benchmark_report: Any, options: Any) -> None:
    small = ("--messages", "60", "--kills", "6", "--stops", "3")
    code, report = benchmark_report("worker_chaos.py", *small, *options)

    assert code == 0
    killed, stopped = report["kills"], report["stops"]
    assert (killed["messages"], killed["kills"]) == (60, 6)
    assert (killed["lost"], stopped["lost"]) == (0, 0)
    assert killed["second_inferences"] == 0
    assert (killed["changed_duplicates"], killed["changed_notifications"]) == (0, 0)
    assert (killed["through_outbox"] > 0) == (not options)
    assert killed["feeder_kills"] == (2 if "--feeders" in options else 0)
    assert (stopped["orphans"], stopped["unclean"]) == (0, 0)
    assert stopped["slowest_exit_s"] < stopped["grace_s"] - 2
