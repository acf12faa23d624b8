"""A report as JSON and as plain text, and the words that text and page share."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from detection_training.evaluation.baseline import WARN_ABOVE, Baseline
from detection_training.evaluation.intervals import LEVEL, Measure
from detection_training.evaluation.rows import NOT_APPLICABLE
from detection_training.evaluation.tables import SCHEMA, KindReport, Report, Slice

TITLES: Final = {
    "auc": "AUC",
    "eer": "EER",
    "average_precision": "average precision",
    "balanced_accuracy": "balanced accuracy",
    "false_alarm_rate": "false alarms",
    "detection_rate": "detected",
    "tpr_at_fpr_1pct": "detected at 1 % false alarms",
    "tpr_at_fpr_0.1pct": "detected at 0.1 % false alarms",
    "ece": "calibration error (ECE)",
    "log_loss": "log-loss",
    "brier": "Brier score",
}
NONE: Final = "-"
SEEN_WORDS: Final = {True: "seen", False: "unseen", None: NONE}
SHOWN_PROBLEMS: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Words in rows.

    Attributes:
        title: What it is about.
        head: One word a column.
        rows: As long as ``head``.
        note: What a reader must know; may be empty.
    """

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


def as_json(report: Report) -> dict[str, Any]:
    """Return the whole report as JSON values."""
    settings = report.settings
    return {
        "schema": SCHEMA,
        "data": {
            "origin": report.origin,
            "grouped": report.grouped,
            "not_scored": [{"file": n, "reason": r} for n, r in report.not_scored],
        },
        "settings": {
            "threshold": settings.threshold,
            "interval": LEVEL,
            "draws": settings.draws,
            "seed": settings.seed,
        },
        "kinds": {str(kind.kind): _kind_json(kind) for kind in report.kinds},
    }


def _kind_json(kind: KindReport) -> dict[str, Any]:
    return {
        "models": [
            {"name": m.name, "version": m.version, "sha256": m.sha256, "grade": m.grade}
            for m in kind.models
        ],
        "all": kind.whole.as_json(),
        "false_alarms_by_source": [s.as_json() for s in kind.sources],
        "families": [s.as_json() for s in kind.families],
        "seen_and_unseen": [s.as_json() for s in kind.known],
        "codecs": [s.as_json() for s in kind.codecs],
        "grid": [s.as_json() for s in kind.grid],
        "precision": [
            {"prevalence": p.prevalence, "precision": p.precision, "cautious": p.cautious}
            for p in kind.precision
        ],
        "baseline": _baseline_json(kind.baseline) if kind.baseline else None,
    }


def _baseline_json(found: Baseline) -> dict[str, Any]:
    return {
        "auc": found.auc.as_json(),
        "features": list(found.features),
        "single": {name: round(value, 6) for name, value in found.single.items()},
        "leaks": found.leaks,
    }


def shown(measure: Measure) -> str:
    """Return a measure as words: ``0.912 (0.880-0.940)``, or a dash."""
    if measure.value is None:
        return NONE
    if measure.low is None or measure.high is None:
        return f"{measure.value:.3f}"
    return f"{measure.value:.3f} ({measure.low:.3f}-{measure.high:.3f})"


def tables(kind: KindReport) -> list[Table]:
    """Return the tables about one media kind; empty ones are left out."""
    sliced = [
        ("By engine or decoder", "family", kind.families, FAMILY_NOTE),
        ("Engines or decoders that training saw, and others", "", kind.known, ""),
        ("By codec", "codec", kind.codecs, ""),
        ("Under treatment", "treatment", kind.grid, GRID_NOTE),
    ]
    found = [_overall(kind), _sources(kind)]
    found += [_sliced(t, first, part, note) for t, first, part, note in sliced]
    found += [_precision(kind)]
    if kind.baseline:
        found.append(_baseline(kind.baseline))
    return [table for table in found if table.rows]


FAMILY_NOTE: Final = "Each row: the fakes of one family against all real files."
GRID_NOTE: Final = "Each file was treated, saved and read back before it was scored."


def _overall(kind: KindReport) -> Table:
    rows = tuple(
        (TITLES[name], shown(measure), measure.reason or "")
        for name, measure in kind.whole.measures.items()
    )
    return Table(
        title="All files",
        head=("metric", "value (95 % interval)", "remark"),
        rows=rows,
        note=f"{kind.whole.real} real and {kind.whole.fake} fake files, "
        f"{kind.whole.groups} groups.",
    )


def _sources(kind: KindReport) -> Table:
    rows = tuple(
        (
            part.name,
            SEEN_WORDS[part.seen],
            str(part.real),
            str(part.groups),
            shown(part.measures["false_alarm_rate"]),
            part.measures["false_alarm_rate"].reason or "",
        )
        for part in kind.sources
    )
    head = ("source", "seen", "files", "groups", "false alarms", "remark")
    return Table(title="False alarms by source of the real files", head=head, rows=rows)


def _sliced(title: str, first: str, parts: Sequence[Slice], note: str) -> Table:
    rows = tuple(
        (
            part.name,
            SEEN_WORDS[part.seen],
            f"{part.real} / {part.fake}",
            str(part.groups),
            *(shown(m) for m in part.measures.values()),
        )
        for part in parts
    )
    names = tuple(TITLES[name] for part in parts[:1] for name in part.measures)
    head = (first or "fakes", "seen", "real / fake", "groups", *names)
    return Table(title=title, head=head, rows=rows, note=note)


def _precision(kind: KindReport) -> Table:
    rows = tuple(
        (
            f"{p.prevalence:.0%}",
            NONE if p.precision is None else f"{p.precision:.1%}",
            NONE if p.cautious is None else f"{p.cautious:.1%}",
        )
        for p in kind.precision
    )
    return Table(
        title="How many alarms are right",
        head=("share of fakes in what comes in", "alarms that are right", "cautiously"),
        rows=rows,
        note="From the detection and false-alarm rates above; cautiously: with the upper end of "
        "the false alarms' interval. For comparison: a detector that finds 70 % and raises 5 % "
        "false alarms is right in 12 % of its alarms if 1 % of what comes in is fake.",
    )


def _baseline(found: Baseline) -> Table:
    rows = (
        ("all together", shown(found.auc), found.auc.reason or ""),
        *((name, f"{value:.3f}", "") for name, value in found.single.items()),
    )
    warning = (
        f" Above {WARN_ABOVE:g}: real and fake files differ in ways that have nothing to do with "
        "being fake, and a detector may be judged by those."
        if found.leaks
        else ""
    )
    return Table(
        title="Trivial features alone",
        head=("feature", "AUC (95 % interval)", "remark"),
        rows=rows,
        note="A logistic regression on facts such as size, length and codec, cross-validated over "
        f"groups; should be near 0.5.{warning}",
    )


def as_text(report: Report) -> str:
    """Return the report for a terminal."""
    parts = []
    for kind in report.kinds:
        names = ", ".join(f"{m.name} {m.version} ({m.grade})" for m in kind.models) or "unknown"
        parts.append(f"== {kind.kind}: {names} ==\n")
        parts += [_laid_out(table) for table in tables(kind)]
    parts.append(_not_scored(report))
    parts += [f"{remark}\n" for remark in remarks(report)]
    return "\n".join(part for part in parts if part)


def remarks(report: Report) -> list[str]:
    """Return what a reader of any number here must know."""
    found = []
    if not report.grouped:
        found.append(
            "No speakers, photographs or videos were named, so every file counts as independent: "
            "if some belong together, the intervals are too narrow."
        )
    beside = sum(reason.startswith(NOT_APPLICABLE) for _, reason in report.not_scored)
    if beside:
        found.append(
            f"{beside} of the files without a score can be read, but the detector is not for them "
            "(no face, no speech, too short, too small). They count in no number here."
        )
    demo = sorted({m.name for kind in report.kinds for m in kind.models if m.grade == "demo"})
    if demo:
        found.append(f"Demonstration models, not for decisions: {', '.join(demo)}.")
    found += [
        f"Trivial features tell real from fake ({kind.kind}: AUC {shown(kind.baseline.auc)}): the "
        "detector's numbers may rest on them."
        for kind in report.kinds
        if kind.baseline and kind.baseline.leaks
    ]
    return found


def _not_scored(report: Report) -> str:
    lines = [f"  {name}: {reason}" for name, reason in report.not_scored[:SHOWN_PROBLEMS]]
    if not lines:
        return ""
    more = len(report.not_scored) - len(lines)
    return "\n".join(
        [
            f"Not scored: {len(report.not_scored)}",
            *lines,
            *([f"  and {more} more"] if more else []),
            "",
        ]
    )


def _laid_out(table: Table) -> str:
    lines = [table.head, *table.rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(table.head))]
    body = [
        "  ".join(word.ljust(width) for word, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]
    note = [table.note] if table.note else []
    return "\n".join([table.title, *("  " + line for line in body), *note, ""])
