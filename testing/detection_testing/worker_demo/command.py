"""``demo``: the whole worker on this machine, with a local queue and store."""

import argparse
from typing import Final

from detection_worker.cli.command import Command
from detection_worker.cli.options import add_settings


class Demo:
    """The command."""

    name: Final = "demo"
    help: Final = "run the whole worker here, with a local queue and store"

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Add its arguments."""
        parser.add_argument(
            "--messages", type=_positive, default=12, metavar="N", help="messages to send (12)"
        )
        parser.add_argument(
            "--keep", action="store_true", help="keep queue and store running until interrupted"
        )
        parser.add_argument("--verbose", "-v", action="store_true", help="log everything")
        add_settings(parser, ["models_dir"], title="models")

    def run(self, args: argparse.Namespace) -> int:
        """Run it."""
        from detection_testing.worker_demo.demo import run as run_demo  # noqa: PLC0415 - starts services

        return run_demo(args)


def _positive(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 100_000:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1 to 100000")
    return int(text)


COMMAND: Final[Command] = Demo()
