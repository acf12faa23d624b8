"""``predict``: local files, folders and S3 URLs to verdicts, in words and as JSON."""

import argparse
import json
import os
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from detection_contract import texts
from detection_contract.error_codes import ErrorCode
from detection_contract.media_types import kind_of_name
from detection_contract.results import failed_result
from detection_worker.cli import credentials
from detection_worker.cli.command import Command
from detection_worker.cli.files import PUBLIC, check_writable, write_json
from detection_worker.cli.logs import start_logging
from detection_worker.cli.options import add_common, add_settings, load, threshold
from detection_worker.cli.summary import shown, summary, table
from detection_worker.config import consumer_value
from detection_worker.errors import JobError, UsageError
from detection_worker.settings import Settings

if TYPE_CHECKING:
    from detection_worker.api.evidence import EvidenceKind
    from detection_worker.api.predictor import Predictor

SETTINGS: Final = (
    "models_dir",
    "prefer",
    "video_audio",
    "device",
    "torch_threads",
    "s3_cache_dir",
    "cleanup_temp_files",
    "max_bytes",
    "max_pixels",
    "max_duration",
    "decode_timeout",
)

DRAWINGS: Final[Mapping["EvidenceKind", str]] = {
    "patches": "draw the score of every part of an image",
    "saliency": "draw which pixels of an image move its score",
}


class Predict:
    """The command."""

    name: Final = "predict"
    help: Final = "analyse local files and S3 objects"

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Add its arguments."""
        parser.add_argument(
            "inputs",
            nargs="*",
            metavar="URL|FILE|DIR",
            help="what to analyse; a folder means every media file below it",
        )
        parser.add_argument(
            "--input", action="append", default=[], metavar="URL|FILE|DIR", help="likewise"
        )
        parser.add_argument(
            "--threshold",
            type=threshold,
            default=0.5,
            metavar="0..1",
            help="P(fake) from which on a file is FAKE (0.5)",
        )
        parser.add_argument(
            "--output",
            "-o",
            metavar="FILE",
            help="write the result as JSON; a list if there "
            "are several inputs; - writes it to stdout instead of the summary",
        )
        for kind, text in DRAWINGS.items():
            parser.add_argument(f"--{_option(kind)}", dest=kind, metavar="FILE.png", help=text)
        parser.add_argument("--list-models", action="store_true", help="list models, and stop")
        parser.add_argument(
            "--setup-aws", action="store_true", help="show how AWS credentials stand, and stop"
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
        inputs = list(_expanded([*args.inputs, *args.input]))
        if not inputs:
            raise UsageError("Nothing to analyse\nName a file, a folder or an S3 URL.")
        drawings = {kind: Path(getattr(args, kind)) for kind in DRAWINGS if getattr(args, kind)}
        if drawings and len(inputs) > 1:
            raise UsageError("Evidence is drawn for one image at a time\nName one file.")
        for path in (*drawings.values(), *_files(args.output)):
            check_writable(path)
        start_logging(_quiet(loaded.settings, args))
        return _predict_all(inputs, args, loaded.settings, drawings=drawings)


def _quiet(settings: Settings, args: argparse.Namespace) -> Settings:
    # The summary says it all; LOG_LEVEL and --verbose bring the log back.
    chosen = args.verbose or os.environ.get("LOG_LEVEL") or settings.logging.level != "INFO"
    return (
        settings
        if chosen
        else replace(settings, logging=replace(settings.logging, level="WARNING"))
    )


def _list_models(settings: Settings) -> int:
    from detection_worker.cli import models  # noqa: PLC0415 - pydantic stays out of --help

    return models.print_list(models.models_dir(settings), prefer=settings.models_prefer)


def _expanded(inputs: Sequence[str]) -> Iterator[str]:
    for text in inputs:
        path = Path(os.path.expanduser(text))  # noqa: PTH111 - leaves an unknown ~name as it is
        if "://" in text or not _is_folder(path):
            yield text
            continue
        found = sorted(str(p) for p in path.rglob("*") if p.is_file() and kind_of_name(p.name))
        if not found:
            raise UsageError(f"No media files in {path}\nName another folder.")
        yield from found


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        # A name too long for any file, say; opening it will tell.
        return False


def _option(kind: "EvidenceKind") -> str:
    return "evidence" if kind == "patches" else kind


def _files(output: str | None) -> list[Path]:
    return [] if output in (None, "-") else [Path(str(output))]


def _predict_all(
    inputs: Sequence[str],
    args: argparse.Namespace,
    settings: Settings,
    *,
    drawings: Mapping["EvidenceKind", Path],
) -> int:
    from detection_worker.api.predictor import Predictor  # noqa: PLC0415 - numpy stays out of --help

    results: list[dict[str, object]] = []
    failures: list[JobError] = []
    with Predictor(
        settings,
        device=str(consumer_value("device", vars(args), os.environ)),
        threads=_threads(args),
    ) as predictor:
        predictor.load_models()
        for index, text in enumerate(inputs):
            if len(inputs) > 1:
                print(f"[{index + 1}/{len(inputs)}] {shown(text)}", file=sys.stderr)
            try:
                results.append(_predict(predictor, text, threshold=args.threshold))
            except JobError as exc:
                failures.append(exc)
                results.append(_failed(text, exc, threshold=args.threshold))
        if not failures:
            for kind, path in drawings.items():
                path.write_bytes(predictor.evidence(inputs[0], kind=kind))
                print(f"Drawn to {path}", file=sys.stderr)
    _report(results, failures, args.output)
    return 1 if failures else 0


def _threads(args: argparse.Namespace) -> int:
    value = consumer_value("torch_threads", vars(args), os.environ)
    assert isinstance(value, int)  # noqa: S101 - parsed as one
    return value


def _predict(predictor: "Predictor", text: str, *, threshold: float) -> dict[str, object]:
    return predictor.predict_auto(text, confidence_threshold=threshold)


def _failed(text: str, exc: JobError, *, threshold: float) -> dict[str, object]:
    is_s3_file = "://" in text
    return failed_result(
        request_id=str(uuid.uuid4()),
        processed_at=datetime.now(tz=UTC),
        code=exc.code,
        message=exc.message,
        sqs_to_ml_url=text if is_s3_file else None,
        file_path=text,
        file_type=kind_of_name(text.partition("?")[0]),
        threshold=threshold,
        is_s3_file=is_s3_file,
    )


def _report(
    results: Sequence[dict[str, object]], failures: Sequence[JobError], output: str | None
) -> None:
    document: object = results[0] if len(results) == 1 else results
    if output == "-":
        print(json.dumps(document, indent=2, ensure_ascii=False))
    elif len(results) > 1:
        print(table(results))
    elif not failures:
        print(summary(results[0]))
    for text in dict.fromkeys(explain(exc, results) for exc in failures):
        print(text, file=sys.stderr)
    if output not in (None, "-"):
        write_json(Path(output), document, mode=PUBLIC)
        print(f"Results saved to {output}")


def explain(exc: JobError, results: Sequence[dict[str, object]]) -> str:
    """Return why a file failed and the next step to take on the following line."""
    steps = {
        ErrorCode.CREDENTIALS: texts.NO_CREDENTIALS,
        ErrorCode.S3_FORBIDDEN: texts.ACCESS_DENIED,
        ErrorCode.S3_NOT_FOUND: texts.FILE_NOT_FOUND,
        ErrorCode.NO_MODEL: texts.NO_MODELS,
    }
    step = steps.get(exc.code, "\nRun it with --verbose for more.").partition("\n")[2]
    where = "" if len(results) == 1 else f" ({exc.code.value})"
    return f"{exc.message}{where}\n{step}"


COMMAND: Final[Command] = Predict()
