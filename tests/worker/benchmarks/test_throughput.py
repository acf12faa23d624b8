"""Small runs of the benchmark of throughput: every row is there, and what a message costs."""

import importlib.util
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


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


def test_contenders_get_through_a_mix_of_all_kinds(benchmark_report: Any) -> None:
    rows = ("pools", "litserve", "worker", "with TLS", "limit")
    small = ("--sets", "mix", "--messages", "32", "--pool-sizes", "4", "--rows", *rows)
    code, report = benchmark_report("worker_throughput.py", *small)

    assert code == 0
    mix = report["mix"]
    measured = {row["name"]: row for row in mix["rows"]}
    if importlib.util.find_spec("litserve") is None:
        reason = "not installed: pip install --no-deps -r requirements/bench.txt"
        assert mix["absent"] == {"litserve": reason}
        assert set(measured) == {*rows, "pool 4"} - {"litserve", "pools"}
    else:
        assert mix["absent"] == {}
        assert set(measured) == {*rows, "pool 4"} - {"pools"}
    assert all(row["per_s"] > 0 and row["cpu_ms"] > 0 for row in measured.values())
    assert measured["worker"]["stages"]["forward"] > 0
    assert sum(measured["worker"]["stages"].values()) == pytest.approx(
        measured["worker"]["cpu_ms"], rel=0.5
    )
    assert mix["best_pool"] == "pool 4"
    assert mix["times_best_pool"] == pytest.approx(
        measured["worker"]["per_s"] / measured["pool 4"]["per_s"]
    )
    assert mix["share_of_limit"] == pytest.approx(
        measured["worker"]["per_s"] / measured["limit"]["per_s"]
    )
