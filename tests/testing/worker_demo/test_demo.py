"""The demo as a user runs it."""

import subprocess
import sys

import pytest


@pytest.mark.slow
def test_the_demo_ends_well_and_tells_what_happened_in_its_first_lines() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "detection_worker", "demo"],
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )

    print(run.stdout)
    assert run.returncode == 0, run.stdout + run.stderr
    head = "\n".join(run.stdout.splitlines()[:10])
    for word in ("no AWS account", "SQS and S3", "uploaded", "messages sent", "Worker:"):
        assert word in head
    assert "12 of 12 results" in run.stdout
    assert "0 messages left in the queue" in run.stdout
    rows = [line.split() for line in run.stdout.splitlines() if line[:3].strip().isdigit()]
    assert sum(row[4] in {"fake", "real", "inconclusive"} for row in rows) == 11
    assert any(row[4] == "inconclusive" for row in rows)
    assert "FAKE" not in run.stdout
    assert "undecodable" in run.stdout
