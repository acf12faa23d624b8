"""``models list | info | verify | import | remove``: which detectors there are, sound or not."""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from itertools import zip_longest
from pathlib import Path
from typing import Final

from detection_contract.media_types import MediaKind
from detection_worker.cli import onnx_import
from detection_worker.cli.command import Command
from detection_worker.cli.console import confirm
from detection_worker.cli.options import add_common, add_settings, load
from detection_worker.cli.terminal import columns, wrapped
from detection_worker.detectors.importing.published import PUBLISHED, REMOVED, Published
from detection_worker.detectors.importing.video_use import SUFFIX
from detection_worker.detectors.model_folder import folders
from detection_worker.detectors.model_folder.listing import (
    ModelEntry,
    bundled_models_dir,
    list_models,
)
from detection_worker.detectors.model_folder.manifest import ONNX, Manifest
from detection_worker.detectors.registry import load_detectors
from detection_worker.errors import UsageError
from detection_worker.report.texts import printable
from detection_worker.settings import Settings

IMPORT_OPTIONS: Final = (
    "architecture", "layout", "backbone", "video", "name", "output", "license", "force",
    *onnx_import.OPTIONS,
)  # fmt: skip


_LEGEND: Final = (
    "* is used for its kind: preferred, then calibrated, then by grade, then by version.\n"
    "Grade demo: shows that the pipeline works, no more.\n"
    "Uncalibrated: a score of 0.5 has no meaning yet."
)


class Models:
    """The command."""

    name: Final = "models"
    help: Final = "list, describe, verify, import and remove detectors"

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Add its arguments."""
        parser.add_argument("action", choices=("list", "info", "verify", "import", "remove"))
        parser.add_argument(
            "model", nargs="?", help="name of a model; for import, the checkpoint file"
        )
        parser.add_argument("--json", action="store_true", help="print JSON, for list and info")
        parser.add_argument("--yes", action="store_true", help="do not ask, for remove")
        _add_import(parser.add_argument_group("import"))
        onnx_import.add_options(parser)
        add_settings(parser, ["models_dir", "prefer"], title="models")
        add_common(parser)

    def run(self, args: argparse.Namespace) -> int:
        """Do what ``action`` says."""
        settings = load(args).settings
        if args.action == "import":
            return _import(args, args.output or settings.models_dir)
        _refuse_import_options(args)
        folder = models_dir(settings)
        if args.action == "remove":
            return _remove(folder, args.model, asked=not args.yes)
        prefer = settings.models_prefer
        if args.action == "list":
            return print_list(folder, prefer=prefer, as_json=args.json)
        if args.action == "info":
            return _print_info(folder, args.model, prefer=prefer, as_json=args.json)
        return _verify(folder, args.model)


def _add_import(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--architecture",
        metavar="NAME",
        help=f"what the file holds: {', '.join([*PUBLISHED, ONNX])}",
    )
    group.add_argument(
        "--layout",
        metavar="NAME",
        help="origin of tensor names and training (by default, from the names in the file)",
    )
    group.add_argument(
        "--backbone",
        type=Path,
        metavar="FILE",
        help="for a file with the last layer only: the network below (univfd: CLIP ViT-L/14)",
    )
    group.add_argument(
        "--video",
        action="store_true",
        help="also make a video model, NAME-video, that scores frames with this image model",
    )
    group.add_argument(
        "--license", metavar="TEXT", help="licence under which the weights were published"
    )
    group.add_argument(
        "--name", metavar="ID", help="name of the new model (the architecture's name)"
    )
    group.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        help="directory of models to add it to (--models-dir)",
    )
    group.add_argument(
        "--force", action="store_true", help="replace existing models of these names"
    )


def _refuse_import_options(args: argparse.Namespace) -> None:
    if given := [f"--{option}" for option in IMPORT_OPTIONS if getattr(args, option)]:
        option = given[0].replace("_", "-")
        raise UsageError(f"{option} is for models import, not for models {args.action}")


def models_dir(settings: Settings) -> Path:
    """Return the folder of models in use."""
    return settings.models_dir or bundled_models_dir()


def print_list(folder: Path, *, prefer: Sequence[str] = (), as_json: bool = False) -> int:
    """Print one line for each model; return 1 if none is usable.

    Args:
        folder: Directory of models.
        prefer: Names that win over others of their kind.
        as_json: Print a list of objects instead.

    Raises:
        UsageError: There is no such folder.
    """
    entries = list_models(folder, prefer=prefer)
    if as_json:
        print(json.dumps([_described(entry) for entry in entries], indent=2))
        return 0 if any(e.manifest for e in entries) else 1
    print(f"Models in {folder}:")
    _print_lines(entries)
    if not any(e.manifest for e in entries):
        print("  none that can be used\nTrain models using: detection-worker train --demo")
        return 1
    print(_LEGEND)
    return 0


def _print_lines(entries: Sequence[ModelEntry]) -> None:
    name_width = max((len(entry.name) for entry in entries), default=0)
    for entry in entries:
        print(wrapped("  ", _line(entry, name_width), columns(sys.stdout)))


def _line(entry: ModelEntry, name_width: int) -> str:
    name = f"{entry.name:<{name_width}}"
    if entry.manifest is None:
        return f"- {name} cannot be used: {printable(entry.problem or '')}"
    m = entry.manifest
    mark = "*" if entry.chosen else "-"
    scores = "calibrated" if m.calibrated else "uncalibrated"
    why = f"  ({entry.why})" if entry.why else ""
    return f"{mark} {name} {m.kind.value:<5} {m.version:<6} {m.grade:<12} {scores}{why}"


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
        "why": entry.why,
        "sha256": m.weights_sha256,
        "license": m.license,
        "sampling": asdict(m.sampling),
        "pooling": asdict(m.pooling),
        "calibrated": m.calibrated,
        "calibration": asdict(m.calibration),
        "thresholds": None if m.thresholds is None else asdict(m.thresholds),
        "applies_to": asdict(m.scope),
    }


def _print_info(folder: Path, name: str | None, *, prefer: Sequence[str], as_json: bool) -> int:
    [entry] = _chosen(list_models(folder, prefer=prefer), name or "")
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
            print(wrapped(f"{key + ':':<13} ", str(shown), columns(sys.stdout)))
    return 0 if entry.manifest else 1


def _chosen(entries: Sequence[ModelEntry], name: str) -> list[ModelEntry]:
    found = [entry for entry in entries if entry.name == name]
    if not found:
        names = ", ".join(e.name for e in entries) or "none"
        what = f"No such model: {name}" if name else "No model named"
        raise UsageError(f"{what}\nChoose from: {names}.")
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
        print(f"{'broken' if problem else 'ok    ':<6}  {entry.name}{_because(problem)}")
    if not entries:
        print(f"No models in {folder}")
    return 1 if problems or not entries else 0


def _because(problem: str | None) -> str:
    return f": {problem}" if problem else ""


def _rounds(manifests: Sequence[Manifest]) -> list[list[str]]:
    """Return names in rounds of one for each kind: that many are loaded and checked together."""
    by_kind = [[m.id for m in manifests if m.kind is kind] for kind in MediaKind]
    return [[name for name in names if name] for names in zip_longest(*by_kind)]


def _load_problems(folder: Path, names: Sequence[str]) -> dict[str, str]:
    try:
        notes = load_detectors(folder, prefer=names).problems
    except UsageError as exc:
        notes = str(exc).splitlines()
    noted = (note.partition(": ") for note in notes)
    return {name: problem for name, _, problem in noted if name in names}


def _import(args: argparse.Namespace, folder: Path | None) -> int:
    published = _published(args)
    if folder is None:
        raise UsageError("No output directory given\nName the directory of models: --output DIR.")
    if args.architecture == ONNX:
        _tell_made(onnx_import.run(args, folder), video=args.video)
        return 0
    # Torch takes seconds to import; the other actions must not wait for it.
    from detection_worker.detectors.importing.from_checkpoint import import_checkpoint  # noqa: PLC0415 - heavy

    source = Path(args.model)
    made = import_checkpoint(
        source,
        published=published,
        name=args.name or args.architecture,
        models_dir=folder,
        license_text=args.license,
        backbone=args.backbone,
        video=args.video,
        force=args.force,
    )
    lay = "".join(f"{key}: " for key in made.wrapper) + (made.prefix and f"{made.prefix}* ")
    print(f"Read {source.name}: {lay}{made.report}.")
    for note in made.notes:
        print(f"  {note}")
    print(f"Wrote {made.folder}: {made.size_bytes} bytes of weights, sha256 {made.sha256[:12]}…")
    _tell_made(made.folder, video=args.video)
    return 0


def _tell_made(made: Path, *, video: bool) -> None:
    folder, fresh = made.parent, {made.name, made.name + SUFFIX} if video else {made.name}
    print(f"Its scores are not calibrated; its card says what that means. Models in {folder} now:")
    entries = list_models(folder)
    _print_lines(entries)
    unchosen = [e.name for e in entries if e.name in fresh and not e.chosen]
    prefer = "".join(f" --prefer {name}" for name in unchosen)
    print(f"Try it: detection-worker predict --models-dir {folder}{prefer} --input FILE")


def _published(args: argparse.Namespace) -> Sequence[Published]:
    if not args.model:
        raise UsageError("No file to import\nName the checkpoint: models import FILE.")
    if args.architecture in REMOVED:
        raise UsageError(
            f"{args.architecture} can no longer be imported\n{REMOVED[args.architecture]}"
        )
    known = ", ".join([*PUBLISHED, ONNX])
    if args.architecture not in {*PUBLISHED, ONNX}:
        what = (
            f"Unknown architecture: {args.architecture}"
            if args.architecture
            else "No architecture given"
        )
        raise UsageError(f"{what}\nName its architecture: --architecture, one of {known}.")
    if not (args.license or "").strip():
        raise UsageError(
            "No licence of the weights given\n"
            "The model card states it: --license TEXT, for example --license MIT."
        )
    _check_onnx_options(args)
    several = PUBLISHED.get(args.architecture, ())
    if not args.layout:
        return several
    chosen = [one for one in several if one.layout.name == args.layout]
    if not chosen:
        layouts = ", ".join(one.layout.name for one in several)
        raise UsageError(
            f"Unknown layout of {args.architecture}: {args.layout}\nChoose from: {layouts}."
        )
    return chosen


def _check_onnx_options(args: argparse.Namespace) -> None:
    onnx = args.architecture == ONNX
    for option in ("layout", "backbone") if onnx else onnx_import.OPTIONS:
        if getattr(args, option):
            spelled = option.replace("_", "-")
            raise UsageError(f"--{spelled} is not for --architecture {args.architecture}")


def _remove(folder: Path, name: str | None, *, asked: bool) -> int:
    [entry] = _chosen(list_models(folder), name or "")
    folders.check_removable(folder, entry.name)
    if asked and not confirm(f"Delete {folder / entry.name}?", default=False):
        print("Kept.")
        return 1
    folders.remove(folder, entry.name)
    print(f"Removed {folder / entry.name}")
    return 0


COMMAND: Final[Command] = Models()
