"""``crd``: print the CustomResourceDefinition, for ``kubectl apply -f -``."""

import argparse
from typing import Any

from detection_operator.crd.manifest import manifest_yaml


def add(commands: Any) -> None:
    """Register the command."""
    parser = commands.add_parser("crd", help="print the CustomResourceDefinition as YAML")
    parser.set_defaults(run=_run)


def _run(_arguments: argparse.Namespace) -> int:
    print(manifest_yaml(), end="")
    return 0
