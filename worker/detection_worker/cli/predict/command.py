"""``predict``: verdicts on local files, folders and S3 URLs, in words, as JSON or CSV."""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from detection_worker.cli.aws import credentials
from detection_worker.cli.command import Command
from detection_worker.cli.files import check_writable
from detection_worker.cli.options import add_common, add_settings, load, start_logging, threshold
from detection_worker.cli.predict.inputs import Found, expand, listed, skipped_line
from detection_worker.cli.predict.results_file import FORMATS, STDOUT, format_of
from detection_worker.cli.terminal import shown
from detection_worker.config import consumer_value
from detection_worker.errors import UsageError
from detection_worker.settings import Settings

if TYPE_CHECKING:
    from detection_worker.api.evidence import EvidenceKind

SETTINGS: Final = (
    "models_dir",
    "prefer",
    "video_audio",
    "frames",
    "windows",
    "device",
    "precision",
    "trust_list",
    "trust_declared",
    "torch_threads",
    "decoders",
    "s3_cache_dir",
    "cleanup_temp_files",
    "max_bytes",
    "max_pixels",
    "max_duration",
    "decode_timeout",
)
DRAWINGS: Final[Mapping["EvidenceKind", str]] = {
    "patches": "draw the score of each part of an image",
    "saliency": "draw the pixels that change an image's score most",
}
EPILOG: Final = """\
Results come in the order of the inputs. Each is written as soon as it and those
before it are there: Ctrl-C keeps what is done.

exit codes:
  0    every file was analysed
  1    at least one file could not be analysed; its result says why
  2    wrong usage or set-up, such as a folder without media; or no model
  130  interrupted with Ctrl-C"""
_PAGE_SUFFIXES: Final = (".html", ".htm")
_STDOUT_NAMES: Final = (STDOUT, "/dev/stdout")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Inputs and options of one run.

    Attributes:
        names: Paths, S3 URLs and S3 prefixes.
        total: Number of files and objects that they name.
        threshold: P(fake) from which a file is FAKE, in [0, 1].
        output: Where results are written: a path, ``-`` for standard output, or None.
        form: One of ``FORMATS``.
        drawings: File to draw each kind of evidence to.
        report: Human-readable page; None for none.
        device: ``cpu``, ``cuda``, ``cuda:N`` or ``auto``.
        threads: Threads of one forward pass; 0 leaves the number to torch.
        decoders: Files decoded at once; 0 means one for each core.
        verbose: Whether the log goes to the terminal.
    """

    names: Sequence[str]
    total: int
    threshold: float
    output: str | None
    form: str
    drawings: Mapping["EvidenceKind", Path]
    report: Path | None
    device: str
    threads: int
    decoders: int
    verbose: bool


class Predict:
    """The command."""

    name: Final = "predict"
    help: Final = "analyse local files and S3 objects"

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Add its arguments."""
        parser.epilog = EPILOG
        parser.add_argument(
            "inputs",
            nargs="*",
            metavar="URL|FILE|DIR",
            help="what to analyse; a folder or s3://bucket/prefix/ means every media file below "
            "it, s3://bucket/dir/*.mp4 those that match (** also matches /)",
        )
        parser.add_argument(
            "--input",
            action="append",
            default=[],
            metavar="URL|FILE|DIR",
            help="what to analyse, as an option; may be repeated",
        )
        parser.add_argument(
            "--files-from",
            metavar="FILE",
            help="analyse what this file lists, one path or URL a line; - reads standard input",
        )
        parser.add_argument(
            "--threshold",
            type=threshold,
            default=0.5,
            metavar="0..1",
            help="P(fake) from which a file is FAKE (0.5)",
        )
        parser.add_argument(
            "--output",
            "-o",
            metavar="FILE",
            help="write the results as they come; - is stdout, without the summary",
        )
        parser.add_argument(
            "--format",
            choices=FORMATS,
            metavar="|".join(FORMATS),
            help="how results are written, without --output to stdout; by default as the name of "
            "the output ends, else json: an object, or a list for several files",
        )
        parser.add_argument(
            "--report",
            metavar="FILE.html",
            help="write a page to read: verdict, pictures, scores, what the detector gets "
            "wrong; for several files a list, with their pages in FILE_files/",
        )
        for kind, text in DRAWINGS.items():
            parser.add_argument(f"--{_option(kind)}", dest=kind, metavar="FILE.png", help=text)
        parser.add_argument("--list-models", action="store_true", help="list models, and stop")
        parser.add_argument(
            "--setup-aws", action="store_true", help="show the AWS credentials in use, and stop"
        )
        add_settings(parser, SETTINGS, title="analysis")
        add_common(parser)

    def run(self, args: argparse.Namespace) -> int:
        """Analyse every input; return 1 if one failed."""
        loaded = load(args)
        if args.list_models:
            return _list_models(loaded.settings)
        if args.setup_aws:
            code = credentials.report(loaded)
            print(f"\nChange it with: detection-worker setup-aws\n\n{credentials.EXAMPLES}")
            return code
        plan = _plan(args, loaded.settings)
        settings = _quiet(loaded.settings, args)
        start_logging(settings)
        from detection_worker.cli.predict.run import run  # noqa: PLC0415 - numpy stays out of --help

        return run(plan, settings)


def _plan(args: argparse.Namespace, settings: Settings) -> Plan:
    drawings = {kind: Path(getattr(args, kind)) for kind in DRAWINGS if getattr(args, kind)}
    output = _output(args)
    report = _report(args)
    written = [
        *drawings.values(),
        *([] if output in (None, STDOUT) else [Path(str(output))]),
        *([] if report is None else [report]),
    ]
    found = _found(args, written, settings)
    if drawings and (len(found.names) > 1 or found.below):
        raise UsageError("Evidence is drawn for one image at a time\nName one file.")
    if len(set(written)) < len(written):
        raise UsageError("Two outputs have the same name\nName a file for each.")
    for path in written:
        check_writable(path)
        _check_no_input(path, found.names)
    return Plan(
        names=found.names,
        total=found.total,
        threshold=args.threshold,
        output=output,
        form=format_of(args.format, output),
        drawings=drawings,
        report=report,
        device=str(consumer_value("device", vars(args), os.environ)),
        threads=_whole("torch_threads", args),
        decoders=_whole("decoders", args),
        verbose=args.verbose,
    )


def _output(args: argparse.Namespace) -> str | None:
    if args.output is None:
        return STDOUT if args.format else None
    return STDOUT if args.output in _STDOUT_NAMES else str(args.output)


def _report(args: argparse.Namespace) -> Path | None:
    if args.report is None:
        return None
    path = Path(args.report)
    if path.suffix.lower() not in _PAGE_SUFFIXES:
        raise UsageError(
            f"Not the name of a page: {shown(args.report)}\nName a file that ends with .html."
        )
    return path


def _found(args: argparse.Namespace, written: Sequence[Path], settings: Settings) -> Found:
    named = [*args.inputs, *args.input]
    if args.files_from is not None:
        named += listed(args.files_from)
    found = expand(named, leave_out=written)
    if not found.names:
        raise UsageError("Nothing to analyse\nName a file, a folder, an S3 URL or prefix.")
    if any("://" in name for name in found.names):
        from detection_worker.cli.predict.objects import count_objects  # noqa: PLC0415 - boto3

        count_objects(found, settings)
    if found.skipped:
        print(skipped_line(found.skipped, all_of_them=args.verbose), file=sys.stderr)
    for why, count in found.skipped_objects.items():
        print(f"Skipped {count}: {why}", file=sys.stderr)
    return found


def _check_no_input(path: Path, names: Sequence[str]) -> None:
    """Refuse to overwrite an input."""
    if not path.exists():
        return
    for name in names:
        if "://" not in name and os.path.exists(name) and path.samefile(name):  # noqa: PTH110 - long names
            raise UsageError(
                f"{path} is an input and would be overwritten\nName another file to write to."
            )


def _quiet(settings: Settings, args: argparse.Namespace) -> Settings:
    # The summary is enough; LOG_LEVEL and --verbose turn the log on.
    chosen = args.verbose or os.environ.get("LOG_LEVEL") or settings.logging.level != "INFO"
    return (
        settings
        if chosen
        else replace(settings, logging=replace(settings.logging, level="WARNING"))
    )


def _list_models(settings: Settings) -> int:
    from detection_worker.cli import models  # noqa: PLC0415 - pydantic stays out of --help

    return models.print_list(models.models_dir(settings), prefer=settings.models_prefer)


def _option(kind: "EvidenceKind") -> str:
    return "evidence" if kind == "patches" else kind


def _whole(name: str, args: argparse.Namespace) -> int:
    value = consumer_value(name, vars(args), os.environ)
    assert isinstance(value, int)  # noqa: S101 - parsed as one
    return value


COMMAND: Final[Command] = Predict()
