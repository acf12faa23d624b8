"""``detection-worker train`` and ``detection-worker evaluate``."""

import argparse
import importlib
import os
from pathlib import Path
from typing import Final

from detection_training.cli import evaluate, head
from detection_training.pipeline import presets, steps
from detection_worker.cli.command import Command
from detection_worker.errors import UsageError

DEFAULT_CACHE: Final = Path(".cache/training")
DEFAULT_WORK: Final = Path(".cache/training-work")


class TrainCommand:
    """Trains models."""

    name: Final = "train"
    help: Final = "train detectors: small ones in minutes (--demo), or the bundled ones (--preset)"

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Add its arguments."""
        parser.add_argument(
            "what",
            nargs="?",
            choices=("head",),
            help="head: a last layer for your own files, on a network that stays as it is",
        )
        what = parser.add_mutually_exclusive_group()
        what.add_argument(
            "--demo",
            action="store_const",
            const="small",
            dest="preset",
            help="train small demonstration models in minutes: the preset small",
        )
        what.add_argument(
            "--preset",
            choices=presets.PRESETS,
            help="train in resumable steps: fetch, build, train, calibrate, evaluate, package",
        )
        parser.add_argument(
            "--only",
            action="append",
            choices=sorted(presets.PIPELINES),
            default=[],
            help="train only this kind of model; may be given twice",
        )
        parser.add_argument(
            "--until",
            choices=presets.STEPS,
            default=presets.STEPS[-1],
            metavar="STEP",
            help="stop after this step",
        )
        parser.add_argument(
            "--work-dir",
            type=Path,
            default=DEFAULT_WORK,
            metavar="DIR",
            help="where the steps leave their work (default %(default)s)",
        )
        parser.add_argument(
            "--output", type=Path, default=Path("models"), metavar="DIR", help="models directory"
        )
        parser.add_argument(
            "--minutes",
            type=float,
            default=presets.MINUTES,
            help="with --demo: about how long to take on two cores (default %(default)g)",
        )
        parser.add_argument(
            "--cache-dir",
            type=Path,
            default=DEFAULT_CACHE,
            metavar="DIR",
            help="where downloads are kept (default %(default)s)",
        )
        parser.add_argument(
            "--force", action="store_true", help="overwrite models that this command did not make"
        )

        head.add_arguments(parser.add_argument_group("head"))

    def run(self, args: argparse.Namespace) -> int:
        """Train and return 0; 1 if a model could not be made."""
        if args.what == "head":
            return head.run(args, log=_say)
        head.refuse_options(args)
        if not args.preset:
            raise UsageError("Nothing to train!\nUse: detection-worker train --demo")
        if not 0.05 <= args.minutes <= 600:
            raise UsageError(f"--minutes {args.minutes:g} is not in 0.05 to 600")
        missing = _train(args)
        for line in missing:
            print(f"Not made: {line}")
        return 1 if missing else 0


def _train(args: argparse.Namespace) -> list[str]:
    order = presets.Order(
        preset=args.preset,
        cache=args.cache_dir,
        output=args.output,
        force=args.force,
        minutes=args.minutes,
    )
    work_dir = args.work_dir / args.preset
    if args.preset != "small":
        found = presets.stages_of(order, only=args.only, until=args.until)
        steps.run_stages(found, work_dir, log=_say)
        return []
    # Loads torch, which `--help` must not wait for.
    small = importlib.import_module("detection_training.pipeline.small")
    missing: list[str] = small.train_small(
        order,
        work_dir,
        only=args.only,
        until=args.until,
        processes=min(2, os.cpu_count() or 1),
        log=_say,
    )
    return missing


def _say(line: str) -> None:
    print(line, flush=True)


TRAIN: Final[Command] = TrainCommand()
EVALUATE: Final[Command] = evaluate.EVALUATE
