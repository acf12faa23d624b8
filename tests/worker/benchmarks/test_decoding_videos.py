"""A small run of the benchmark of decoding, and its table beside an earlier run."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

BENCHMARK = Path(__file__).parents[3] / "benchmarks/decoding/videos.py"


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_row_is_measured_and_compared_with_an_earlier_run(
    benchmark_report: Callable[..., tuple[int, Any]], tmp_path: Path
) -> None:
    if shutil.which("ffmpeg") is None:
        pytest.skip("NOT RUN: there is no ffmpeg to make videos with")
    chosen = ("--rows", "prores", "--turns", "1", "--folder", str(tmp_path))
    _, report = benchmark_report("decoding/videos.py", *chosen)
    before = tmp_path / "before.json"
    before.write_text(json.dumps(report))

    told = subprocess.run(
        [sys.executable, BENCHMARK, *chosen, "--before", before],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()

    assert report["prores"]["cpu_s"] > 0
    assert report["prores"]["units"] == 32
    assert told[0].split() == ["row", "CPU", "s", "before", "saved", "units"]
    assert "same" in told[1]
