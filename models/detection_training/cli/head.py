"""``detection-worker train head``: its options, and what it says."""

import argparse
import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Final

from detection_contract.media_types import MediaKind
from detection_training.pipeline import full_disk
from detection_training.pipeline.sources import Log
from detection_worker.errors import UsageError

if TYPE_CHECKING:
    from detection_training.head.training import Made

FEATURES: Final = "head-features"
OPTIONS: Final = ("real", "fake", "kind", "backbone", "name", "group", "device")


def add_arguments(group: argparse._ArgumentGroup) -> None:
    """Add the options that ``head`` alone has."""
    group.add_argument("--real", type=Path, metavar="DIR", help="folder of real files")
    group.add_argument("--fake", type=Path, metavar="DIR", help="folder of fake files")
    group.add_argument(
        "--backbone",
        metavar="MODEL",
        help="model whose network is used: its folder, or its name in --output or among the "
        "bundled (default: the bundled one of the kind)",
    )
    group.add_argument(
        "--kind", choices=("image", "audio", "video"), help="media (told by the folders)"
    )
    group.add_argument(
        "--group",
        choices=("folder", "series", "file"),
        help="what stays together in the split: files of one folder, of one numbered series, or "
        "of one name (default: the coarsest that leaves enough groups)",
    )
    group.add_argument("--name", metavar="ID", help="of the new model (image-head, audio-head)")
    group.add_argument("--device", metavar="NAME", help="cpu, cuda or cuda:N (cpu)")


def refuse_options(args: argparse.Namespace) -> None:
    """Refuse options of ``head`` where something else is trained.

    Raises:
        UsageError: One is given.
    """
    if given := [f"--{option}" for option in OPTIONS if getattr(args, option)]:
        raise UsageError(f"{given[0]} is for train head\nUse: detection-worker train head ...")


def run(args: argparse.Namespace, *, log: Log) -> int:
    """Train a head and return 0; 1 if it is worse than chance.

    Raises:
        UsageError: It cannot be done; the text says why.
    """
    if args.preset:
        raise UsageError("train head takes no --demo and no --preset")
    if args.real is None or args.fake is None:
        raise UsageError(
            "A folder is missing\nUse: detection-worker train head --real DIR --fake DIR"
        )
    # Loads torch, which `--help` must not wait for.
    head = importlib.import_module("detection_training.head.training")
    folders = importlib.import_module("detection_worker.detectors.model_folder.folders")
    if args.name:
        folders.check_name(args.name)
    order = head.Order(
        real=args.real,
        fake=args.fake,
        output=args.output,
        work=args.work_dir / FEATURES,
        kind=MediaKind(args.kind) if args.kind else None,
        backbone=args.backbone or "",
        name=args.name or "",
        group=args.group or "",
        device=args.device or "cpu",
        force=args.force,
    )
    try:
        with full_disk.worded(args.output, kept="what was looked at is kept"):
            made: Made = head.train_head(order, log=log)
    except KeyboardInterrupt:
        log("Interrupted: the features so far are kept; run the same command again to resume.")
        raise
    except OSError as exc:
        raise UsageError(
            f"Cannot write {exc.filename or args.output}: {exc.strerror}\n"
            "Choose another --output or --work-dir."
        ) from exc
    return _say(made, args.output, log)


def _say(made: "Made", output: Path, log: Log) -> int:
    card = importlib.import_module("detection_training.head.card")
    log("On files that it never saw:")
    for line in card.told({name: one.as_json() for name, one in made.measures.items()}):
        log(f"  {line}")
    for warning in made.warnings:
        log(f"Warning: {warning}")
    log(f"Wrote {made.folder}")
    log(
        f"Try it: detection-worker predict --models-dir {output} --prefer {made.folder.name} "
        "--input FILE"
    )
    auc = made.measures["auc"].value
    return 1 if auc is None or auc < 0.5 else 0
