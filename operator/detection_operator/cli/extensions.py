"""Commands that other packages add by entry point; an image has none of them."""

import argparse
from importlib.metadata import entry_points
from typing import Any, Final

from detection_operator.errors import Failure

ENTRY_POINTS: Final = "detection_operator.commands"
EXTRAS: Final = {"demo": "operator,testing,worker"}
"""Extras that install a command, by the command's name."""


def add(commands: Any) -> None:
    """Register what is installed, and for the rest of ``EXTRAS`` how to install it.

    Each entry point is a module with a function ``add`` like those of this package.
    """
    found = {entry.name: entry for entry in entry_points(group=ENTRY_POINTS)}
    for entry in found.values():
        entry.load().add(commands)
    for name in EXTRAS.keys() - found.keys():
        # Without `help` it is not listed, and without a prefix every argument is taken as it is.
        parser = commands.add_parser(name, prefix_chars="\0", add_help=False)
        parser.add_argument("ignored", nargs="*")
        parser.set_defaults(run=_refuse)


def _refuse(arguments: argparse.Namespace) -> int:
    extras = EXTRAS[arguments.command]
    raise Failure(
        f"the command {arguments.command!r} is not installed; container images leave it out\n"
        f"Install it with: pip install 'detection-queue[{extras}]'"
    )
