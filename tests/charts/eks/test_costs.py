"""The costs that the page names are those that the command prints."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "eks.md").read_text()


def printed(*options: str) -> str:
    command = [sys.executable, str(ROOT / "benchmarks" / "costs" / "eks.py"), *options]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_the_page_shows_what_the_command_prints() -> None:
    head, _, tables = printed().partition("\n\n")

    assert tables.strip() in PAGE
    assert "November 2026" in head
    assert "November 2026" in PAGE


def test_own_prices_and_figures_change_what_is_printed() -> None:
    free = printed("--price", "control_plane_hour=0", "--cpu-ms", "mine=3600", "--busy", "1")

    assert "| EKS control plane | 0.00 |" in free
    # 3,600 ms of a core at 17.85 cents an hour for four.
    assert "| mine | 3600 | 0.0446 |" in free


def test_requests_at_rest_are_those_that_were_measured() -> None:
    page = (ROOT / "docs" / "detectionqueue.md").read_text()
    source = (ROOT / "benchmarks" / "costs" / "eks.py").read_text()
    [measured] = re.findall(r"\| 200 DetectionQueues .* core, ([0-9,]+) \|", page)
    [assumed] = re.findall(r"SQS_AT_REST_A_MINUTE: Final = ([0-9]+) / 200", source)

    assert assumed == measured.replace(",", "")
