"""``explain``: why a plan has its replicas, from a decision record or a status."""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from detection_contract.user_messages import counted
from detection_operator.errors import Failure
from detection_operator.kube.objects import time_s, timestamp
from detection_operator.scaling.estimates import profile

BARS: Final = "▁▂▃▄▅▆▇█"
SLOTS_IN_HOUR: Final = 3600 // profile.SLOT_S
AGREE: Final = {"yesterdayPercent": "the day before", "lastWeekPercent": "the week before"}
"""What a status calls the agreement of the days, and what they are."""


def add(commands: Any) -> None:
    """Register the command."""
    parser = commands.add_parser("explain", help="explain a number of replicas")
    parser.add_argument(
        "file",
        type=Path,
        metavar="FILE",
        help="decision records (the last one is explained), output of `kubectl get dq NAME -o "
        "yaml`, or - for standard input",
    )
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    text = _read(arguments.file)
    data = _parse(text, arguments.file)
    status = data.get("status", data)
    plan = status.get("plan") if isinstance(status, Mapping) else None
    if not isinstance(plan, Mapping) or not isinstance(plan.get("terms", []), list):
        raise Failure(f"{arguments.file}: neither a decision record nor a status with a plan")
    desired = plan.get("desired", status.get("desiredReplicas", "?"))
    replicas = counted(desired, "replica") if isinstance(desired, int) else f"{desired} replicas"
    print(f"{replicas}, because of {plan.get('binding', '?')}")
    print(plan.get("message", ""))
    for term in plan.get("terms", []):
        # A status and records of version 2 say ``name``.
        rule = term.get("rule", term.get("name"))
        print(f"  {rule:<12} {term['replicas']:>5}  {term.get('sentence', '')}".rstrip())
    for condition in status.get("conditions", []):
        # Pods that wait for a node are no error yet, but explain why nothing happens.
        if condition.get("status") != "True" or condition.get("reason") == "Waiting":
            print(f"{condition['type']}={condition['status']}: {condition.get('message', '')}")
    print(_last_day(status), end="")
    return 0


def _last_day(status: Mapping[str, Any]) -> str:
    """Return what forecast Daily knows, as text; empty if it knows nothing."""
    kept, queue = status.get("forecast"), status.get("queue")
    if not isinstance(kept, Mapping) or not isinstance(queue, Mapping):
        return ""
    try:
        levels = profile.unpacked(kept.get("profile"))
    except ValueError:
        return ""
    now_s = time_s(queue.get("sampledAt"))
    if now_s is None:
        return ""
    known = profile.Profile(levels=levels)
    present = int(now_s // profile.SLOT_S)
    hours = [
        sum(profile.messages_in(known, first + n) for n in range(SLOTS_IN_HOUR))
        for first in range(present - profile.DAY, present, SLOTS_IN_HOUR)
    ]
    highest = max(hours)
    bars = "".join(BARS[round(hour / max(highest, 1.0) * (len(BARS) - 1))] for hour in hours)
    start = timestamp((present - profile.DAY) * profile.SLOT_S)
    shares = [f"{text} {kept[name]} %" for name, text in AGREE.items() if name in kept]
    foretold = f"; agrees with {', '.join(shares)}" if shares else ""
    return f"{bars} messages an hour from {start}, at most {highest:.0f}{foretold}\n"


def _read(path: Path) -> str:
    try:
        return sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise Failure(f"{path}: {exc}") from exc


def _parse(text: str, path: Path) -> Mapping[str, Any]:
    """Return the document; of JSON lines, which are no YAML document together, the last one."""
    lines = [line for line in text.splitlines() if line.strip()]
    several = len(lines) > 1 and all(line.startswith("{") for line in lines)
    try:
        data = yaml.safe_load(lines[-1] if several else text)
    except yaml.YAMLError as exc:
        raise Failure(f"{path}: no YAML or JSON: {exc}") from exc
    if not isinstance(data, Mapping):
        raise Failure(f"{path}: holds no object")
    return data
