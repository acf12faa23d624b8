"""Which commands there are, and how to load one without loading the others."""

import difflib
import importlib
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Final, cast

from detection_worker.cli.command import Command
from detection_worker.errors import UsageError

ENTRY_POINTS: Final = "detection_worker.commands"

OWN: Final = {
    "predict": "analyse local files and S3 objects",
    "report": "make a page to read of a stored result",
    "consume": "work off an SQS queue",
    "deliver": "retry callbacks from an outbox, without models",
    "message": "make and send a test message, and wait for its result",
    "submit": "send a message for every object of an S3 prefix or a manifest",
    "results": "read stored results: a table, counts, CSV or Parquet",
    "dead-letters": "list, show, redrive and purge dead letters by reason",
    "setup-aws": "enter, check and save AWS credentials",
    "iam-policy": "print the least-privilege IAM policy for these settings",
    "models": "list, describe, verify, import and remove detectors",
}
"""The commands of this package, by name."""

MODULES: Final = {
    "predict": "predict.command",
    "report": "report",
    "consume": "queue.consume",
    "deliver": "queue.deliver",
    "message": "queue.message",
    "submit": "batch.submit",
    "results": "batch.results",
    "dead-letters": "batch.dead_letters",
    "setup-aws": "aws.setup",
    "iam-policy": "aws.iam_policy",
    "models": "models",
    "demo": "demo",
}
"""The module of each, below ``detection_worker.cli``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Added:
    """A command of another package.

    Attributes:
        help: One line, here so that help loads no other package.
        extra: Extras that install what it imports, separated by commas.
    """

    help: str
    extra: str


ADDED: Final = {
    "demo": Added(
        help="run the whole worker here, with a local queue and store", extra="testing,worker"
    ),
    "train": Added(help="train a detector", extra="train"),
    "evaluate": Added(help="measure a detector on labelled files", extra="train"),
}
"""Commands that other packages add by entry point; an image has none of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A command that can be loaded."""

    name: str
    help: str


def listed() -> list[Listed]:
    """Return every command, in the order in which help shows them."""
    others = {
        e.name: ADDED[e.name].help if e.name in ADDED else f"from {e.value.partition('.')[0]}"
        for e in _added()
    }
    return [Listed(name=n, help=h) for n, h in {**OWN, **others}.items()]


def load(name: str) -> Command:
    """Return the command called ``name``.

    Raises:
        UsageError: There is none, or what it needs is not installed.
    """
    if name in OWN:
        module = importlib.import_module(f"detection_worker.cli.{MODULES[name]}")
        return cast("Command", module.COMMAND)
    for entry in _added():
        if entry.name == name:
            return _load_entry(entry)
    if name in ADDED:
        raise UsageError(
            f"The command {name!r} is not installed; container images leave it out\n"
            f"Install it with: pip install 'detection-queue[{ADDED[name].extra}]'"
        )
    names = [command.name for command in listed()]
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"Did you mean {near[0]!r}? " if near else ""
    raise UsageError(f"No such command: {name!r}\n{hint}Commands: {', '.join(names)}.")


def _added() -> tuple[EntryPoint, ...]:
    found = entry_points(group=ENTRY_POINTS)
    return tuple(sorted(found, key=lambda e: list(ADDED).index(e.name) if e.name in ADDED else 9))


def _load_entry(entry: EntryPoint) -> Command:
    try:
        return cast("Command", entry.load())
    except ModuleNotFoundError as exc:
        raise UsageError(missing_module(entry.name, exc)) from exc
    except AttributeError as exc:
        raise UsageError(
            f"The command {entry.name!r} cannot be loaded: {exc}\nInstall the package again."
        ) from exc


def missing_module(command: str, exc: ModuleNotFoundError) -> str:
    """Return what to tell the user when a command needs a module that is not installed."""
    extra = ADDED[command].extra if command in ADDED else "worker"
    return (
        f"The command {command!r} needs the module {exc.name!r}, which is not installed\n"
        f"Install it with: pip install 'detection-queue[{extra}]'"
    )
