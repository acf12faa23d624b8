"""Figures in the guide that a simulation of a second prints: they are what it prints today."""

import re
from pathlib import Path

import pytest

from detection_operator.cli.main import main

GUIDE = Path(__file__).parents[3] / "docs/detectionqueue.md"
COMMAND = "detection-operator simulate --generate bursty --policy ours --cold-start-s SECONDS"
_ROW = re.compile(r"\| (\d+) s \| ([\d.]+ %) \| (\d+ s) \| ([\d.]+) \|$", re.MULTILINE)


def rows() -> list[tuple[str, ...]]:
    """Return cold start, share in time, p99 wait and replica-hours of each row of the table."""
    _, found, text = GUIDE.read_text(encoding="utf-8").partition(COMMAND)
    assert found
    return _ROW.findall(text)


def test_the_table_of_cold_starts_is_found() -> None:
    assert len(rows()) == 4


@pytest.mark.parametrize(("cold_start_s", "in_time", "wait", "hours"), rows())
def test_what_shorter_cold_starts_buy_is_what_the_command_prints(
    cold_start_s: str, in_time: str, wait: str, hours: str, capsys: pytest.CaptureFixture[str]
) -> None:
    _, *arguments = COMMAND.replace("SECONDS", cold_start_s).split()

    main(arguments)

    printed = capsys.readouterr().out
    line = next(line for line in printed.splitlines() if line.startswith("ours"))
    assert line.split()[1:5] == [in_time.replace(" ", ""), *wait.split(), hours]
