"""A report as one HTML page that needs nothing else: pictures inside, no script, no address."""

import base64
from collections.abc import Mapping, Sequence
from html import escape
from typing import Final

from detection_training.evaluation.plots import alt_text
from detection_training.evaluation.tables import KindReport, Report
from detection_training.evaluation.text import Table, remarks, tables

CSS: Final = """\
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto;
  padding: 0 1rem; }
h1, h2, h3 { line-height: 1.2; }
h2 { margin-top: 3rem; border-top: 1px solid; padding-top: 1rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding: .3rem 0; }
th, td { padding: .25rem .8rem .25rem 0; text-align: left; vertical-align: top;
  border-bottom: 1px solid #8886; }
td:first-child, th:first-child { overflow-wrap: anywhere; }
.note { max-width: 45rem; }
.remark { border-left: .3rem solid #d55e00; padding-left: .8rem; max-width: 45rem; }
.plots { display: flex; flex-wrap: wrap; gap: 1rem; }
figure { margin: 0; flex: 0 1 calc(50% - .5rem); min-width: min(20rem, 100%); }
img { max-width: 100%; height: auto; background: #fff; }
code { overflow-wrap: anywhere; }
"""
POLICY: Final = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
"""The page could load nothing even if a file name managed to say so."""
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
    kinds = [_kind(kind, pictures.get(str(kind.kind), {})) for kind in report.kinds]
    contents = "".join(
        f'<li><a href="#{kind.kind}">{escape(str(kind.kind))}</a></li>' for kind in report.kinds
    )
    body = [
        "<h1>How well the detectors do</h1>",
        _about(report, made),
        *(
            f'<p class="remark">{_safe(line)}</p>'
            for line in (*(f"Gate broken: {gate}" for gate in broken), *remarks(report))
        ),
        f'<nav aria-label="Media kinds"><ul>{contents}'
        '<li><a href="#limits">What the numbers cannot say</a></li></ul></nav>',
        *kinds,
        '<h2 id="limits">What the numbers cannot say</h2>',
        "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in LIMITS) + "</ul>",
        _not_scored(report),
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Evaluation of detectors</title>\n<style>\n{CSS}</style>\n</head>\n"
        "<body>\n<main>\n"
        + "\n".join(part for part in body if part)
        + "\n</main>\n</body>\n</html>\n"
    )


def _about(report: Report, made: str) -> str:
    settings = report.settings
    scored = sum(kind.whole.real + kind.whole.fake for kind in report.kinds)
    drawn = "speakers, photographs or videos" if report.grouped else "files"
    facts = {
        "Files": f"{report.origin}: {scored} scored, {len(report.not_scored)} not scored",
        "Score": "P(fake) from 0 to 1, decoded and scored as the worker does",
        "Threshold": f"a file counts as FAKE from {settings.threshold:g} on",
        "Intervals": f"95 %, bootstrap over {drawn}, {settings.draws} draws, "
        f"seed {settings.seed}; Wilson's where every draw agrees",
        "Made": made,
    }
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{_safe(fact)}</td></tr>'
        for name, fact in facts.items()
    )
    return f"<table><caption>What was measured</caption>{rows}</table>"


def _kind(kind: KindReport, pictures: Mapping[str, bytes]) -> str:
    models = "".join(
        f"<p>Model <strong>{_safe(m.name)}</strong> {_safe(m.version)}, grade "
        f"<strong>{_safe(m.grade)}</strong>, sha256 <code>{_safe(m.sha256)}</code></p>"
        for m in kind.models
    )
    figures = "".join(_figure(name, data, kind) for name, data in pictures.items())
    overall, *others = tables(kind)
    parts = [
        f'<h2 id="{kind.kind}">{escape(str(kind.kind).capitalize())}</h2>',
        models,
        _table(overall),
        f'<div class="plots">{figures}</div>' if figures else "",
        *(_table(table) for table in others),
    ]
    return "\n".join(part for part in parts if part)


def _figure(name: str, data: bytes, kind: KindReport) -> str:
    encoded = base64.b64encode(data).decode()
    alt = escape(alt_text(name, kind), quote=True)
    return f'<figure><img alt="{alt}" src="data:image/png;base64,{encoded}"></figure>'


def _table(table: Table) -> str:
    head = "".join(f'<th scope="col">{_safe(word)}</th>' for word in table.head)
    rows = "".join(
        f'<tr><th scope="row">{_safe(row[0])}</th>'
        + "".join(f"<td>{_safe(word)}</td>" for word in row[1:])
        + "</tr>"
        for row in table.rows
    )
    note = f'<p class="note">{_safe(table.note)}</p>' if table.note else ""
    return (
        f'<div class="scroll"><table><caption>{_safe(table.title)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>{note}"
    )


def _not_scored(report: Report) -> str:
    if not report.not_scored:
        return ""
    listed = report.not_scored[:LISTED]
    table = Table(
        title=f"Files without a score: {len(report.not_scored)}",
        head=("file", "reason"),
        rows=listed,
        note=f"{len(listed)} of them are shown." if len(listed) < len(report.not_scored) else "",
    )
    return f'<h2 id="not-scored">Not scored</h2>{_table(table)}'


def _safe(text: str) -> str:
    """Text as HTML; bytes of a file name that are not UTF-8 become escapes."""
    return escape(text.encode("utf-8", "backslashreplace").decode("utf-8"), quote=True)
