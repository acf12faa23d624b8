"""The pages of ``docs/reference`` are what ``detection-operator crd --docs`` prints."""

from pathlib import Path

import pytest

from detection_operator.cli.main import main
from detection_operator.crd.kinds import KINDS, Kind

PAGES = Path(__file__).parents[3] / "docs" / "reference"
TEXT = (PAGES / "detectionqueue.md").read_text(encoding="utf-8")


def page(kind: Kind) -> Path:
    return PAGES / f"{kind.name.lower()}.md"


@pytest.mark.parametrize("kind", [pytest.param(kind, id=kind.name) for kind in KINDS])
def test_the_reference_is_what_the_command_prints(
    kind: Kind, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["crd", "--docs", kind.name]) == 0

    assert capsys.readouterr().out == page(kind).read_text(encoding="utf-8")


def test_without_a_kind_it_is_the_reference_of_the_queue(
    capsys: pytest.CaptureFixture[str],
) -> None:
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


@pytest.mark.parametrize("kind", [pytest.param(kind, id=kind.name) for kind in KINDS])
def test_every_rule_column_and_reason_is_there(kind: Kind) -> None:
    text = page(kind).read_text(encoding="utf-8")
    for rules in (kind.root_rules, *kind.rules.values()):
        for rule, message in rules:
            assert message in text
            assert rule.replace("|", r"\|") in text
    for name, _, path, _ in kind.columns:
        assert f"| {name} | " in text
        assert f"`{path[1:]}`" in text
    for condition, reasons in kind.conditions.items():
        for reason in reasons:
            assert f"| `{condition}` | {reason.status} | `{reason.name}` | " in text
