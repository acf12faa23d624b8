"""A small run of the benchmark of throughput with destinations: what a message costs in calls."""

from typing import Any

import pytest


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_message_costs_few_calls_with_every_destination(benchmark_report: Any) -> None:
    small = ("--destinations", "--sets", "images", "--messages", "60", "--turns", "1")
    code, report = benchmark_report("worker_throughput.py", *small)

    assert code == 0
    alone, every, and_sqs = report["images"]["rows"]
    # A lease that is lost on a busy machine costs a few more.
    assert 1 <= alone["s3_calls"] < 1.3
    assert 2 <= every["s3_calls"] < 2.3
    assert 2 <= and_sqs["s3_calls"] < 2.3
    assert all(row["cpu_ms"] > 0 and row["local_aws_ms"] > 0 for row in report["images"]["rows"])
    assert set(report["images"]["shares"]) == {every["name"], and_sqs["name"]}
