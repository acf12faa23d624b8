"""Write what follows from the chart's alerts and their runbooks; a test compares.

- ``values.schema.json``: which alerts, and which thresholds of each, the values may change
- the table of alerts in the chart's README
- the index in docs/runbooks/README.md

Usage: ``python tools/alerts.py`` after an edit of an alert or of a runbook's first sentence.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).parents[1]
CHART: Final = ROOT / "charts" / "detection-queue"
RULES: Final = CHART / "files" / "alerts.yaml"
SCHEMA: Final = CHART / "values.schema.json"
README: Final = CHART / "README.md"
RUNBOOKS: Final = ROOT / "docs" / "runbooks"
INDEX: Final = RUNBOOKS / "README.md"
THRESHOLD: Final = re.compile(r"([0-9.]+) # (\w+)$", re.MULTILINE)
TABLE: Final = re.compile(r"(?<=\n)\| alert \|.*?(?=\n\n)", re.DOTALL)
FOR: Final = {"type": "string", "pattern": "^([0-9]+(ms|s|m|h|d|w))+$"}
COMMON: Final[dict[str, Any]] = {
    "enabled": {"type": "boolean"},
    "severity": {"type": "string", "minLength": 1},
    "for": {"$ref": "#/$defs/alertFor"},
    "labels": {"$ref": "#/$defs/labels"},
    "annotations": {"$ref": "#/$defs/annotations"},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """An alert of files/alerts.yaml.

    Attributes:
        name: Its name.
        severity: Default of its severity.
        held: Default of ``for``; ``0s`` without one.
        thresholds: Names and defaults of its thresholds, as they are written.
    """

    name: str
    severity: str
    held: str
    thresholds: dict[str, str]

    @property
    def meaning(self) -> str:
        """First sentence of its runbook."""
        text = (RUNBOOKS / f"{self.name}.md").read_text(encoding="utf-8")
        paragraph = text.partition("## Meaning\n\n")[2].partition("\n\n")[0]
        return re.split(r"(?<=\.)\s", " ".join(paragraph.split()), maxsplit=1)[0]


def alerts() -> list[Alert]:
    """Return the alerts in their order."""
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    rules = [rule for group in groups for rule in group["rules"] if "alert" in rule]
    return [
        Alert(
            name=rule["alert"],
            severity=rule["labels"]["severity"],
            held=rule.get("for", "0s"),
            thresholds={name: number for number, name in THRESHOLD.findall(rule["expr"])},
        )
        for rule in rules
    ]


def schema() -> str:
    """Return values.schema.json with what may be changed of each alert."""
    parsed = json.loads(SCHEMA.read_text(encoding="utf-8"))
    parsed["$defs"] |= {
        "alertFor": FOR,
        "alert": {"type": "object", "additionalProperties": False, "properties": COMMON},
        "threshold": {"type": "number", "minimum": 0},
    }
    rule = parsed["properties"]["monitoring"]["properties"]["prometheusRule"]["properties"]
    rule["alerts"] = {
        "type": "object",
        "additionalProperties": False,
        "properties": {alert.name: _changes(alert) for alert in alerts()},
    }
    return json.dumps(parsed, indent=2, ensure_ascii=False) + "\n"


def _changes(alert: Alert) -> dict[str, Any]:
    if not alert.thresholds:
        return {"$ref": "#/$defs/alert"}
    thresholds = {name: {"$ref": "#/$defs/threshold"} for name in alert.thresholds}
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": {**COMMON, **thresholds},
    }


def readme() -> str:
    """Return the chart's README with its table of alerts."""
    lines = ["| alert | severity | for | thresholds | when |", "|---|---|---|---|---|"]
    for alert in alerts():
        thresholds = ", ".join(f"`{name}` {number}" for name, number in alert.thresholds.items())
        link = f"[`{alert.name}`](../../docs/runbooks/{alert.name}.md)"
        cells = (link, alert.severity, alert.held, thresholds, alert.meaning)
        lines.append(f"| {' | '.join(cells)} |")
    return _with_table(README, lines)


def index() -> str:
    """Return docs/runbooks/README.md with its table of alerts."""
    lines = ["| alert | meaning |", "|---|---|"]
    lines += [f"| [{each.name}]({each.name}.md) | {each.meaning} |" for each in alerts()]
    return _with_table(INDEX, lines)


def _with_table(path: Path, lines: list[str]) -> str:
    text = path.read_text(encoding="utf-8")
    return TABLE.sub(lambda _: "\n".join(lines), text, count=1)


if __name__ == "__main__":
    for target, made in ((SCHEMA, schema), (README, readme), (INDEX, index)):
        target.write_text(made(), encoding="utf-8")
