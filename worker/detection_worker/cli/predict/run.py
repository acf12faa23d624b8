"""One run of ``predict``: files through the pipeline, results to the terminal and the output."""

import contextlib
import signal
import sys
from collections.abc import Iterator, Mapping
from typing import Final

from detection_contract.environment import EXIT_FAILED, EXIT_OK
from detection_contract.error_codes import ErrorCode
from detection_contract.result_types import DetectionResult
from detection_contract.user_messages import counted
from detection_worker.api.batch import Batch
from detection_worker.api.predictor import Predictor
from detection_worker.cli.predict.command import Plan
from detection_worker.cli.predict.next_steps import advice
from detection_worker.cli.predict.pages import Pages, pages_of
from detection_worker.cli.predict.results_file import STDOUT, Sink, layout, open_sink
from detection_worker.cli.progress import Progress
from detection_worker.cli.summary import Table, summary
from detection_worker.cli.terminal import columns, shown
from detection_worker.cores import usable_cores
from detection_worker.detectors.model_folder.listing import list_models
from detection_worker.report.texts import printable
from detection_worker.settings import Settings

TICK_S: Final = 0.25
"""Interval of updates of the progress line while no file ends."""
_ALONE: Final = (ErrorCode.CREDENTIALS, ErrorCode.NO_MODEL, ErrorCode.S3_FORBIDDEN)
"""Codes whose messages are not about one file, or are quoted in the guide."""


def run(plan: Plan, settings: Settings) -> int:
    """Analyse every file of the plan; return the exit code.

    Raises:
        UsageError: No model could be loaded, or the output cannot be written.
        KeyboardInterrupt: After the finished results have been written.
    """
    if settings.models_dir is not None:
        list_models(settings.models_dir)  # reports a wrong folder before anything is fetched
    several = plan.total > 1
    decoders = min(plan.decoders or usable_cores(), plan.total)
    with (
        Predictor(
            settings,
            device=plan.device,
            threads=plan.threads,
            threshold=plan.threshold,
            decoders=decoders,
        ) as predictor,
        open_sink(plan.output, layout(plan.form, several=several)) as sink,
        pages_of(plan, predictor) as pages,
    ):
        report = _Report(plan, sink, pages)
        with predictor.batch(plan.names, pictures=plan.report is not None) as batch:
            report.follow(batch)
        if not report.failures:
            _draw(plan, predictor)
    report.end()
    return EXIT_FAILED if report.failures else EXIT_OK


def _named(error: Mapping[str, object], name: str) -> str:
    """Return the message of an error, with the name of the file."""
    message = str(error["message"])
    if error["code"] in _ALONE or name in message or shown(name) in message:
        return message
    return f"{message} ({shown(name)})"


def _draw(plan: Plan, predictor: Predictor) -> None:
    for kind, path in plan.drawings.items():
        path.write_bytes(predictor.evidence(plan.names[0], kind=kind))
        print(f"Drawn to {path}", file=sys.stderr)


@contextlib.contextmanager
def _interrupted_after() -> Iterator[None]:
    """Let Ctrl-C wait for the end of the block; pressed again, it waits for nothing.

    Raises:
        KeyboardInterrupt: It was pressed.
    """
    pressed = False

    def press(*_: object) -> None:
        nonlocal pressed
        if pressed:
            raise KeyboardInterrupt
        pressed = True

    before = signal.signal(signal.SIGINT, press)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if pressed:
        raise KeyboardInterrupt


class _Report:
    """Shows results as they come, and writes them to the output."""

    def __init__(self, plan: Plan, sink: Sink, pages: Pages | None) -> None:
        self._plan = plan
        self._pages = pages
        self._sink = sink
        self._several = plan.total > 1
        self._progress = Progress(plan.total, wanted=not plan.verbose)
        self._width = columns(sys.stdout)
        self._table = Table(width=self._width)
        self._done = 0
        self.failures: list[tuple[str, str]] = []

    def follow(self, batch: Batch) -> None:
        """Show and write every result; after an interrupt those that are finished."""
        try:
            while not batch.ended:
                self._progress.show(self._done)
                with _interrupted_after():  # in the middle of one, those after it would be lost
                    for result in batch.poll(TICK_S):
                        self._take(result, batch)
            self._progress.clear()
        except KeyboardInterrupt:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not lose results
            self._progress.clear()
            batch.close()
            for result in batch.finished():
                self._take(result, batch)
            self._interrupted()
            # Work in progress is awaited. A further Ctrl-C kills the process: an exception here
            # would leave torch's threads running while the interpreter shuts down.
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            raise

    def end(self) -> None:
        """Show the totals, and what to do about failures."""
        if self._shows and self._several:
            print(self._table.foot())
        if self.failures:
            print(advice(self.failures), file=sys.stderr)
        if self._saves:
            print(f"Results saved to {printable(str(self._plan.output))}")
        if self._plan.report is not None:
            # Standard output may be that of the results.
            print(f"Report saved to {printable(str(self._plan.report))}", file=sys.stderr)

    @property
    def _saves(self) -> bool:
        return self._plan.output not in (None, STDOUT)

    @property
    def _shows(self) -> bool:
        return self._plan.output != STDOUT

    def _take(self, result: DetectionResult, batch: Batch) -> None:
        self._progress.clear()  # also for results on standard output: the terminal may show both
        self._sink.write(result)
        if self._pages is not None:
            self._pages.take(result, batch.take_pictures(result))
        self._done += 1
        error = result["error"]
        if isinstance(error, dict):
            self.failures.append((str(error["code"]), _named(error, str(result["file_path"]))))
        if not self._shows:
            return
        if self._several:
            if self._done == 1:
                print(self._table.head())
            print(self._table.row(result), flush=True)
        elif error is None:
            print(summary(result, width=self._width))

    def _interrupted(self) -> None:
        if self._shows and self._done and self._several:
            print(self._table.foot())
        total = self._plan.total
        where = ""
        if self._saves and self._sink.written:
            where = f"; they are in {printable(str(self._plan.output))}"
        files = counted(total, "file was", "files were")
        print(f"{self._done} of {files} analysed{where}", file=sys.stderr)
