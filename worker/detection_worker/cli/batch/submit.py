"""``submit``: a message for every object of a prefix or a manifest."""

import argparse
import hashlib
import json
import os
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from detection_contract.aws.s3_prefixes import parse_s3_prefix
from detection_contract.aws.s3_urls import InvalidS3Url
from detection_contract.messages import InvalidMessage, create_test_message
from detection_worker.cli.command import Command
from detection_worker.cli.options import (
    add_common,
    add_settings,
    load,
    moment,
    positive,
    start_logging,
    threshold,
)
from detection_worker.config import Loaded, consumer_value
from detection_worker.core.batch.objects import S3Pattern, Selection, parse_pattern
from detection_worker.errors import UsageError

EPILOG: Final = """\
Objects are listed twice: once to count them, then to send a message for each. Request
ids come from bucket, key and version (or ETag): the same object has the same id in
every submission. A run that was interrupted or killed goes on when the same command
is given again: the state file holds what SQS has confirmed, so at most the last batch
of ten is sent twice, with the same request ids.

manifests:
  CSV         columns by a header (bucket, key, version_id, size, last_modified,
              etag, url), or bucket,key[,version] without one
  JSON Lines  an object with these names, or a URL, on each line
  Inventory   manifest.json of S3 Inventory in CSV format
They are local files or s3:// URLs; CSV and JSON Lines may be gzipped.

exit codes:
  0    every message was sent, or there was nothing to send
  1    a row of the manifest names no object, or SQS refused a message
  2    wrong usage or set-up, or SQS or S3 failed: the same command goes on
  130  interrupted with Ctrl-C; the same command goes on"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What to send where.

    Attributes:
        selection: Which objects.
        bucket: Bucket of manifest rows that name none; None without a prefix.
        manifest: Path or ``s3://`` URL; None lists the prefix.
        encoded: Keys of the manifest are URL-encoded.
        queue_url: Where to.
        callback_url: Where results are posted; None leaves it to the worker.
        threshold: P(fake) from which a file is FAKE; None leaves it to the worker.
        rate: Messages a second; None for as many as SQS takes.
        state: The state file; None for the usual place.
        dry_run: Send nothing.
        yes: Do not ask.
    """

    selection: Selection
    bucket: str | None
    manifest: str | None
    encoded: bool
    queue_url: str
    callback_url: str | None
    threshold: float | None
    rate: float | None
    state: Path | None
    dry_run: bool
    yes: bool

    @property
    def what(self) -> str:
        """The source as the user named it."""
        return self.manifest or str(self.selection.within and self.selection.within.url)

    def identity(self, source: str) -> str:
        """Return a digest of all that decides which messages are sent, and in which order."""
        chosen = self.selection
        parts: list[object] = [
            source,
            chosen.within and chosen.within.url,
            list(chosen.include),
            list(chosen.exclude),
            chosen.since and chosen.since.isoformat(),
            chosen.any_type,
            self.queue_url,
            self.callback_url,
            self.threshold,
        ]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def state_path(self, identity: str) -> Path:
        """Return the state file: the one named, or one in the user's state folder."""
        if self.state is not None:
            return self.state
        home = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
        return Path(home) / "detection-queue" / f"submit-{identity[:16]}.jsonl"


class Submit:
    """The command."""

    name: Final = "submit"
    help: Final = "send a message for every object of an S3 prefix or a manifest"

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Add its arguments."""
        parser.epilog = EPILOG
        parser.add_argument(
            "prefix",
            nargs="?",
            metavar="S3PREFIX",
            help="s3://bucket/prefix/, or s3://bucket/dir/*.mp4 (** also matches /)",
        )
        _add_selection(parser.add_argument_group("which objects"))
        _add_sending(parser.add_argument_group("sending"))
        add_settings(
            parser, ["queue_url", "allowed_buckets", "expected_bucket_owner"], title="queue and S3"
        )
        add_common(parser)

    def run(self, args: argparse.Namespace) -> int:
        """Count, ask, send."""
        loaded = load(args)
        start_logging(loaded.settings)
        order = order_of(args, loaded)
        from detection_worker.cli.batch.submitting import run  # noqa: PLC0415 - boto3

        with ExitStack() as stack:
            return run(order, loaded, stack)


def _add_selection(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--manifest",
        metavar="FILE|S3URL",
        help="take the objects from this manifest; with a prefix only those below it",
    )
    group.add_argument(
        "--url-encoded-keys",
        action="store_true",
        help="keys of the manifest are URL-encoded, as in S3 Batch Operations; those of S3 "
        "Inventory always are",
    )
    group.add_argument(
        "--include",
        action="append",
        default=[],
        metavar="PATTERN",
        help="only keys that match, such as '*.mp4': what follows the prefix; * matches / too; "
        "may be repeated",
    )
    group.add_argument(
        "--exclude",
        action="append",
        default=[],
        metavar="PATTERN",
        help="no keys that match; may be repeated",
    )
    group.add_argument(
        "--since",
        type=moment,
        metavar="DATE",
        help="only objects uploaded then or later: 2026-01-31 or 2026-01-31T12:00:00Z",
    )
    group.add_argument(
        "--any-type",
        action="store_true",
        help="also keys without a known extension; workers look at the content",
    )


def _add_sending(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--callback-url", metavar="URL", help="where to post the results")
    group.add_argument(
        "--threshold",
        type=threshold,
        metavar="0..1",
        help="P(fake) from which a file is FAKE (the worker's)",
    )
    group.add_argument(
        "--rate", type=positive, metavar="N", help="messages a second (as many as SQS takes)"
    )
    group.add_argument(
        "--state",
        type=Path,
        metavar="FILE",
        help="what was sent, for a rerun; kept at the end (a file below ~/.local/state, removed "
        "at the end)",
    )
    group.add_argument(
        "--dry-run", action="store_true", help="count and show the first message; send nothing"
    )
    group.add_argument("--yes", "-y", action="store_true", help="send without asking")


def order_of(args: argparse.Namespace, loaded: Loaded) -> Order:
    """Return what the arguments ask for.

    Raises:
        UsageError: Neither prefix nor manifest, no queue, or a bad URL.
    """
    if args.prefix is None and args.manifest is None:
        raise UsageError("Nothing to submit\nName an S3 prefix or a --manifest.")
    queue_url = consumer_value("queue_url", vars(args), os.environ)
    if queue_url is None:
        raise UsageError("No SQS queue URL given\nSet QUEUE_URL or use --queue-url URL.")
    within = None if args.prefix is None else pattern_of(args.prefix)
    _check_callback(args.callback_url)
    return Order(
        selection=Selection(
            within=within,
            include=tuple(args.include),
            exclude=tuple(args.exclude),
            since=args.since,
            any_type=args.any_type,
        ),
        bucket=None if within is None else within.bucket,
        manifest=args.manifest,
        encoded=args.url_encoded_keys,
        queue_url=str(queue_url),
        callback_url=args.callback_url,
        threshold=args.threshold,
        rate=args.rate,
        state=args.state,
        dry_run=args.dry_run,
        yes=args.yes,
    )


def pattern_of(text: str) -> S3Pattern:
    """Return the objects that an argument names; a missing slash at its end is added.

    Raises:
        UsageError: It is no S3 prefix.
    """
    if found := parse_pattern(text):
        return found
    try:
        parse_s3_prefix(text)
    except InvalidS3Url as exc:
        raise UsageError(f"{exc}\nAn S3 prefix looks like s3://BUCKET/PREFIX/.") from exc
    found = parse_pattern(f"{text}/")
    assert found is not None  # noqa: S101 - checked above
    return found


def _check_callback(url: str | None) -> None:
    try:
        create_test_message(sqs_to_ml_url="s3://bucket/key", callback_url=url)
    except InvalidMessage as exc:
        raise UsageError(f"{exc.message}\nCorrect --callback-url.") from exc


COMMAND: Final[Command] = Submit()
