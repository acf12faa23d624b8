"""Running a benchmark as a developer does, in its smallest form, so that it keeps working."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parents[3] / "benchmarks"


@pytest.fixture
def benchmark_report() -> Callable[..., Any]:
    """Run a benchmark with ``--json``; return its exit code and its report."""

    def run(script: str, *options: str) -> tuple[int, Any]:
        ended = subprocess.run(
            [sys.executable, FOLDER / script, *options, "--json"],
            capture_output=True,
            text=True,
            timeout=580,
            check=False,
        )
        print(ended.stderr)
        print(ended.stdout)
        assert ended.stdout, ended.stderr
        return ended.returncode, json.loads(ended.stdout)

    return run
