"""``models list | info NAME | verify``: which detectors there are and whether they are sound."""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from itertools import zip_longest
from pathlib import Path
from typing import Final

from detection_contract.media_types import MediaKind
from detection_worker.cli.command import Command
from detection_worker.cli.options import add_common, add_settings, load
from detection_worker.detectors.manifest import Manifest
from detection_worker.detectors.registry import (
    ModelEntry,
    bundled_models_dir,
    list_models,
    load_detectors,
)
from detection_worker.errors import UsageError
from detection_worker.settings import Settings


class Models:
    """The command."""

    name: Final = "models"
    help: Final = "list, describe and verify detectors"

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Add its arguments."""
        parser.add_argument("action", choices=("list", "info", "verify"))
        parser.add_argument("model", nargs="?", help="name of a model, for info and verify")
        parser.add_argument("--json", action="store_true", help="print JSON")
        add_settings(parser, ["models_dir"], title="models")
        add_common(parser)

    def run(self, args: argparse.Namespace) -> int:
        """Do what ``action`` says."""
        folder = models_dir(load(args).settings)
        if args.action == "list":
            return print_list(folder, as_json=args.json)
        if args.action == "info":
            return _print_info(folder, args.model, as_json=args.json)
        return _verify(folder, args.model)


def models_dir(settings: Settings) -> Path:
    """Return the folder of models in use."""
    return settings.models_dir or bundled_models_dir()


def print_list(folder: Path, *, as_json: bool = False) -> int:
    """Print one line for each model; return 1 if none is usable.

    Raises:
        UsageError: There is no such folder.
    """
    entries = list_models(folder)
    if as_json:
        print(json.dumps([_described(entry) for entry in entries], indent=2))
        return 0 if any(e.manifest for e in entries) else 1
    print(f"Models in {folder}:")
    for entry in entries:
        print(f"  {_line(entry)}")
    if not any(e.manifest for e in entries):
        print("  none that can be used\nTrain models using: detection-worker train --demo")
        return 1
    print("* scores its kind. Grade demo: shows that the machinery works, no more.")
    return 0


def _line(entry: ModelEntry) -> str:
    if entry.manifest is None:
        return f"  {entry.name:<28} cannot be used: {entry.problem}"
    m = entry.manifest
    mark = "*" if entry.chosen else " "
    return f"{mark} {entry.name:<28} {m.kind.value:<6} {m.version:<8} {m.grade}"


def _described(entry: ModelEntry) -> dict[str, object]:
    if entry.manifest is None:
        return {"name": entry.name, "problem": entry.problem}
    m = entry.manifest
    return {
        "name": entry.name,
        "kind": m.kind.value,
        "version": m.version,
        "grade": m.grade,
        "chosen": entry.chosen,
        "sha256": m.weights_sha256,
        "license": m.license,
        "sampling": asdict(m.sampling),
        "pooling": asdict(m.pooling),
        "calibration": asdict(m.calibration),
    }


def _print_info(folder: Path, name: str | None, *, as_json: bool) -> int:
    [entry] = _chosen(list_models(folder), name or "")
    described = _described(entry)
    if as_json:
        print(json.dumps(described, indent=2))
    else:
        for key, value in described.items():
            shown = (
                ", ".join(f"{k} {v}" for k, v in value.items())
                if isinstance(value, dict)
                else value
            )
            print(f"{key + ':':<13} {shown}")
    return 0 if entry.manifest else 1


def _chosen(entries: Sequence[ModelEntry], name: str) -> list[ModelEntry]:
    found = [entry for entry in entries if entry.name == name]
    if not found:
        names = ", ".join(e.name for e in entries) or "none"
        what = f"No such model: {name}" if name else "No model named"
        raise UsageError(f"{what}\nModels there are: {names}.")
    return found


def _verify(folder: Path, name: str | None) -> int:
    entries = list_models(folder)
    entries = tuple(_chosen(entries, name)) if name else entries
    problems = {e.name: e.problem for e in entries if e.problem}
    manifests = [e.manifest for e in entries if e.manifest]
    for names in _rounds(manifests):
        problems.update(_load_problems(folder, names))
    for entry in entries:
        problem = problems.get(entry.name)
        print(f"{'broken' if problem else 'sound ':<6}  {entry.name}{_because(problem)}")
    if not entries:
        print(f"No models in {folder}")
    return 1 if problems or not entries else 0


def _because(problem: str | None) -> str:
    return f": {problem}" if problem else ""


def _rounds(manifests: Sequence[Manifest]) -> list[list[str]]:
    """Return names in rounds of one for each kind: so many are loaded, and proven, together."""
    by_kind = [[m.id for m in manifests if m.kind is kind] for kind in MediaKind]
    return [[name for name in names if name] for names in zip_longest(*by_kind)]


def _load_problems(folder: Path, names: Sequence[str]) -> dict[str, str]:
    try:
        notes = load_detectors(folder, prefer=names).problems
    except UsageError as exc:
        notes = str(exc).splitlines()
    noted = (note.partition(": ") for note in notes)
    return {name: problem for name, _, problem in noted if name in names}


COMMAND: Final[Command] = Models()
