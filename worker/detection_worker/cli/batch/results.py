"""``results``: what came out of a batch, from the envelopes that workers stored."""

import argparse
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from detection_worker.cli.batch.submit import pattern_of
from detection_worker.cli.command import Command
from detection_worker.cli.files import check_writable
from detection_worker.cli.options import add_common, add_settings, load, moment, start_logging
from detection_worker.cli.predict.results_file import STDOUT
from detection_worker.config import Loaded
from detection_worker.core.batch.objects import S3Pattern
from detection_worker.errors import UsageError

FORMATS: Final = ("table", "jsonl", "csv", "parquet")
VERDICTS: Final = ("fake", "real", "inconclusive", "not-applicable", "failed")
_BY_SUFFIX: Final = {
    ".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".parquet": "parquet",
}  # fmt: skip
EPILOG: Final = """\
Reads what workers with --results store: every .json object below the prefix, or what a
wildcard matches, such as 's3://bucket/results/**' for keys with another end. CSV and
Parquet have the columns of predict; JSON Lines has whole envelopes. Objects that are no
results are counted and named, and do not stop the others.

exit codes:
  0    every object was read
  1    at least one object was no result or could not be read
  2    wrong usage or set-up, or S3 failed
  130  interrupted with Ctrl-C; what was written is kept, but for Parquet"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What to read and show.

    Attributes:
        within: The objects.
        since: Only results stored then or later.
        until: Only results stored before.
        verdicts: Only these, in words; empty for all.
        form: One of ``FORMATS``.
        output: A path, or ``-`` for standard output.
        loaded: Settings.
    """

    within: S3Pattern
    since: datetime | None
    until: datetime | None
    verdicts: frozenset[str]
    form: str
    output: str
    loaded: Loaded


class Results:
    """The command."""

    name: Final = "results"
    help: Final = "read stored results: a table, counts, CSV or Parquet"

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Add its arguments."""
        parser.epilog = EPILOG
        parser.add_argument("prefix", metavar="S3PREFIX", help="s3://bucket/prefix/ of --results")
        parser.add_argument(
            "--since",
            type=moment,
            metavar="DATE",
            help="only results stored then or later: 2026-01-31 or 2026-01-31T12:00:00Z",
        )
        parser.add_argument(
            "--until", type=moment, metavar="DATE", help="only results stored before"
        )
        parser.add_argument(
            "--verdict",
            action="append",
            choices=VERDICTS,
            default=[],
            metavar="|".join(VERDICTS),
            help="only these; may be repeated",
        )
        parser.add_argument(
            "--errors", action="store_true", help="only failures, as --verdict failed"
        )
        parser.add_argument(
            "--format",
            choices=FORMATS,
            metavar="|".join(FORMATS),
            help="by default as the name of the output ends, else table",
        )
        parser.add_argument(
            "--output", "-o", default=STDOUT, metavar="FILE", help="where to write (stdout)"
        )
        add_settings(parser, ["allowed_buckets", "expected_bucket_owner"], title="S3")
        add_common(parser)

    def run(self, args: argparse.Namespace) -> int:
        """Read, show, count; return 1 if an object was no result."""
        loaded = load(args)
        start_logging(loaded.settings)
        query = query_of(args, loaded)
        from detection_worker.cli.batch.reading import run  # noqa: PLC0415 - boto3

        return run(query)


def query_of(args: argparse.Namespace, loaded: Loaded) -> Query:
    """Return what the arguments ask for.

    Raises:
        UsageError: A bad URL, or an output that cannot be written.
    """
    form = args.format or _BY_SUFFIX.get(Path(args.output).suffix.lower(), "table")
    if form == "parquet" and args.output == STDOUT:
        raise UsageError("Parquet is written to a file\nName one with --output FILE.parquet.")
    if args.output != STDOUT:
        if form == "table":
            raise UsageError(
                "A table is for the terminal\n"
                "Name an output that ends with .csv, .jsonl or .parquet, or give --format."
            )
        check_writable(Path(args.output))
    wanted = [*args.verdict, *(["failed"] if args.errors else [])]
    return Query(
        within=pattern_of(args.prefix),
        since=args.since,
        until=args.until,
        verdicts=frozenset(word.replace("-", " ") for word in wanted),
        form=form,
        output=args.output,
        loaded=loaded,
    )


COMMAND: Final[Command] = Results()
