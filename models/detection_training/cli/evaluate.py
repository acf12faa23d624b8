"""``detection-worker evaluate``: what to measure, with what, and where the numbers go."""

import argparse
import importlib
import json
import sys
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import fields
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from detection_contract.user_messages import counted
from detection_worker.cli.command import Command
from detection_worker.cli.files import PUBLIC, check_writable, write_json
from detection_worker.cli.options import threshold
from detection_worker.errors import UsageError

if TYPE_CHECKING:
    from detection_training.evaluation.gates import Gates
    from detection_training.evaluation.rows import Row
    from detection_training.evaluation.tables import Report

SCORES_NAME: Final = "scores.csv"
JSON_NAME: Final = "report.json"
PAGE_NAME: Final = "report.html"
MAX_DRAWS: Final = 100_000
EXIT_GATE: Final = 1
GATE_HELP: Final = {
    "max_false_alarms": "highest false-alarm rate of any source of real files",
    "max_eer": "highest equal error rate, of the families marked seen if any are",
    "max_unseen_eer": "highest equal error rate of the families marked unseen",
    "min_auc": "lowest area under the ROC curve",
    "min_detection": "lowest detection rate of any family of fakes",
    "max_ece": "highest calibration error",
    "max_baseline_auc": "highest area under the curve of the trivial features",
    "max_not_scored": "highest share of files that could not be scored",
}


class EvaluateCommand:
    """Measures models."""

    name: Final = "evaluate"
    help: Final = "measure detectors on labelled files, with intervals, plots and gates"

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Add its arguments."""
        _add_data(parser)
        _add_measuring(parser)
        _add_outputs(parser)
        gates = parser.add_argument_group("gates", "a broken one makes the exit status 1")
        gates.add_argument(
            "--gate", type=Path, metavar="FILE", help='JSON object such as {"max_eer": 0.15}'
        )
        for name, text in GATE_HELP.items():
            option = "--" + name.replace("_", "-")
            gates.add_argument(option, type=threshold, metavar="0..1", help=text)

    def run(self, args: argparse.Namespace) -> int:
        """Measure, print tables, write files; return 0, or 1 if a gate is broken."""
        _check(args)
        gates = _gates(args)
        report = _measured(args, with_baseline=args.baseline or gates.max_baseline_auc is not None)
        lines = importlib.import_module("detection_training.evaluation.gates").broken(
            gates, report
        )
        _publish(report, lines, args)
        for line in lines:
            print(f"Gate broken: {line}", file=sys.stderr)
        return EXIT_GATE if lines else 0


def _add_data(parser: argparse.ArgumentParser) -> None:
    data = parser.add_argument_group("what to measure")
    data.add_argument("--real", type=Path, metavar="DIR", help="folder of real files")
    data.add_argument("--fake", type=Path, metavar="DIR", help="folder of fake files")
    data.add_argument(
        "--group",
        choices=("file", "folder"),
        default="file",
        help="with folders: files of one folder are of one speaker, photograph or video, and the "
        "intervals are over those (default: each file by itself)",
    )
    data.add_argument(
        "--manifest",
        type=Path,
        metavar="FILE.csv",
        help="columns path, label; and if known family, source, speaker or photo or video or "
        "group, codec, split, seen",
    )
    data.add_argument("--split", metavar="NAME", help="with a manifest: only this split")
    data.add_argument(
        "--scores", type=Path, metavar="FILE.csv", help="scores.csv of an earlier run; no scoring"
    )


def _add_measuring(parser: argparse.ArgumentParser) -> None:
    how = parser.add_argument_group("how")
    how.add_argument("--models-dir", type=Path, metavar="DIR", help="default: the bundled")
    how.add_argument(
        "--prefer", action="append", default=[], metavar="NAME", help="take this model of its kind"
    )
    how.add_argument("--device", default="cpu", metavar="NAME", help="cpu, cuda or cuda:N")
    how.add_argument(
        "--threshold",
        type=threshold,
        default=0.5,
        metavar="0..1",
        help="P(fake) from which on a file is FAKE (0.5)",
    )
    how.add_argument(
        "--grid",
        action="store_true",
        help="score treated copies too: other codecs, sizes, rates, noise; takes about six "
        "times as long",
    )
    how.add_argument(
        "--baseline",
        action="store_true",
        help="test whether trivial features (size, length, codec …) give the classes away",
    )
    how.add_argument(
        "--draws", type=int, default=1000, metavar="N", help="of the bootstrap (1000; 0: none)"
    )


def _add_outputs(parser: argparse.ArgumentParser) -> None:
    out = parser.add_argument_group("output")
    out.add_argument(
        "--report",
        type=Path,
        metavar="DIR",
        help=f"write {PAGE_NAME}, {JSON_NAME}, {SCORES_NAME} and the plots there",
    )
    out.add_argument("--html", metavar="FILE", type=Path, help="write the page, plots beside it")
    out.add_argument(
        "--json", metavar="FILE", help="write the numbers; - prints them instead of the tables"
    )
    out.add_argument("--save-scores", type=Path, metavar="FILE.csv", help="write a row a file")


def _check(args: argparse.Namespace) -> None:
    """Refuse what would fail after the work is done."""
    folders = args.real is not None or args.fake is not None
    if folders + (args.manifest is not None) + (args.scores is not None) != 1:
        raise UsageError(
            "Say what to measure, once!\n"
            "Use --real DIR --fake DIR, or --manifest FILE.csv, or --scores FILE.csv."
        )
    if folders and (args.real is None or args.fake is None):
        raise UsageError("A folder is missing\nGive both --real DIR and --fake DIR.")
    if args.scores is not None and args.grid:
        raise UsageError("--scores scores nothing again\nUse --grid when you score.")
    if args.split is not None and args.manifest is None:
        raise UsageError("--split needs --manifest FILE.csv")
    if not 0 <= args.draws <= MAX_DRAWS:
        raise UsageError(f"--draws {args.draws} is not in 0 to {MAX_DRAWS}")
    if args.report is not None:
        try:
            args.report.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise UsageError(
                f"Cannot make {args.report}: {exc.strerror}\nChoose another folder."
            ) from exc
    json_file = None if args.json in {None, "-"} else Path(args.json)
    for file in (args.html, json_file, args.save_scores):
        if file is not None:
            check_writable(file)


def _gates(args: argparse.Namespace) -> "Gates":
    gates = importlib.import_module("detection_training.evaluation.gates")
    given = gates.Gates(**{field.name: getattr(args, field.name) for field in fields(gates.Gates)})
    found: Gates = gates.read_gates(args.gate, over=given) if args.gate else given
    return found


def _measured(args: argparse.Namespace, *, with_baseline: bool) -> "Report":
    tables = importlib.import_module("detection_training.evaluation.tables")
    rows, origin, grouped = _rows(args)
    if all(row.score is None for row in rows):
        reasons = "".join(f"\n  {row.item.name}: {row.problem}" for row in rows[:5])
        raise UsageError(f"None of {counted(len(rows), 'file')} could be scored!{reasons}")
    settings = tables.Settings(
        threshold=args.threshold, draws=args.draws, with_baseline=with_baseline
    )
    report: Report = tables.report(rows, settings, origin=origin, grouped=grouped)
    return report


def _rows(args: argparse.Namespace) -> "tuple[list[Row], str, bool]":
    scored = importlib.import_module("detection_training.evaluation.rows")
    if args.scores is not None:
        rows: list[Row] = scored.read_rows(args.scores)
        return rows, f"scores {args.scores}", any(r.item.group != r.item.name for r in rows)
    items = importlib.import_module("detection_training.evaluation.items")
    chosen = (
        items.from_manifest(args.manifest, split=args.split)
        if args.manifest is not None
        else items.from_folders(args.real, args.fake, group_by_folder=args.group == "folder")
    )
    # Loads torch; bad folders and manifests are reported without that wait.
    listing = importlib.import_module("detection_worker.detectors.model_folder.listing")
    registry = importlib.import_module("detection_worker.detectors.registry")
    evaluation = importlib.import_module("detection_training.evaluation.scoring")
    loaded = registry.load_detectors(
        args.models_dir or listing.bundled_models_dir(), device=args.device, prefer=args.prefer
    )
    file = args.save_scores or (args.report / SCORES_NAME if args.report else None)
    writing = scored.RowWriter(file) if file else nullcontext()
    rows = []
    with writing as writer, evaluation.scorer(loaded, threshold=args.threshold) as scoring:
        for row in evaluation.score_items(
            scoring, chosen.items, grid=args.grid, total=len(chosen.items), log=_progress
        ):
            rows.append(row)
            if writer is not None:
                writer.write(row)
    return rows, chosen.origin, chosen.grouped


def _publish(report: "Report", broken: list[str], args: argparse.Namespace) -> None:
    texts = importlib.import_module("detection_training.evaluation.text")
    made_at = datetime.now(UTC).isoformat(timespec="seconds")
    program = f"detection-queue {version('detection-queue')}"
    document = {
        "made_at": made_at,
        "program": program,
        **texts.as_json(report),
        "broken_gates": broken,
    }
    if args.json == "-":
        print(json.dumps(document, indent=2, allow_nan=False))
    else:
        print(texts.as_text(report))
    if args.json not in {None, "-"}:
        write_json(Path(args.json), document, mode=PUBLIC)
    if args.report is not None:
        write_json(args.report / JSON_NAME, document, mode=PUBLIC)
    pages = {
        **({args.report / PAGE_NAME: ""} if args.report else {}),
        **({args.html: f"{args.html.stem}-"} if args.html else {}),
    }
    if pages:
        drawing: Any = importlib.import_module("detection_training.evaluation.plots")
        page: Any = importlib.import_module("detection_training.evaluation.page")
        pictures = {str(kind.kind): drawing.draw(kind) for kind in report.kinds}
        text = page.page(report, pictures, made=f"{made_at} by {program}", broken=broken)
        plots = {name: data for of in pictures.values() for name, data in of.items()}
        for file, prefix in pages.items():
            _write_page(file, text, {prefix + name: data for name, data in plots.items()})


def _write_page(file: Path, text: str, plots: Mapping[str, bytes]) -> None:
    try:
        file.write_text(text, encoding="utf-8")
        for name, data in plots.items():
            file.with_name(name).write_bytes(data)
    except OSError as exc:
        raise UsageError(
            f"Cannot write {file}: {exc.strerror}\nMake room, or choose another folder."
        ) from exc
    print(f"Wrote {file}", file=sys.stderr)


def _progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


EVALUATE: Final[Command] = EvaluateCommand()
