"""A container's CPU limit counts, not the node's cores."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from detection_worker.cores import usable_cores

ALLOWED = len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("text", "cores"),
    [
        pytest.param("100000 100000\n", 1, id="one core"),
        pytest.param("50000 100000\n", 1, id="half a core is one"),
        pytest.param("150000 100000\n", min(2, ALLOWED), id="one and a half are two"),
        pytest.param("9900000 100000\n", ALLOWED, id="more than there are"),
        pytest.param("max 100000\n", ALLOWED, id="no limit"),
        pytest.param("nonsense", ALLOWED, id="unreadable"),
    ],
)
def test_the_limit_of_the_container_counts(tmp_path: Path, text: str, cores: int) -> None:
    file = tmp_path / "cpu.max"
    file.write_text(text)

    assert usable_cores(file) == cores


def test_without_a_control_group_the_affinity_counts(tmp_path: Path) -> None:
    assert usable_cores(tmp_path / "absent") == ALLOWED


BY_COMMAND = "from detection_worker.__main__ import main; main([]); import torch"
BY_API = "from detection_worker.detectors import registry; registry.chosen_device('cpu')"


@pytest.mark.parametrize("program", [BY_COMMAND, BY_API])
@pytest.mark.parametrize(("chosen", "policy"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_idle_threads_sleep_unless_the_user_wants_them_to_spin(
    program: str, chosen: str | None, policy: str
) -> None:
    """What OpenMP itself says that it was told, when torch was loaded."""
    env = {**os.environ, "OMP_DISPLAY_ENV": "TRUE"}
    env.pop("OMP_WAIT_POLICY", None)
    if chosen is not None:
        env["OMP_WAIT_POLICY"] = chosen

    done = subprocess.run(
        [sys.executable, "-c", program],
        env=env,
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )

    assert f"OMP_WAIT_POLICY = '{policy}'" in done.stderr
