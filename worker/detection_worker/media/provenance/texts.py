"""Named texts: PNG's text chunks, tags of MP4, MP3, Ogg, Matroska and WAV."""

from collections.abc import Iterable
from itertools import islice
from typing import Final

from detection_worker.media.declarations import (
    Declared,
    Evidence,
    Source,
    Statements,
    printable,
    said,
)
from detection_worker.media.provenance.generators import (
    credited,
    generator_of,
    known_program,
    labelled,
)
from detection_worker.media.provenance.xmp import camera_name

MAX_TEXTS: Final = 256
"""A file holds a hundred thousand of them as easily; no writer makes more than some dozens."""
SOFTWARE: Final = frozenset(
    {
        "software", "encoder", "encoded_by", "encoded-by", "creation_tool", "tool",
        "com.apple.quicktime.software", "writing_application",
    }
)  # fmt: skip
"""Keys that name a program."""
_NOTES: Final = frozenset({"comment", "comments", "description", "credit"})
_MAKES: Final = ("com.apple.quicktime.make", "com.android.manufacturer", "make")
_MODELS: Final = ("com.apple.quicktime.model", "com.android.model", "model")


def text_statements(texts: Iterable[tuple[str, str]], source: Source) -> Statements:
    """Return what named texts say of the making.

    Args:
        texts: Key and value; keys in any case. ``MAX_TEXTS`` of them are looked at.
        source: Where they stand.
    """
    evidence: list[Evidence] = []
    generator = software = None
    named: dict[str, str] = {}
    for key, value in islice(texts, MAX_TEXTS):
        name = key.strip().lower()
        named.setdefault(name, value)
        found = generator_of(name, value)
        declares: Declared | None = "ai_generated" if found else None
        if name in SOFTWARE and (program := known_program(value)):
            found, declares = found or program, "ai_generated"
        if name == "aigc":
            declares = labelled(value)
        if name in _NOTES:
            declares = declares or credited(value)
        generator = generator or found
        if name in SOFTWARE:
            software = software or printable(value, 120) or None
        if declares is not None:
            evidence.append(said(source, key, value, declares))
    make, model = (next((named[k] for k in ks if k in named), "") for ks in (_MAKES, _MODELS))
    return Statements(
        generator=generator,
        camera=camera_name(make, model),
        software=software,
        evidence=tuple(evidence),
    )
