"""The command as a user runs it: real workers, from an empty queue to an empty one."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from detection_testing.operator_demo.options import missing_extras
from detection_testing.operator_demo.server import reason_against

TIMEOUT_S = 570
"""Longer than the demo gives itself."""


def run(*arguments: str, **environ: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-P", "-m", "detection_operator", "demo", *arguments]
    return subprocess.run(
        command,
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


def check(
    done: "subprocess.CompletedProcess[str]",
    messages: int,
    *,
    plan: str = r"\d+ needed to clear \d+ messages",
) -> None:
    output = done.stdout
    assert done.returncode == 0, output + done.stderr
    assert f"Results: {messages} of {messages} in " in output
    assert "0 duplicates, 0 failed. Queue: 0 messages left, 0 dead letters." in output
    assert "busy pods killed: 0." in output
    assert re.search(plan, output), "the plan is shown"
    removed = re.search(r"Pods removed: (\d+), drained before SIGTERM: (\d+)", output)
    assert removed is not None
    # One that was not ready yet when it became superfluous goes without a drain.
    assert int(removed[1]) >= int(removed[2]) >= 1
    pids = re.findall(r"consume`, process (\d+)", output)
    assert len(pids) >= int(removed[1])
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


@pytest.fixture(autouse=True)
def _everything_is_installed() -> None:
    lacking = missing_extras()
    if lacking:
        pytest.skip(f"NO DEMO: extras {lacking} are not installed")


@pytest.mark.slow
@pytest.mark.timeout(TIMEOUT_S + 30)
def test_workers_come_work_and_go_on_the_cluster_in_memory() -> None:
    done = run("--kubernetes", "memory", "--messages", "60", AWS_PROFILE="somebodys")

    assert "a cluster in memory" in done.stdout
    check(done, 60)


@pytest.mark.slow
@pytest.mark.cluster
@pytest.mark.timeout(TIMEOUT_S + 30)
def test_workers_come_work_and_go_on_a_real_api_server() -> None:
    why = reason_against()
    if why:
        pytest.skip(why)

    done = run("--kubernetes", "server", "--messages", "60")

    assert "a real kube-apiserver v1." in done.stdout
    check(done, 60)


@pytest.mark.slow
def test_a_server_that_cannot_be_had_is_refused_at_once(tmp_path: Path) -> None:
    done = run("--kubernetes", "server", KUBEBUILDER_ASSETS=str(tmp_path))

    assert done.returncode == 2
    assert done.stdout == ""
    assert "kube-apiserver" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("count", ["0", "-1", "x", "100001"])
def test_a_wrong_number_is_refused(count: str) -> None:
    done = run("--messages", count)

    assert done.returncode == 2
    assert "is no whole number" in done.stderr


@pytest.mark.slow
@pytest.mark.timeout(TIMEOUT_S + 30)
def test_an_urgent_queue_takes_the_pool_over_and_gives_it_back() -> None:
    done = run("--pool", "--kubernetes", "memory", "--messages", "120", "--max-replicas", "1")

    check(done, 144, plan=r"1 of 1 granted: 1 to 'urgent' \(priority 100\); 1 more wanted")
    assert "Pool: at most 1 pod at a time, capacity 1." in done.stdout
    assert "PROBLEM" not in done.stdout
