"""An argument parser with one-line errors and a one-line usage."""

import argparse
from typing import NoReturn

from detection_contract.environment import EXIT_USAGE


class ArgumentParser(argparse.ArgumentParser):
    """``argparse.ArgumentParser`` that prints an error in one line and points to ``--help``.

    The usage names only what is required; the options are listed below it.
    """

    def error(self, message: str) -> NoReturn:
        """Print the error and the way to the help; exit with ``EXIT_USAGE``."""
        self.exit(EXIT_USAGE, f"Error: {message}\nSee: {self.prog} --help\n")

    def format_help(self) -> str:
        """Return the help with a one-line usage."""
        if self.usage is None:
            words = [self.prog, "[OPTIONS]", *self._required(), *self._positionals_shown()]
            self.usage = " ".join(words).replace("%", "%%")
        return super().format_help()

    def _required(self) -> list[str]:
        groups = [group for group in self._mutually_exclusive_groups if group.required]
        chosen = [
            f"({' | '.join(_shown(a) for a in group._group_actions)})"  # noqa: SLF001 - argparse's
            for group in groups
        ]
        return [_shown(a) for a in self._actions if a.option_strings and a.required] + chosen

    def _positionals_shown(self) -> list[str]:
        return [_positional(a) for a in self._get_positional_actions()]


def _shown(action: argparse.Action) -> str:
    value = "" if action.nargs == 0 else f" {action.metavar or 'VALUE'}"
    return f"{action.option_strings[0]}{value}"


def _positional(action: argparse.Action) -> str:
    name = str(action.metavar or action.dest.upper())
    shapes = {"*": f"[{name} ...]", "?": f"[{name}]", "+": f"{name} ..."}
    return shapes.get(
        str(action.nargs), f"{name} ..." if action.nargs == argparse.PARSER else name
    )
