"""What the command line knows of a command; packages above add theirs by entry point."""

import argparse
from typing import Protocol


class Command(Protocol):
    """One subcommand. Its module must be cheap to import: ``--help`` imports it."""

    @property
    def name(self) -> str:
        """As typed."""
        ...

    @property
    def help(self) -> str:
        """One line."""
        ...

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Add its arguments."""
        ...

    def run(self, args: argparse.Namespace) -> int:
        """Do it and return the exit code.

        Raises:
            UsageError: It cannot go on; the text is for the user.
        """
        ...
