"""``detection-worker train`` and ``detection-worker evaluate``."""

import argparse
import importlib
from pathlib import Path
from typing import Final

from detection_training.cli import evaluate, head
from detection_training.pipeline import full_disk, presets, steps
from detection_worker.cli.command import Command
from detection_worker.errors import UsageError

DEFAULT_CACHE: Final = Path(".cache/training")
DEFAULT_WORK: Final = Path(".cache/training-work")
DEFAULT_MINUTES: Final = 5.0


class TrainCommand:
    """Makes models."""

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
        what.add_argument("--demo", action="store_true", help="train the demonstration models")
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
            help="with --preset: only this kind of model; may be given twice",
        )
        parser.add_argument(
            "--until",
            choices=presets.STEPS,
            default=presets.STEPS[-1],
            metavar="STEP",
            help="with --preset: stop after this step",
        )
        parser.add_argument(
            "--work-dir",
            type=Path,
            default=DEFAULT_WORK,
            metavar="DIR",
            help="with --preset: where the steps leave their work (default %(default)s)",
        )
        parser.add_argument(
            "--output", type=Path, default=Path("models"), metavar="DIR", help="models directory"
        )
        parser.add_argument(
            "--minutes",
            type=float,
            default=DEFAULT_MINUTES,
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
        if args.preset:
            return _train_preset(args)
        if not args.demo:
            raise UsageError("Nothing to train!\nUse: detection-worker train --demo")
        if not 0.05 <= args.minutes <= 600:
            raise UsageError(f"--minutes {args.minutes:g} is not in 0.05 to 600")
        # Loads torch; whoever only reads --help must not wait for it.
        demo = importlib.import_module("detection_training.demo.demo")
        with full_disk.worded(args.output, kept="what was downloaded is kept"):
            missing: list[str] = demo.train_demo(
                args.cache_dir, args.output, minutes=args.minutes, force=args.force, log=_say
            )
        for line in missing:
            print(f"Not made: {line}")
        return 1 if missing else 0


def _train_preset(args: argparse.Namespace) -> int:
    order = presets.Order(
        preset=args.preset, cache=args.cache_dir, output=args.output, force=args.force
    )
    found = presets.stages_of(order, only=args.only, until=args.until)
    steps.run_stages(found, args.work_dir / args.preset, log=_say)
    return 0


def _say(line: str) -> None:
    print(line, flush=True)


TRAIN: Final[Command] = TrainCommand()
EVALUATE: Final[Command] = evaluate.EVALUATE
