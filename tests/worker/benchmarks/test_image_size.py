"""The sizes of packages are those of their files."""

from collections.abc import Callable
from importlib.metadata import files
from pathlib import Path
from typing import Any


def test_a_package_has_the_size_of_its_files(benchmark_report: Callable[..., Any]) -> None:
    code, (total, *rows) = benchmark_report("costs/image_size.py", "--only", "requests", "numpy")

    assert code == 0
    assert [row["name"] for row in rows] == ["numpy", "requests"]
    own = [Path(str(path.locate())) for path in files("requests") or () if path.suffix != ".pyc"]
    assert rows[1]["unpacked"] == sum(path.stat().st_size for path in own)
    assert all(0 < row["pulled"] < row["unpacked"] for row in rows)
    assert total["unpacked"] == sum(row["unpacked"] for row in rows)
