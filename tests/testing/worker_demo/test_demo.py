"""The demo as a user runs it."""

import re
import subprocess
import sys
from collections import Counter

import pytest

TIMEOUT_S = 570
"""Limit on a busy machine; half a minute on an idle one."""


@pytest.mark.slow
@pytest.mark.timeout(TIMEOUT_S + 30)
def test_the_demo_ends_well_and_tells_what_happened_in_its_first_lines() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "detection_worker", "demo"],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )

    print(run.stdout)
    assert run.returncode == 0, run.stdout + run.stderr
    head = "\n".join(run.stdout.splitlines()[:10])
    for word in ("no AWS account", "SQS and S3", "uploaded", "messages sent", "Worker:"):
        assert word in head
    told = " ".join(run.stdout.split())
    for text in (
        "12 of 12 results",
        "12 stored in S3, 11 told to the topic, 1 to the queue of failures",
        "6 posted as callbacks, 1 of them from the outbox",
        "2 from the cache",
        "0 messages left in the queue",
    ):
        assert text in told
    lines = run.stdout.splitlines()
    rows = [line.split() for line in lines if re.match(r" *\d+ \S+\.\w+ ", line)]
    assert sum(row[3] in {"fake", "real", "inconclusive"} for row in rows) == 11
    assert any(row[3] == "inconclusive" for row in rows)
    assert Counter(row[-1] for row in rows) == {"callback": 5, "topic": 5, "outbox": 1, "queue": 1}
    assert sum(row[-2] == "cached" for row in rows) == 2
    assert max(map(len, lines)) <= 80
    assert "FAKE" not in run.stdout
    assert "undecodable" in run.stdout
