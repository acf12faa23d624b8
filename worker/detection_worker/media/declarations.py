"""What a file declares of its own making, as a result shows it."""

from dataclasses import dataclass
from typing import Final, Literal, get_args

Declared = Literal["ai_generated", "ai_edited", "captured"]
"""How a file says that it was made, from the statement that weighs most to the one that does
least."""
DECLARED: Final[tuple[Declared, ...]] = get_args(Declared)
Source = Literal["c2pa", "xmp", "exif", "iptc", "png_text", "tag"]
SOURCES: Final[tuple[Source, ...]] = get_args(Source)
SignatureState = Literal["trusted", "valid", "invalid", "unreadable", "not_checked"]
STATES: Final[tuple[SignatureState, ...]] = get_args(SignatureState)
INTACT: Final = frozenset({"trusted", "valid"})
"""States of a manifest that nobody has changed since it was signed."""
MAX_EVIDENCE: Final = 16
MAX_VALUE_CHARS: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class C2paFacts:
    """A Content Credential (C2PA manifest) inside the file.

    Attributes:
        state: ``trusted``: signature and content fit, and the signer is on the trust list.
            ``valid``: they fit; anyone may have signed. ``invalid``: content or manifest was
            changed after signing, or the certificate has expired. ``unreadable``: there is a
            manifest that cannot be parsed.
            ``not_checked``: file or manifest is too large to be checked here.
        issuer: Organisation in the signer's certificate.
        claim_generator: Program that wrote the manifest, with its version.
        problem: Code of the first failed check, as ``assertion.dataHash.mismatch``.
    """

    state: SignatureState
    issuer: str | None = None
    claim_generator: str | None = None
    problem: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """One statement of the file about its making.

    Attributes:
        source: Where it stands.
        field: Name of the field, as its standard spells it.
        value: Its value, printable, at most ``MAX_VALUE_CHARS`` characters.
        declares: What it says about the making; None if it only names a program.
    """

    source: Source
    field: str
    value: str
    declares: Declared | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """All that a file says about its making.

    Attributes:
        declares: The statement that weighs most; None if there is none.
        signed: That statement stands in a C2PA manifest whose state is ``trusted`` or ``valid``.
        generator: Program or model that is said to have made or edited the content.
        camera: Make and model of the camera.
        software: Program that wrote the file.
        c2pa: The manifest; None without one.
        evidence: The statements, at most ``MAX_EVIDENCE``.
    """

    declares: Declared | None = None
    signed: bool = False
    generator: str | None = None
    camera: str | None = None
    software: str | None = None
    c2pa: C2paFacts | None = None
    evidence: tuple[Evidence, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Statements:
    """What one kind of metadata says; see ``Provenance``.

    Attributes:
        signed: What those of its statements declare that stand in an intact manifest.
    """

    generator: str | None = None
    camera: str | None = None
    software: str | None = None
    evidence: tuple[Evidence, ...] = ()
    signed: frozenset[Declared] = frozenset()


def printable(text: str, most: int = MAX_VALUE_CHARS) -> str:
    """Return ``text`` in one printable line of at most ``most`` characters."""
    line = " ".join(text[: 8 * most].split())
    clean = "".join(c for c in line if c.isprintable())
    return clean if len(clean) <= most else clean[: most - 1] + "…"


def said(source: Source, field: str, value: str, declares: Declared | None = None) -> Evidence:
    """Return a statement with its texts cut and printable."""
    return Evidence(
        source=source, field=printable(field, 60), value=printable(value), declares=declares
    )
