"""A small run of the benchmark of feeders: a fake device, real processes."""

import os
from typing import Any

import pytest


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_device_does_little_for_a_message_whoever_feeds_it(benchmark_report: Any) -> None:
    small = ("--messages", "60", "--pushed", "600", "--units-per-s", "inf", "--idle-s", "1")
    code, report = benchmark_report("feeders.py", *small)

    assert code == 0
    device, worker = report["device"]["rows"], report["worker"]["rows"]
    cores = len(os.sched_getaffinity(0))
    assert {row["device"] for row in device} == {"0 ms"}
    assert [(row["feeders"], row["cores"]) for row in device][:2] == [(1, cores), (2, cores)]
    assert [row["cores"] for row in device][2:] == [n for n in (1, 2, 4, 8, 16, 32) if n < cores]
    # CPU, not the clock.
    assert all(0 < row["device_ms"] < 1 for row in device)
    alone, *fed = worker
    assert [row["feeders"] for row in worker] == [0, 1, 2, 1, 2]
    assert [row["pace"] for row in worker] == [None, None, None, 50, 50]
    assert all(row["device_ms"] < alone["device_ms"] / 2 for row in fed)
    assert all(row["feeder_ms"] > row["device_ms"] for row in fed)
    assert set(report["worker"]["scaling"]) == {"0 ms"}
