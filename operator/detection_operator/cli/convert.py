"""``convert``: ScaledObjects of KEDA as DetectionQueues in Shadow mode."""

import argparse
import re
import sys
from pathlib import Path
from typing import Any, Final

from detection_operator.errors import Failure
from detection_operator.migration.documents import NoManifest, objects
from detection_operator.migration.keda import convert

ACCOUNT_PATTERN: Final = "[0-9]{12}"


def add(commands: Any) -> None:
    """Register the command."""
    parser = commands.add_parser(
        "convert", help="convert KEDA's ScaledObjects to DetectionQueues in Shadow mode"
    )
    parser.add_argument(
        "files",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="manifests in YAML or JSON, or - for standard input; Deployments and "
        "TriggerAuthentications among them fill in what ScaledObjects refer to",
    )
    parser.add_argument(
        "--account",
        type=_account,
        help="AWS account of queues that are given by name, 12 digits",
    )
    parser.set_defaults(run=_run)


def _account(text: str) -> str:
    if not re.fullmatch(ACCOUNT_PATTERN, text):
        raise argparse.ArgumentTypeError(f"{text!r} has not 12 digits")
    return text


def _run(arguments: argparse.Namespace) -> int:
    found = [item for path in arguments.files for item in _objects(path)]
    results = convert(found, arguments.account)
    if not results:
        raise Failure("no ScaledObject or ScaledJob of KEDA found")
    for result in results:
        state = "" if result.manifest else "not converted: "
        for note in result.notes:
            print(f"{result.source}: {state}{note}", file=sys.stderr)
    print("---\n".join(r.text() for r in results if r.manifest), end="")
    return int(any(result.manifest is None for result in results))


def _objects(path: Path) -> list[Any]:
    try:
        text = sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8-sig")
        return list(objects(text))
    except (OSError, UnicodeDecodeError, NoManifest) as exc:
        raise Failure(f"{path}: {exc}") from exc
