"""One run of ``results``: envelopes to the terminal or a file, counts at the end."""

import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TextIO

from detection_contract.environment import EXIT_FAILED, EXIT_OK
from detection_contract.results import verdict_in_words
from detection_contract.user_messages import counted
from detection_worker.aws_session import make_session
from detection_worker.batch.stored import READERS, Damaged, Wanted, filled, read_results
from detection_worker.cli.batch.failures import explained
from detection_worker.cli.batch.results import Query
from detection_worker.cli.predict.results_file import STDOUT, Sink, layout, open_sink
from detection_worker.cli.progress import Progress
from detection_worker.cli.summary import Table
from detection_worker.cli.terminal import columns, shown
from detection_worker.report.texts import printable
from detection_worker.storage.s3_listing import S3Listing

NAMED: Final = 5
"""Damaged objects named; all are counted."""


def run(query: Query) -> int:
    """Read and show the results of a query; return the exit code.

    Raises:
        UsageError: S3 failed, or the output cannot be written.
    """
    aws = query.loaded.settings.aws
    report = _Report(query)
    with explained():
        listing = S3Listing(make_session(aws), aws, pool=READERS)
        try:
            with _sink(query) as sink:
                report.follow(listing, sink)
        finally:
            report.progress.clear()
            listing.close()
    report.end()
    return EXIT_FAILED if report.damaged else EXIT_OK


def _sink(query: Query) -> Sink:
    if query.form == "table":
        return _TableSink()
    if query.form == "parquet":
        from detection_worker.cli.batch.parquet import ParquetSink  # noqa: PLC0415 - optional

        return ParquetSink(Path(query.output))
    return open_sink(query.output, layout(query.form, several=True))


class _TableSink:
    """Rows at the terminal."""

    def __init__(self) -> None:
        self._table = Table(width=columns(sys.stdout))
        self.written = 0

    def write(self, result: Mapping[str, object]) -> None:
        """Print one result."""
        if not self.written:
            print(self._table.head())
        self.written += 1
        # A message that cannot be read names no file.
        name = result["file_path"] or result["sqs_to_ml_url"] or result["request_id"]
        print(self._table.row({**result, "file_path": name}), flush=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.written:
            print(self._table.foot())


class _Report:
    """Writes results and counts them."""

    def __init__(self, query: Query) -> None:
        self._query = query
        self._verdicts: Counter[str] = Counter()
        self._errors: Counter[str] = Counter()
        self._examples: list[Damaged] = []
        self.damaged = 0
        self.progress = Progress(None, unit="results", wanted=query.form != "table")

    def follow(self, listing: S3Listing, sink: Sink) -> None:
        """Write what the query asks for, and count everything that was read."""
        query = self._query
        wanted = Wanted(within=query.within, since=query.since, until=query.until)
        found = read_results(listing, wanted)
        for number, result in enumerate(found, start=1):
            self.progress.show(number)
            if isinstance(result, Damaged):
                self._note(result)
                continue
            whole = filled(result)
            verdict = self._count(whole)
            if not query.verdicts or verdict in query.verdicts:
                self.progress.clear()
                sink.write(result if query.form == "jsonl" else whole)

    def end(self) -> None:
        """Print the counts: beside the results if these go to standard output."""
        query = self._query
        out: TextIO = (
            sys.stderr if query.output == STDOUT and query.form != "table" else sys.stdout
        )
        total = sum(self._verdicts.values())
        print(f"{counted(total, 'result')} read: {_counts(self._verdicts)}", file=out)
        if self._errors:
            print(f"Errors: {_counts(self._errors)}", file=out)
        if self.damaged:
            print(f"No results: {counted(self.damaged, 'object')}", file=sys.stderr)
            for bad in self._examples:
                print(f"  {shown(bad.url)}: {printable(bad.why)}", file=sys.stderr)
        if query.output != STDOUT:
            print(f"Results saved to {printable(query.output)}")

    def _note(self, bad: Damaged) -> None:
        self.damaged += 1
        if len(self._examples) < NAMED:
            self._examples.append(bad)

    def _count(self, result: Mapping[str, object]) -> str:
        verdict = verdict_in_words(result)
        self._verdicts[verdict] += 1
        error = result["error"]
        if isinstance(error, dict):
            self._errors[str(error.get("code", "unknown"))] += 1
        return verdict


def _counts(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {word}" for word, count in counts.most_common()) or "none"
