"""Entry point of ``detection-worker``: runs a command and reports errors in a sentence."""

import argparse
import errno
import io
import os
import re
import signal
import sys
import traceback
from collections.abc import Sequence
from importlib.metadata import version
from typing import Final

from detection_contract.environment import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_USAGE
from detection_contract.process.arguments import ArgumentParser
from detection_contract.process.logs import redact
from detection_contract.process.signals import end_by_sigterm
from detection_worker.cli import catalog
from detection_worker.cores import let_idle_threads_sleep
from detection_worker.errors import UsageError

EXIT_BROKEN_PIPE: Final = 128 + signal.SIGPIPE
_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
_QUERY: Final = re.compile(r"\?[^\s'\"]*")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Args:
        argv: Arguments after the program's name; None means those of the process.

    Returns:
        0: done. 1: failed. 2: wrong usage or set-up. 130: interrupted.
    """
    end_by_sigterm()
    let_idle_threads_sleep()
    arguments = list(sys.argv[1:] if argv is None else argv)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A file name that the terminal's encoding lacks must not end the command.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        code = _dispatch(arguments)
        # Here, so that a closed pipe is noticed here too.
        sys.stdout.flush()
    except UsageError as exc:
        return _say(f"Error: {exc}", EXIT_USAGE)
    except KeyboardInterrupt:
        return _say("Interrupted", EXIT_INTERRUPTED)
    except OSError as exc:
        return _io_failed(exc, arguments)
    except Exception as exc:  # noqa: BLE001 - the outermost loop: a user gets a sentence
        return _unexpected(exc, arguments)
    return code


def _dispatch(arguments: list[str]) -> int:
    top = _top_parser().parse_args(arguments)
    if top.command is None:
        _top_parser().print_help(sys.stderr)
        return EXIT_USAGE
    command = catalog.load(top.command)
    parser = ArgumentParser(
        prog=f"detection-worker {command.name}",
        description=command.help[:1].upper() + command.help[1:] + ".",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    command.configure(parser)
    try:
        return command.run(parser.parse_args(top.arguments))
    except ModuleNotFoundError as exc:
        if exc.name is None or exc.name.startswith("detection_"):
            raise
        raise UsageError(catalog.missing_module(command.name, exc)) from exc


def _top_parser() -> argparse.ArgumentParser:
    commands = catalog.listed()
    width = max(len(c.name) for c in commands)
    parser = ArgumentParser(
        prog="detection-worker",
        description="Deepfake detection of images, video and audio in S3, on an SQS queue.",
        usage="detection-worker [--help] [--version] COMMAND ...",
        epilog="commands:\n"
        + "\n".join(f"  {c.name:<{width}}  {c.help}" for c in commands)
        + "\n\nHelp of one command: detection-worker COMMAND --help",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=version("detection-queue"))
    parser.add_argument("command", nargs="?", help=argparse.SUPPRESS)
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    return parser


def _io_failed(exc: OSError, arguments: list[str]) -> int:
    if isinstance(exc, BrokenPipeError):
        _silence_stdout()
        return EXIT_BROKEN_PIPE
    if exc.errno in _FULL:
        return _say(f"Error: {exc.strerror}\nMake room on the disk and try again.", EXIT_FAILED)
    return _unexpected(exc, arguments)


def _unexpected(exc: Exception, arguments: list[str]) -> int:
    if "--verbose" in arguments or os.environ.get("LOG_LEVEL", "").upper() == "DEBUG":
        traceback.print_exception(exc)
        return EXIT_FAILED
    # The query of a URL can be a signature.
    text = redact(_QUERY.sub("?…", str(exc))).partition("\n")[0]
    what = f"Error: unexpected {type(exc).__name__}: {text}"
    return _say(f"{what}\nRun it with --verbose for the traceback.", EXIT_FAILED)


def _say(text: str, code: int) -> int:
    try:
        sys.stdout.flush()
    except OSError:
        _silence_stdout()
    print(text, file=sys.stderr)  # noqa: T201 - the command line's edge
    return code


def _silence_stdout() -> None:
    # Python flushes stdout once more at exit and would complain about the closed pipe.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
