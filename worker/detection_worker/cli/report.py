"""``report``: a page to read of a stored result, with pictures if its file is at hand."""

import argparse
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from detection_contract.environment import EXIT_OK
from detection_worker.cli.command import Command
from detection_worker.cli.files import PUBLIC, check_writable, write_text
from detection_worker.cli.options import add_common, add_settings, load, start_logging
from detection_worker.cli.terminal import shown
from detection_worker.errors import JobError, UsageError
from detection_worker.settings import MIB, Settings

if TYPE_CHECKING:
    from detection_worker.report.values import Pictures

STDIN: Final = "-"
MAX_BYTES: Final = 32 * MIB
"""Longest result that is read; see ``batch.stored``."""
SETTINGS: Final = ("models_dir", "prefer", "video_audio", "frames", "windows", "s3_cache_dir")


class Report:
    """The command."""

    name: Final = "report"
    help: Final = "make a page to read of a stored result"

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Add its arguments."""
        parser.add_argument(
            "result", metavar="FILE|URL", help="a result as JSON; an S3 URL, or - for stdin"
        )
        parser.add_argument(
            "--media",
            metavar="FILE|URL",
            help="the file that was analysed: its pictures get into the page; it is analysed "
            "again for them, which changes nothing of the result",
        )
        parser.add_argument(
            "--output", "-o", metavar="FILE.html", required=True, help="where the page goes"
        )
        add_settings(parser, SETTINGS, title="analysis")
        add_common(parser)

    def run(self, args: argparse.Namespace) -> int:
        """Write the page."""
        settings = load(args).settings
        start_logging(replace(settings, logging=replace(settings.logging, level="WARNING")))
        output = Path(args.output)
        check_writable(output)
        # Jinja and boto3 stay out of --help.
        from detection_worker.detectors.model_folder.listing import (  # noqa: PLC0415
            bundled_models_dir,
        )
        from detection_worker.report.cards import Cards  # noqa: PLC0415
        from detection_worker.report.page import result_page  # noqa: PLC0415
        from detection_worker.report.values import NO_PICTURES  # noqa: PLC0415

        result = _result(args.result, settings)
        pictures = NO_PICTURES if args.media is None else _pictures(args.media, result, settings)
        cards = Cards(settings.models_dir or bundled_models_dir())
        write_text(output, result_page(result, pictures, notes=cards.notes), mode=PUBLIC)
        print(f"Report saved to {shown(args.output)}", file=sys.stderr)
        return EXIT_OK


def _result(named: str, settings: Settings) -> dict[str, Any]:
    from detection_worker.batch.stored import NoResult, envelope_of  # noqa: PLC0415 - boto3

    try:
        return envelope_of(_read(named, settings))
    except NoResult as exc:
        raise UsageError(
            f"No result in {shown(named)}: {exc}\n"
            "Name one result: a stored object, or what predict --output wrote for one file."
        ) from exc


def _read(named: str, settings: Settings) -> bytes:
    from detection_worker.api.files import S3Files  # noqa: PLC0415 - boto3

    try:
        if named == STDIN:
            return sys.stdin.buffer.read(MAX_BYTES)
        if "://" not in named:
            with Path(named).open("rb") as file:
                return file.read(MAX_BYTES)
        with S3Files(settings) as files:
            return files.fetch(named).path.read_bytes()[:MAX_BYTES]
    except JobError as exc:
        raise UsageError(exc.message) from exc
    except OSError as exc:
        raise UsageError(
            f"Cannot read {shown(named)}: {exc.strerror}\nName a result, or - for stdin."
        ) from exc


def _pictures(named: str, result: Mapping[str, Any], settings: Settings) -> "Pictures":
    """Return pictures of the file that a result is about.

    Raises:
        UsageError: It cannot be analysed, or is another file.
    """
    from detection_worker.api.predictor import Predictor  # noqa: PLC0415 - numpy

    with Predictor(settings, device="cpu") as predictor:
        try:
            again, pictures = predictor.seen(named, threshold=0.5)
        except JobError as exc:
            raise UsageError(exc.message) from exc
    if _sha256(result) is None:
        raise UsageError(
            "The result names no SHA-256, so nothing shows that the file is still the same\n"
            "Leave --media out."
        )
    if _sha256(again) != _sha256(result):
        raise UsageError(
            f"{shown(named)} is not the file of this result: its SHA-256 is another\n"
            "Name the file that was analysed, or leave --media out."
        )
    if _times(again) == _times(result):
        return pictures
    print("Other parts were scored than would be today: no frames are shown", file=sys.stderr)
    return replace(pictures, frames=(), sound=None)


def _sha256(result: Mapping[str, Any]) -> object:
    media = result.get("media")
    return media.get("sha256") if isinstance(media, dict) else None


def _times(result: Mapping[str, Any]) -> list[object]:
    """When frames and windows begin, of pictures and sound."""
    from detection_worker.report.envelope import objects  # noqa: PLC0415

    parts = [result, *objects(result, "tracks")]
    return [segment.get("start_s") for part in parts for segment in objects(part, "segments")]


COMMAND: Final[Command] = Report()
