"""A container's CPU limit counts, not the node's cores."""

import os
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
