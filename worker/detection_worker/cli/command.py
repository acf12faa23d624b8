"""The interface of a command; other packages add commands by entry point."""

import argparse
from typing import Protocol


class Command(Protocol):
    """A subcommand. Its module must be cheap to import, because ``--help`` imports it."""

    @property
    def name(self) -> str:
        """Name as typed."""
        ...

    @property
    def help(self) -> str:
        """One line of help, in lower case, without a full stop."""
        ...

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Add its arguments."""
        ...

    def run(self, args: argparse.Namespace) -> int:
        """Run the command and return the exit code.

        Raises:
            UsageError: It cannot continue; the message is for the user.
        """
        ...
