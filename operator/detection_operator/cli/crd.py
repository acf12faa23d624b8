"""``crd``: print the CustomResourceDefinitions for ``kubectl apply -f -``, or a reference."""

import argparse
from typing import Any, Final

from detection_operator.crd.kinds import KINDS, QUEUE, Kind
from detection_operator.crd.manifest import manifest_yaml
from detection_operator.crd.reference import reference

_BY_NAME: Final = {kind.name: kind for kind in KINDS}


def add(commands: Any) -> None:
    """Register the command."""
    parser = commands.add_parser("crd", help="print the CustomResourceDefinitions as YAML")
    parser.add_argument(
        "--kind", choices=_BY_NAME, help="print the definition of this kind alone (default: all)"
    )
    parser.add_argument(
        "--docs",
        choices=_BY_NAME,
        nargs="?",
        const=QUEUE.name,
        help=f"print the reference of a kind's fields as Markdown instead (default: {QUEUE.name})",
    )
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    kind: Kind | None = _BY_NAME.get(arguments.kind)
    if arguments.docs is not None:
        print(reference(_BY_NAME[arguments.docs]), end="")
    else:
        print("---\n".join(manifest_yaml(each) for each in KINDS if kind in (None, each)), end="")
    return 0
