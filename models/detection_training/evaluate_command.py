"""``detection-worker evaluate``."""

import argparse
import importlib
import json
from pathlib import Path
from typing import Final

from detection_worker.cli.command import Command


class EvaluateCommand:
    """Measures models."""

    name: Final = "evaluate"
    help: Final = "measure detectors on a folder of real and a folder of fake files"

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Add its arguments."""
        parser.add_argument("--models-dir", type=Path, metavar="DIR", help="default: the bundled")
        parser.add_argument("--real", type=Path, required=True, metavar="DIR")
        parser.add_argument("--fake", type=Path, required=True, metavar="DIR")
        parser.add_argument(
            "--json", type=Path, metavar="FILE", help="write the metrics there too"
        )

    def run(self, args: argparse.Namespace) -> int:
        """Measure, print a table and JSON, and return 0."""
        registry = importlib.import_module("detection_worker.detectors.registry")
        evaluation = importlib.import_module("detection_training.evaluation")
        metrics = importlib.import_module("detection_training.metrics")
        loaded = registry.load_detectors(args.models_dir or registry.bundled_models_dir())
        rows, problems = evaluation.evaluate(loaded, real=args.real, fake=args.fake, log=_say)
        report = {
            "models": {c.kind: {"name": c.name, "sha256": c.sha256} for c in loaded.cards},
            "metrics": rows,
            "not_scored": problems,
        }
        text = json.dumps(report, indent=2)
        print(f"{metrics.table(rows)}\n\n{text}")
        if args.json is not None:
            args.json.write_text(text + "\n")
        return 0


def _say(line: str) -> None:
    print(line, flush=True)


EVALUATE: Final[Command] = EvaluateCommand()
