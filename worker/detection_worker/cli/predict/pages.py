"""``--report``: a page about one file; for several a list, with the page of each in a folder."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from detection_contract.result_types import DetectionResult
from detection_worker.api.predictor import Predictor
from detection_worker.cli.files import PUBLIC, write_text
from detection_worker.cli.predict.command import Plan
from detection_worker.cli.predict.results_file import cannot_write
from detection_worker.errors import JobError
from detection_worker.media.previews import icon
from detection_worker.report.page import Row, list_page, result_page, row_of
from detection_worker.report.values import Pictures

MOST_ICONS: Final = 150
"""Files of a list that have a picture in it: it stays below 1.5 MB."""


class Pages:
    """Writes a page for each result as it comes, and the list at the end.

    Args:
        plan: Inputs and options; it names a report.
        path: Where the page, or the list, goes.
        predictor: Draws the evidence over a single image.
    """

    def __init__(self, plan: Plan, path: Path, predictor: Predictor) -> None:
        self._plan = plan
        self._path = path
        self._predictor = predictor
        self._rows: list[Row] = []
        self._folder = path.with_name(f"{path.stem}_files") if plan.total > 1 else None

    def take(self, result: DetectionResult, pictures: Pictures) -> None:
        """Write the page of a result.

        Raises:
            UsageError: It cannot be written.
        """
        notes = self._predictor.notes
        if self._folder is None:
            page = result_page(result, self._with_drawings(result, pictures), notes=notes)
            write_text(self._path, page, mode=PUBLIC)
            return
        _make(self._folder)
        name = f"{len(self._rows) + 1:05d}.html"
        page = result_page(result, pictures, notes=notes, back=self._path.name)
        write_text(self._folder / name, page, mode=PUBLIC)
        small = _icon(result, pictures) if len(self._rows) < MOST_ICONS else None
        # The folder may be called anything; the browser wants it as an address.
        self._rows.append(row_of(result, folder=self._folder.name, page=name, icon=small))

    def end(self) -> None:
        """Write the list, of what there is."""
        if self._folder is not None and self._rows:
            write_text(self._path, list_page(self._rows), mode=PUBLIC)

    def _with_drawings(self, result: DetectionResult, pictures: Pictures) -> Pictures:
        if result["file_type"] != "image" or not pictures.frames:
            return pictures
        try:
            return replace(pictures, drawings=self._predictor.drawings(self._plan.names[0]))
        except JobError:  # it was there a moment ago, and its result is known
            return pictures


def _make(folder: Path) -> None:
    try:
        folder.mkdir(exist_ok=True)
    except OSError as exc:
        raise cannot_write(folder, exc) from exc


@contextmanager
def pages_of(plan: Plan, predictor: Predictor) -> Iterator[Pages | None]:
    """Yield what writes the pages of a run; None if no report is wanted.

    The list is written whatever ends the run: it has the files that are done.
    """
    if plan.report is None:
        yield None
        return
    pages = Pages(plan, plan.report, predictor)
    try:
        yield pages
    finally:
        pages.end()


def _icon(result: DetectionResult, pictures: Pictures) -> bytes | None:
    """The picture of a file in the list: of a video the frame with the highest score."""
    if not pictures.frames:
        return icon(pictures.sound) if pictures.sound else None
    scores = [segment.get("score") for segment in result["segments"]]
    known = [s if isinstance(s, float) else 0.0 for s in scores[: len(pictures.frames)]]
    best = max(range(len(known)), key=known.__getitem__) if known else 0
    return icon(pictures.frames[best])
