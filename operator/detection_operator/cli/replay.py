"""``replay``: repeat recorded decisions and compare the plans exactly."""

import argparse
import json
from pathlib import Path
from typing import Any

from detection_contract.user_messages import counted
from detection_operator.errors import Failure
from detection_operator.scaling.plan import Plan
from detection_operator.scaling.records import InvalidRecord, from_line, plan_json, redecide


def add(commands: Any) -> None:
    """Register the command."""
    parser = commands.add_parser("replay", help="repeat recorded decisions and compare")
    parser.add_argument(
        "log", type=Path, metavar="DECISIONS.jsonl", help="decision records, one per line"
    )
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    total = differing = 0
    try:
        with arguments.log.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    total += 1
                    differing += not _same(number, line)
    except (OSError, UnicodeDecodeError) as exc:
        raise Failure(f"{arguments.log}: {exc}") from exc
    if not total:
        raise Failure(f"{arguments.log}: no records")
    print(f"{counted(total, 'decision')} replayed, {counted(differing, 'differs', 'differ')}")
    return 1 if differing else 0


def _compared(plan: Plan) -> dict[str, Any]:
    """Return the plan as a record holds it, without the wording: sentences get better."""
    data: dict[str, Any] = json.loads(json.dumps(plan_json(plan)))
    del data["message"]
    data["terms"] = [
        {"rule": term["rule"], "replicas": term["replicas"]} for term in data["terms"]
    ]
    return data


def _same(number: int, line: str) -> bool:
    try:
        record = from_line(line)
    except InvalidRecord as exc:
        raise Failure(f"line {number}: {exc}") from exc
    logged, now = _compared(record.plan), _compared(redecide(record))
    for name in sorted(logged.keys() | now.keys()):
        if logged.get(name) != now.get(name):
            print(f"line {number}: {name} was {logged.get(name)}, is {now.get(name)}")
    return bool(logged == now)
