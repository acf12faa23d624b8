"""EXIF (CIPA DC-008) and IPTC-IIM: the few fields that tell of the making."""

import codecs
import struct
from typing import Final

from PIL import Image

from detection_worker.media.declarations import Evidence, Statements, printable, said
from detection_worker.media.provenance.generators import (
    credited,
    generator_of,
    known_program,
    labelled,
)
from detection_worker.media.provenance.xmp import camera_name

DESCRIPTION, MAKE, MODEL, SOFTWARE, EXIF_IFD, USER_COMMENT = (
    0x010E, 0x010F, 0x0110, 0x0131, 0x8769, 0x9286,
)  # fmt: skip
for _coding in ("utf-16", "utf-16-be", "utf-16-le", "latin-1"):
    codecs.lookup(_coding)  # Python loads them when they are first used: after the jail has closed
MAX_FIELD_CHARS: Final = 256 * 1024
_PHOTOSHOP: Final = b"Photoshop 3.0\0"
_IPTC_RESOURCE: Final = 0x0404
_IIM_FIELDS: Final = {(2, 65): "Originating Program", (2, 110): "Credit", (2, 40): "Instructions"}


def exif_statements(block: bytes) -> Statements:
    """Return what an EXIF block says of the making; nothing if it is broken.

    Args:
        block: With or without the prefix ``Exif``.
    """
    try:
        parsed = Image.Exif()
        parsed.load(block)
        fields = {tag: _text(parsed.get(tag)) for tag in (DESCRIPTION, MAKE, MODEL, SOFTWARE)}
        comment = _text(parsed.get_ifd(EXIF_IFD).get(USER_COMMENT) or parsed.get(USER_COMMENT))
    except Exception:  # noqa: BLE001 - broken EXIF data must not cost the picture
        return Statements()
    evidence: list[Evidence] = []
    generators: list[str | None] = []
    settings = {"UserComment": comment, "ImageDescription": fields[DESCRIPTION]}
    settings |= {"Make": fields[MAKE], "Model": fields[MODEL]}
    for name, value in settings.items():
        if (program := generator_of(name, value)) is not None:
            generators.append(program)
            evidence.append(said("exif", name, value, "ai_generated"))
        elif (declares := labelled(_after_key(value))) is not None:
            evidence.append(said("exif", name, value, declares))
    made_of_settings = any(e.field in {"Make", "Model"} for e in evidence)
    if program := known_program(fields[SOFTWARE]):
        generators.append(program)
        evidence.append(said("exif", "Software", fields[SOFTWARE], "ai_generated"))
    return Statements(
        generator=next((g for g in generators if g), None),
        camera=None if made_of_settings else camera_name(fields[MAKE], fields[MODEL]),
        software=printable(fields[SOFTWARE], 120) or None,
        evidence=tuple(evidence),
    )


def _after_key(value: str) -> str:
    """Return the JSON behind a key that some writers put in front: ``AIGC{…}``."""
    return value[value.find("{") :] if value[:10].upper().startswith("AIGC") else ""


def _text(value: object) -> str:
    """Return a field as text: ASCII, or UserComment with its eight bytes of character code."""
    if isinstance(value, str):  # as Pillow read it, in Latin-1; most writers mean UTF-8
        text = value[:MAX_FIELD_CHARS].strip("\0 ")
        try:
            return text.encode("latin-1").decode()
        except UnicodeError:
            return text
    if not isinstance(value, bytes):
        return ""
    code, rest = value[:8], value[8:MAX_FIELD_CHARS]
    if code.startswith(b"UNICODE"):
        return _utf16(rest).strip("\0 ")
    if code.startswith(b"ASCII") or code == bytes(8):
        value = rest
    return value[:MAX_FIELD_CHARS].decode("utf-8", "replace").strip("\0 ")


def _utf16(data: bytes) -> str:
    """Return UTF-16 of either order: the standard leaves it to the writer."""
    if data[:2] in {b"\xff\xfe", b"\xfe\xff"}:
        return data.decode("utf-16", "replace")
    # Text of the usual languages has its zeros in the high bytes.
    high_first = data[0:200:2].count(0) >= data[1:200:2].count(0)
    return data.decode("utf-16-be" if high_first else "utf-16-le", "replace")


def iptc_statements(block: bytes) -> Statements:
    """Return what Photoshop's resources (APP13) or bare IPTC-IIM say of the making."""
    evidence = []
    software = None
    for (record, number), value in _datasets(_resource(block)):
        name = _IIM_FIELDS.get((record, number))
        if name is None:
            continue
        declares = credited(value)
        if name == "Originating Program":
            software = software or printable(value, 120)
            declares = "ai_generated" if known_program(value) else None
        if declares is not None:
            evidence.append(said("iptc", name, value, declares))
    return Statements(
        software=software,
        generator=known_program(software) if software else None,
        evidence=tuple(evidence),
    )


def _resource(block: bytes) -> bytes:
    """Return the IPTC-IIM resource among Photoshop's, whose name a PNG leaves out."""
    if not block.startswith((_PHOTOSHOP, b"8BIM")):
        return block
    at = len(_PHOTOSHOP) if block.startswith(_PHOTOSHOP) else 0
    while block[at : at + 4] == b"8BIM" and at + 12 <= len(block):
        number, name_length = struct.unpack_from(">HB", block, at + 4)
        start = at + 6 + (1 + name_length + 1) // 2 * 2
        if start + 4 > len(block):
            break
        (length,) = struct.unpack_from(">I", block, start)
        if number == _IPTC_RESOURCE:
            return block[start + 4 : start + 4 + length]
        at = start + 4 + (length + 1) // 2 * 2
    return b""


def _datasets(data: bytes) -> list[tuple[tuple[int, int], str]]:
    """Return the data sets of IPTC-IIM 4.2: a marker, record, number, length, value."""
    found: list[tuple[tuple[int, int], str]] = []
    at = 0
    while at + 5 <= len(data) and data[at] == 0x1C and len(found) < 1000:
        record, number, length = struct.unpack_from(">BBH", data, at + 1)
        if length & 0x8000:  # an extended length: nothing that is looked for here
            break
        value = data[at + 5 : at + 5 + length]
        found.append(((record, number), value.decode("utf-8", "replace")))
        at += 5 + length
    return found
