"""Command-line options made from ``config.table``, and settings from options."""

import argparse
import math
import os
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from detection_contract.process.logs import configure, log_format_from_environment
from detection_worker.config import Loaded, load_settings
from detection_worker.config.table import SETTINGS, Setting
from detection_worker.settings import Settings

HELP: Final = {
    "aws_access_key_id": "AWS access key; better in the environment, a profile or a role",
    "aws_secret_access_key": "AWS secret key; every user of this machine can see it while it runs",
    "aws_session_token": "AWS session token of temporary keys",
    "aws_region": "AWS region",
    "endpoint_url": "one endpoint for SQS and S3, for an emulator",
    "allowed_buckets": "read only these buckets; * and ? are wildcards",
    "expected_bucket_owner": "AWS account that must own every bucket",
    "s3_cache_dir": "folder for downloads",
    "cleanup_temp_files": "remove downloads after use",
    "log_level": "lowest level to log",
    "log_to_console": "write the log to stderr",
    "log_format": "plain lines or JSON lines",
    "emf_namespace": "CloudWatch namespace: write metrics to stdout, a line in EMF each minute",
    "max_bytes": "refuse larger files",
    "max_pixels": "refuse larger frames",
    "max_duration": "refuse longer recordings, seconds",
    "frames": "most frames of a video to look at; default: the model's",
    "windows": "most windows of sound to look at; default: the model's",
    "decode_timeout": "longest decoding of one file, seconds",
    "callback_connect_timeout": "seconds to connect to a callback URL",
    "callback_read_timeout": "seconds to wait for a callback's answer",
    "callback_attempts": "attempts before the message goes back to the queue",
    "callback_allow_private": "let callbacks reach loopback and private addresses",
    "callback_allowed_networks": "private address ranges that callbacks may reach",
    "callback_url": "callback URL of messages that name none, such as S3 events",
    "results": "S3 prefix that every result is stored under, such as s3://bucket/results/",
    "results_key": "key of a stored result below the prefix",
    "results_pages": "store an HTML page to read beside every result",
    "results_kms_key_id": "KMS key that encrypts stored results; default: the bucket's",
    "results_bucket_owner": "AWS account that must own the buckets of results and cache",
    "on_success": "ARNs of SNS topics, SQS queues or EventBridge buses told of finished results",
    "on_failure": "the same for jobs that failed for good",
    "cache": "S3 prefix of the cache of scores that all workers share",
    "outbox": "URL of the SQS queue from which failed callbacks are retried for days",
    "queue_url": "URL of the SQS queue",
    "poll_interval": "pause after a failed poll, seconds",
    "max_messages": "messages to receive in one poll, at most",
    "wait_time": "long-poll time, seconds",
    "visibility_timeout": "visibility timeout, extended while there is progress, seconds",
    "run_once": "poll once, process the messages received, and exit",
    "dry_run": "parse messages only; process and delete none",
    "stats_interval": "print statistics every N messages; 0 for never",
    "max_in_flight": "most messages held at once",
    "prefetch_seconds": "most predicted seconds of work held at once",
    "max_bytes_in_flight": "most downloaded bytes held at once",
    "pollers": "polling threads",
    "downloaders": "downloading threads",
    "decoders": "decoding processes; 0 for one each core",
    "feeders": "processes that feed the device; 0 for none; default: by cores and device",
    "callback_workers": "threads that post results",
    "batch_units": "most crops or windows in one forward pass; 0: 32, on a GPU as measured",
    "device": "cpu, cuda, cuda:N, or auto: the GPU if there is one",
    "trust_list": "PEM file with the issuers of C2PA signatures to trust",
    "trust_declared": "fake: what these signatures declare as made or edited by AI",
    "precision": "precision of the networks; auto: half on a GPU where scores hold",
    "torch_threads": "threads of a forward pass; 0 for one each core, in short passes for 1",
    "stall_timeout": "stop work on a message after this long without progress, seconds",
    "shutdown_grace": "longest time from SIGTERM to exit, seconds",
    "dead_letter_queue_url": "dead-letter queue; default: that of the redrive policy",
    "max_backoff": "longest pause before a retry, seconds",
    "control_host": "address of the control server",
    "control_port": "port of /healthz, /readyz, /state, /drain and /metrics; 0 for none",
    "models_dir": "folder of detectors; default: those in the package",
    "video_audio": "also analyse the sound of videos, if an audio model is loaded",
    "prefer": "models to use first for their media kind; commas between names",
}
"""One line for each setting that commands offer as an option."""

REPEATABLE: Final = frozenset({"on_success", "on_failure"})
"""Settings whose option may be given more than once."""

AWS: Final = (
    "aws_access_key_id",
    "aws_secret_access_key",
    "aws_session_token",
    "aws_region",
    "endpoint_url",
)


def add_settings(parser: argparse.ArgumentParser, names: Iterable[str], *, title: str) -> None:
    """Add options for settings; ``config`` checks their values, as those of other places.

    Args:
        parser: The command's parser.
        names: ``Setting.option`` of each setting.
        title: Title of their group in the help.
    """
    rows = {row.option: row for row in SETTINGS}
    group = parser.add_argument_group(title)
    for name in names:
        row = rows[name]
        text = f"{HELP[name]}{_origin(row)}".replace("%", "%%")
        if row.name in REPEATABLE:
            group.add_argument(
                row.flag, dest=name, action="extend", nargs=1, metavar="ARN", help=text
            )
        elif row.type is bool:
            group.add_argument(
                row.flag, dest=name, action=argparse.BooleanOptionalAction, default=None, help=text
            )
        else:
            group.add_argument(row.flag, dest=name, metavar=_metavar(row), help=text)


def add_common(parser: argparse.ArgumentParser) -> None:
    """Add the options of every command that talks to AWS."""
    add_settings(parser, AWS, title="AWS")
    group = parser.add_argument_group("general")
    group.add_argument(
        "--config", metavar="FILE", help="config file [DETECTION_CONFIG] (aws_config.json, if any)"
    )
    group.add_argument(
        "--verbose", "-v", action="store_true", help="log every step with sizes and times"
    )


def load(args: argparse.Namespace) -> Loaded:
    """Return the settings from options, environment and config file.

    Warnings go to stderr.

    Raises:
        UsageError: As ``load_settings``.
    """
    options = dict(vars(args))
    if options.get("log_format") is None and not os.environ.get("LOG_FORMAT"):
        options["log_format"] = log_format_from_environment()
    loaded = load_settings(options, os.environ, Path.cwd())
    for warning in loaded.warnings:
        print(f"Warning: {warning}", file=sys.stderr)
    return loaded


def start_logging(settings: Settings) -> None:
    """Send log records to stderr in the format that the settings name."""
    configure(
        level=settings.logging.level,
        fmt=settings.logging.format,
        to_console=settings.logging.log_to_console,
    )


def _origin(row: Setting) -> str:
    variables = f" [{row.environment[0]}]" if row.environment else ""
    shown = "" if row.default in (None, "", ()) else f" ({_default(row.default)})"
    return variables + shown


def _default(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _metavar(row: Setting) -> str:
    if row.type in (int, float):
        return "N"
    if row.type is Path:
        return "DIR"
    if row.is_url:
        return "URL"
    return "|".join(row.words) or row.name.upper()


def threshold(text: str) -> float:
    """Return a confidence threshold; for ``add_argument(type=…)``."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 0 to 1")
    return value


def positive(text: str) -> float:
    """Return a number above 0; for ``add_argument(type=…)``."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0")
    return value


def moment(text: str) -> datetime:
    """Return a date or time in ISO 8601, in UTC if it names no zone; for ``type=…``."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no date or time, such as 2026-01-31 or 2026-01-31T12:00:00Z"
        ) from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
