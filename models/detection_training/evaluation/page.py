"""A report as one HTML page that needs nothing else: pictures inside, no script, no address."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from markupsafe import Markup

from detection_contract.user_messages import counted
from detection_training.evaluation.plots import alt_text
from detection_training.evaluation.rows import Model, Row
from detection_training.evaluation.tables import KindReport, Report
from detection_training.evaluation.text import Table, remarks, tables
from detection_worker.report.page import rendered
from detection_worker.report.parts import data_url
from detection_worker.report.scale import Level, percent
from detection_worker.report.words import HEADLINES

TEMPLATES: Final = Path(__file__).parent / "templates"
LIMITS: Final = (
    "The numbers hold for files like these: other engines, cameras, languages, codecs and "
    "speakers give others, mostly worse ones.",
    "An interval tells how much the number would vary over other speakers, photographs or videos "
    "of the same kind. It knows nothing of kinds that are not in the set.",
    "The equal error rate compares detectors. It is no operating point: the threshold in use is "
    "the one named above.",
    "Average precision, calibration error, log-loss and Brier score depend on the share of fakes "
    "in this set, which is not the share in what comes in.",
    "A score is not evidence about a single file. An attacker who knows the detector can make "
    "files that pass it.",
)
LISTED: Final = 500
"""Files without a score that the page names; scores.csv has all of them."""
MISJUDGED: Final = 60
"""Misjudged files of a kind that the page shows, worst first; scores.csv has all of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Misjudged:
    """A file whose label is wrong, as in a list of results."""

    name: str
    headline: str
    level: Level
    score: str
    note: str
    icon: Markup | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kind:
    """What the page shows of a media kind."""

    name: str
    title: str
    models: Sequence[Model]
    overall: Table
    figures: Sequence[tuple[Markup, str]]
    tables: Sequence[Table]
    misjudged: Sequence[_Misjudged]
    misjudged_note: str


def page(
    report: Report,
    pictures: Mapping[str, Mapping[str, bytes]],
    *,
    made: str,
    broken: Sequence[str] = (),
) -> str:
    """Return the page.

    Args:
        report: The numbers.
        pictures: PNG files by name, by media kind.
        made: When and by which program, human-readable.
        broken: Gates that did not hold, a line each.
    """
    return rendered(
        "evaluation",
        folder=TEMPLATES,
        about=_about(report, made),
        remarks=[*(f"Gate broken: {gate}" for gate in broken), *remarks(report)],
        kinds=[_kind(kind, pictures.get(str(kind.kind), {})) for kind in report.kinds],
        limits=LIMITS,
        not_scored=_not_scored(report),
    )


def _about(report: Report, made: str) -> list[tuple[str, str]]:
    settings = report.settings
    scored = sum(kind.whole.real + kind.whole.fake for kind in report.kinds)
    drawn = "speakers, photographs or videos" if report.grouped else "files"
    return [
        ("Files", f"{report.origin}: {scored} scored, {len(report.not_scored)} not scored"),
        ("Score", "P(fake) from 0 to 1, decoded and scored as the worker does"),
        ("Threshold", f"a file counts as FAKE from {settings.threshold:g} on"),
        (
            "Intervals",
            f"95 %, bootstrap over {drawn}, {settings.draws} draws, "
            f"seed {settings.seed}; Wilson's where every draw agrees",
        ),
        ("Made", made),
    ]


def _kind(kind: KindReport, pictures: Mapping[str, bytes]) -> _Kind:
    overall, *others = tables(kind)
    shown = kind.misjudged[:MISJUDGED]
    files = counted(len(kind.misjudged), "file has", "files have")
    note = f"{files} the wrong label; the worst come first."
    if len(shown) < len(kind.misjudged):
        note += f" {len(shown)} of them are shown."
    return _Kind(
        name=str(kind.kind),
        title=str(kind.kind).capitalize(),
        models=kind.models,
        overall=overall,
        figures=[
            (data_url(data, kind="png"), alt_text(name, kind)) for name, data in pictures.items()
        ],
        tables=others,
        misjudged=[_misjudged(row) for row in shown],
        misjudged_note=note,
    )


def _misjudged(row: Row) -> _Misjudged:
    item = row.item
    called: Level = "real" if item.fake else "fake"
    return _Misjudged(
        name=item.name,
        headline=HEADLINES[called],
        level=called,
        score=percent(row.score),
        note=f"In truth fake: {item.family}" if item.fake else f"In truth real: {item.source}",
        icon=None if row.icon is None else data_url(row.icon),
    )


def _not_scored(report: Report) -> Table | None:
    if not report.not_scored:
        return None
    listed = report.not_scored[:LISTED]
    return Table(
        title=f"Files without a score: {len(report.not_scored)}",
        head=("file", "reason"),
        rows=listed,
        note=f"{len(listed)} of them are shown." if len(listed) < len(report.not_scored) else "",
    )
