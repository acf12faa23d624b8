"""A small run of the benchmark of sound, also against another version's sources."""

from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]


def test_every_row_of_two_versions_is_measured(benchmark_report: Any) -> None:
    code, report = benchmark_report("sound.py", "--seconds", "5", "--no-hour", "--against", ROOT)

    assert code == 0
    assert report["before"].keys() == report["now"].keys()
    assert {"decode stereo opus, ms", "decode mono wav, ms", "gate noise, ms"} <= set(
        report["now"]
    )
    assert all(value > 0 for value in report["now"].values())
