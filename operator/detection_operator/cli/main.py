"""Parse the command line, run one command, turn its failure into a message and exit code."""

import sys
from collections.abc import Sequence
from typing import Final

from detection_contract.process.arguments import ArgumentParser
from detection_contract.process.signals import end_by_sigterm
from detection_operator.cli import (
    convert,
    crd,
    explain,
    extensions,
    replay,
    run,
    simulate,
    simulate_pool,
    top,
)
from detection_operator.errors import Failure

COMMANDS: Final = (run, top, simulate, simulate_pool, replay, explain, crd, convert)
INTERRUPTED: Final = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command of ``argv`` (default: the process's) and return its exit code."""
    end_by_sigterm()
    parser = ArgumentParser(
        prog="detection-operator",
        description="Scale detection workers to an objective; explain and replay decisions.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add(commands)
    extensions.add(commands)
    arguments = parser.parse_args(argv)
    try:
        code: int = arguments.run(arguments)
    except Failure as exc:
        print(f"detection-operator: {exc}", file=sys.stderr)
        return exc.code
    except BrokenPipeError:
        # `... | head` closed the pipe; without this Python prints an error at exit.
        sys.stdout = None
        return 0
    except KeyboardInterrupt:
        return INTERRUPTED
    return code
