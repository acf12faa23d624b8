"""``docs/reference/detectionqueue.md`` is what ``detection-operator crd --docs`` prints."""

from pathlib import Path

import pytest

from detection_operator.cli.main import main
from detection_operator.crd.manifest import COLUMNS, manifest
from detection_operator.crd.rules import RULES
from detection_operator.spec.conditions import CONDITIONS

FILE = Path(__file__).parents[3] / "docs" / "reference" / "detectionqueue.md"
TEXT = FILE.read_text(encoding="utf-8")
SCHEMA = manifest()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]


def test_the_reference_is_what_the_command_prints(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["crd", "--docs"]) == 0

    assert capsys.readouterr().out == TEXT


@pytest.mark.parametrize(
    "row",
    [
        pytest.param(
            "| `spec.queue.pollIntervalSeconds` | integer | `5` | 1 to 300 | Seconds between "
            "reads of the queue while it is active. |",
            id="a number with default and range",
        ),
        pytest.param(
            "| `spec.scaling.mode` | string | `Auto` | `Auto`, `Shadow`, `Manual` | ",
            id="an enum",
        ),
        pytest.param("| `spec.worker.template.image` | string | required | ", id="required"),
        pytest.param(
            "| `spec.scaling.schedules[].cron` | string | required | ", id="inside a list"
        ),
        pytest.param(
            "| `spec.worker.template.env` | list of free-form objects | `[]` | at most 128 items, "
            "unique `name` |",
            id="a list map",
        ),
        pytest.param("| `status.queue.sampledAt` | time | ", id="a time of the status"),
        pytest.param("| `status.plan.terms[].replicas` | integer | at least 0 | ", id="a count"),
    ],
)
def test_a_row_says_what_the_declaration_says(row: str) -> None:
    assert row in TEXT


def test_every_rule_column_and_reason_is_there() -> None:
    for rules in RULES.values():
        for rule, message in rules:
            assert message in TEXT
            assert rule.replace("|", r"\|") in TEXT
    for name, _, path, _ in COLUMNS:
        assert f"| {name} | " in TEXT
        assert f"`{path[1:]}`" in TEXT
    for condition, reasons in CONDITIONS.items():
        for reason in reasons:
            assert f"| `{condition}` | {reason.status} | `{reason.name}` | " in TEXT
