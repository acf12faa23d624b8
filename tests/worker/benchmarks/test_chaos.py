"""A small run of the chaos benchmark: nothing is lost, nothing stays in flight."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "benchmarks" / "worker_chaos.py"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_killed_and_stopped_workers_lose_nothing() -> None:
    run = subprocess.run(
        [sys.executable, SCRIPT, "--messages", "80", "--kills", "8", "--stops", "4", "--json"],
        capture_output=True,
        text=True,
        timeout=580,
        check=False,
    )

    print(run.stderr)
    print(run.stdout)
    assert run.returncode == 0, run.stderr
    report = json.loads(run.stdout)
    assert report["kills"]["messages"] == 80
    assert report["kills"]["kills"] == 8
    assert (report["kills"]["lost"], report["stops"]["lost"]) == (0, 0)
    assert report["kills"]["changed_duplicates"] == 0
    assert (report["stops"]["orphans"], report["stops"]["unclean"]) == (0, 0)
    assert report["stops"]["slowest_exit_s"] < report["stops"]["grace_s"] - 2
