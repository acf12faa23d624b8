"""XMP packets (ISO 16684-1): flat properties by a streaming parser without entities."""

import codecs
from collections.abc import Mapping
from typing import Final
from xml.parsers import expat

from detection_worker.media.declarations import (
    Declared,
    Evidence,
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
from detection_worker.media.provenance.source_types import declared_by_source_type

MAX_DEPTH: Final = 64
MAX_ELEMENTS: Final = 20_000
MAX_TEXT_CHARS: Final = 64 * 1024
MAX_VALUES: Final = 256
"""One property may have more; those are not read."""
_RDF: Final = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_PREFIXES: Final = {
    "http://iptc.org/std/Iptc4xmpExt/2008-02-29/": "Iptc4xmpExt",
    "http://ns.adobe.com/xap/1.0/": "xmp",
    "http://ns.adobe.com/xap/1.0/sType/ResourceEvent#": "stEvt",
    "http://ns.adobe.com/photoshop/1.0/": "photoshop",
    "http://ns.adobe.com/tiff/1.0/": "tiff",
    "http://ns.adobe.com/exif/1.0/": "exif",
    "http://www.tc260.org.cn/ns/AIGC/1.0/": "TC260",
}
"""Namespaces that are read; the prefix is the usual one, whatever the file calls it."""
_OF_PARTS: Final = frozenset(
    f"http://ns.adobe.com/xap/1.0/mm/ {name}" for name in ("Ingredients", "Pantry")
)
"""What stands in there is said of files that this one was put together from."""
_SOURCE_TYPES: Final = ("Iptc4xmpExt:DigitalSourceType", "Iptc4xmpExt:DigitalSourcefileType")
_AI_SYSTEM: Final = "Iptc4xmpExt:AISystemUsed"
_PROGRAMS: Final = ("xmp:CreatorTool", "stEvt:softwareAgent")
_CREDIT: Final = "photoshop:Credit"
_LABEL: Final = "TC260:AIGC"
_SETTINGS: Final = "exif:UserComment"
_READ: Final = (*_SOURCE_TYPES, _AI_SYSTEM, *_PROGRAMS, _CREDIT, _LABEL, _SETTINGS)
_NOTED_IF_DECLARING: Final = frozenset({_CREDIT, _SETTINGS})
"""What stands there is nothing about the making unless it declares."""


_WIDE: Final = {
    (0, 4): "utf-32-le", (3, 4): "utf-32-be", (0, 2): "utf-16-le", (1, 2): "utf-16-be",
}  # fmt: skip
"""Encodings by where the low byte of ``<`` stands, and how wide a character is."""
for _coding in _WIDE.values():
    codecs.lookup(_coding)  # Python loads them when they are first used: after the jail has closed


class XmpError(Exception):
    """The packet is no XML, declares entities, or is nested too deep."""


class _Packet:
    """Takes the events of the parser and keeps what stands in known namespaces."""

    def __init__(self) -> None:
        self.found: dict[str, list[str]] = {}
        self._open: list[str | None] = []
        self._text: list[str] = []
        self._chars = 0
        self._elements = 0
        self._part_depth = 0

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self._elements += 1
        if len(self._open) >= MAX_DEPTH or self._elements > MAX_ELEMENTS:
            raise XmpError("too many elements")
        known = _known(name)
        # A list (rdf:Seq, rdf:li) says of its property what text would.
        self._open.append(known or (self._open[-1] if self._open else None))
        self._text.clear()
        self._part_depth += bool(self._part_depth) or name in _OF_PARTS
        for key, value in attributes.items():
            if key == f"{_RDF} resource":
                self._note(self._open[-1], value)
            else:
                self._note(_known(key), value)

    def end(self, _name: str) -> None:
        self._note(self._open.pop(), "".join(self._text))
        self._text.clear()
        self._part_depth -= bool(self._part_depth)

    def characters(self, text: str) -> None:
        self._chars += len(text)
        if self._open and self._open[-1] and self._chars <= MAX_TEXT_CHARS:
            self._text.append(text)

    def _note(self, key: str | None, value: str) -> None:
        if key is None or self._part_depth or not value.strip():
            return
        values = self.found.setdefault(key, [])
        if len(values) < MAX_VALUES:
            values.append(value.strip())


def _known(name: str) -> str | None:
    space, _, local = name.rpartition(" ")
    prefix = _PREFIXES.get(space)
    return f"{prefix}:{local}" if prefix else None


def _refuse(*_: object) -> None:
    raise XmpError("a document type is declared")


def properties(packet: bytes) -> Mapping[str, list[str]]:
    """Return the properties of known namespaces, by name as ``xmp:CreatorTool``.

    Raises:
        XmpError: It cannot be parsed within the limits.
    """
    reader = _Packet()
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.characters
    parser.StartDoctypeDeclHandler = _refuse
    try:
        parser.Parse(_document(packet), True)  # noqa: FBT003 - the end of the document
    except (expat.ExpatError, ValueError) as exc:
        raise XmpError(str(exc)) from exc
    return reader.found


def _document(packet: bytes) -> bytes | str:
    """Return a packet from its first ``<`` on; as text where a character has several bytes.

    ISO 16684-1 allows UTF-8, UTF-16 and UTF-32, without a byte order mark too.
    """
    start = max(packet.find(b"<"), 0)
    zeros = packet[start + 1 : start + 4]
    width = 4 if zeros == bytes(3) or packet[start - 3 : start] == bytes(3) else 2
    coding = _WIDE.get((start % width, width)) if b"\0" in zeros else None
    if coding is None:
        return packet[start:].rstrip(b"\0 \r\n\t")
    whole = packet[start // width * width :]
    return whole[: len(whole) // width * width].decode(coding, "replace").rstrip("\0 \r\n\t")


def statements(packet: bytes) -> Statements:
    """Return what an XMP packet says of the making.

    Raises:
        XmpError: See ``properties``.
    """
    found = properties(packet)
    pairs = [(name, value) for name in _READ for value in dict.fromkeys(found.get(name, ()))]
    told = [(_generator(name, value), _evidence(name, value)) for name, value in pairs]
    make, model = (found.get(f"tiff:{name}", [""])[0] for name in ("Make", "Model"))
    programs = found.get("xmp:CreatorTool")
    return Statements(
        generator=next((generator for generator, _ in told if generator), None),
        camera=camera_name(make, model),
        software=printable(programs[0], 120) if programs else None,
        evidence=tuple(e for _, e in told if e.declares or e.field not in _NOTED_IF_DECLARING),
    )


def _generator(name: str, value: str) -> str | None:
    if name == _AI_SYSTEM:
        return printable(value, 120)
    if name in _PROGRAMS:
        return known_program(value)
    return generator_of(name, value) if name == _SETTINGS else None


def _evidence(name: str, value: str) -> Evidence:
    declares: Declared | None = None
    if name in _SOURCE_TYPES:
        declares = declared_by_source_type(value)
    elif name == _CREDIT:
        declares = credited(value)
    elif name == _LABEL:
        declares = labelled(value)
    elif name != _AI_SYSTEM and _generator(name, value):
        declares = "ai_generated"
    return said("xmp", name, value, declares)


def camera_name(make: str, model: str) -> str | None:
    """Return make and model as one name; the make once, as many models start with it."""
    make, model = printable(make, 60), printable(model, 60)
    if make and not model.lower().startswith(make.lower().split()[0]):
        model = f"{make} {model}"
    return model.strip() or None
