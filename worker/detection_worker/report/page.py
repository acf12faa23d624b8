"""Lays out pages: Jinja templates with every text escaped and every hidden character shown."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from detection_worker.report.envelope import Object
from detection_worker.report.parts import data_url
from detection_worker.report.scale import Level
from detection_worker.report.texts import abridged, printable
from detection_worker.report.values import NO_PICTURES, Pictures
from detection_worker.report.view import NotesOf, no_notes, sheet_of

TEMPLATES: Final = Path(__file__).parent / "templates"
POLICY: Final = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
"""The page could load nothing even if a file name managed to say so."""
MAX_TEXT_CHARS: Final = 600
"""Longest text: file names and messages of strangers may have any length."""


def harmless(value: object) -> object:
    """Return a value as a template may show it; templates escape what is not ``Markup``."""
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    return abridged(printable(value), MAX_TEXT_CHARS)


@cache
def environment(folder: Path = TEMPLATES) -> Environment:
    """Return the templates' environment; every ``{{ … }}`` goes through ``harmless``.

    Args:
        folder: With templates of another package, which may extend those of ``TEMPLATES``.
    """
    made = Environment(
        loader=FileSystemLoader([folder, TEMPLATES]),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=harmless,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals["policy"] = Markup(POLICY)  # noqa: S704 - a constant of ours
    made.globals["css"] = Markup(TEMPLATES.joinpath("style.css").read_text("utf-8"))  # noqa: S704
    return made


def rendered(template: str, *, folder: Path = TEMPLATES, **values: Any) -> str:
    """Return a page.

    Args:
        template: Name of a file in ``folder``, without ``.html.j2``.
        folder: As for ``environment``.
        values: What it shows.
    """
    return environment(folder).get_template(f"{template}.html.j2").render(**values)


def address(name: str) -> str:
    """Return a file name as a part of an address, whatever its bytes are."""
    try:
        return quote(name.encode("utf-8", "surrogateescape"), safe="")
    except UnicodeEncodeError:  # no name of a file
        return quote(name.encode("utf-8", "replace"), safe="")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A file in a list.

    Attributes:
        href: Address of its page, relative to the list.
        name: The file.
        level: What its score means.
        headline: Its verdict.
        score: In words; empty for none.
        note: Why it has no verdict; empty otherwise.
        icon: A small picture; None for none.
    """

    href: str
    name: str
    level: Level
    headline: str
    score: str
    note: str
    icon: Markup | None


def row_of(result: Object, *, folder: str, page: str, icon: bytes | None) -> Row:
    """Return the row of a result in a list.

    Args:
        result: The envelope.
        folder: Name of the folder beside the list with its page.
        page: Name of its page.
        icon: A small picture as JPEG.
    """
    sheet = sheet_of(result, NO_PICTURES)
    return Row(
        # Without ./ a name with a colon would be an address of another kind.
        href=f"./{address(folder)}/{address(page)}",
        name=sheet.name,
        level=sheet.level,
        headline=sheet.headline,
        score="" if sheet.gauge is None else sheet.gauge.score,
        note=sheet.reason if sheet.level == "none" else "",
        icon=None if icon is None else data_url(icon),
    )


def list_page(rows: Sequence[Row]) -> str:
    """Return a page that lists files, each with a link to its own page."""
    counts = Counter(row.headline for row in rows)
    return rendered("list", rows=rows, counts=[(words, n) for words, n in counts.most_common()])


def result_page(
    result: Object, pictures: Pictures = NO_PICTURES, *, notes: NotesOf = no_notes, back: str = ""
) -> str:
    """Return the page of one result.

    Args:
        result: The envelope of a finished or failed job.
        pictures: Pictures of the same file.
        notes: Knows the cards of models.
        back: Name of the list that the page belongs to, in the folder above; empty for none.
    """
    return rendered("result", sheet=sheet_of(result, pictures, notes), back=address(back))
