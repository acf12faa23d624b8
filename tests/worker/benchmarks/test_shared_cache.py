"""A small run of the benchmark of the shared cache: a second pass hits, with the same results."""

from typing import Any

import pytest


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_second_pass_is_answered_from_the_cache(benchmark_report: Any) -> None:
    _, report = benchmark_report("shared_cache.py", "--objects", "20")

    assert report["objects"] == 20
    assert report["s3_calls_hit"] <= 2
    assert report["different"] == 0
    assert report["times"] > 1
