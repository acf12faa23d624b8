from typing import Any

import pytest


@pytest.mark.slow
def test_decoding_is_measured_and_compared(benchmark_report: Any) -> None:
    code, report = benchmark_report("decoding/stills.py", "--sizes", "1800x1800", "--repeat", "1")

    assert code == 0
    crops, centre = report["rows"]
    assert (crops["view"], crops["levels"]) == ("crops", 0)
    assert (centre["view"], centre["size"]) == ("centre", "1800x1800")
    assert 0 < centre["levels"] <= 2
    assert min(row[way] for row in report["rows"] for way in ("pillow_ms", "ours_ms")) > 0
