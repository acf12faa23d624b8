"""``crd``: print the CustomResourceDefinition for ``kubectl apply -f -``, or its reference."""

import argparse
from typing import Any

from detection_operator.crd.manifest import manifest_yaml
from detection_operator.crd.reference import reference


def add(commands: Any) -> None:
    """Register the command."""
    parser = commands.add_parser("crd", help="print the CustomResourceDefinition as YAML")
    parser.add_argument(
        "--docs", action="store_true", help="print the reference of its fields as Markdown instead"
    )
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    print(reference() if arguments.docs else manifest_yaml(), end="")
    return 0
