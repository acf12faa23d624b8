"""From metadata to ``Provenance``: every place is asked, and the heaviest statement counts."""

from collections.abc import Iterable
from typing import BinaryIO, Final, Protocol

from detection_worker.media.declarations import (
    MAX_EVIDENCE,
    C2paFacts,
    Evidence,
    Provenance,
    Source,
    Statements,
)
from detection_worker.media.metadata import Metadata
from detection_worker.media.provenance import xmp
from detection_worker.media.provenance.exif import exif_statements, iptc_statements
from detection_worker.media.provenance.source_types import heaviest
from detection_worker.media.provenance.texts import text_statements
from detection_worker.media.stills.source import size_of

MAX_CHECKED_BYTES: Final = 32 * 1024 * 1024
"""A larger file is not checked: all of it is hashed, at about 1 GB/s."""
MAX_MANIFEST_BYTES: Final = 4 * 1024 * 1024
"""A larger manifest is not parsed, which takes some times its size. Usual are 10 to 200 kB."""


class Manifests(Protocol):
    """Reads C2PA manifests; see ``credentials.ManifestReader``."""

    def read(self, file: BinaryIO, container: str) -> tuple[C2paFacts, Statements]:
        """Return what the manifest of a file says and whether it is intact."""
        ...


def provenance_of(
    metadata: Metadata,
    *,
    file: BinaryIO,
    container: str,
    manifests: Manifests | None,
) -> Provenance | None:
    """Return what a file says of its making; None if it says nothing.

    Args:
        metadata: What its container holds beside the content.
        file: The whole file; its position is moved.
        container: Its container, as ``jpeg``.
        manifests: Reads manifests; None leaves them alone.
    """
    credential, signed = _credential(metadata, file, container, manifests)
    source: Source = "png_text" if container == "png" else "tag"
    told = [
        signed,
        *_of_xmp(metadata.xmp),
        iptc_statements(metadata.iptc) if metadata.iptc else Statements(),
        exif_statements(metadata.exif) if metadata.exif else Statements(),
        text_statements(metadata.texts, source),
    ]
    evidence = _unique(e for statements in told for e in statements.evidence)
    declares = heaviest([e.declares for e in evidence])
    found = Provenance(
        declares=declares,
        signed=declares in signed.signed,
        generator=next((s.generator for s in told if s.generator), None),
        camera=next((s.camera for s in told if s.camera), None),
        software=next((s.software for s in told if s.software), None),
        c2pa=credential,
        evidence=evidence[:MAX_EVIDENCE],
    )
    return None if found == Provenance() else found


def _credential(
    metadata: Metadata, file: BinaryIO, container: str, manifests: Manifests | None
) -> tuple[C2paFacts | None, Statements]:
    if not metadata.manifest_bytes:
        return None, Statements()
    small = metadata.manifest_bytes <= MAX_MANIFEST_BYTES and size_of(file) <= MAX_CHECKED_BYTES
    if manifests is None or not small:
        return C2paFacts(state="not_checked"), Statements()
    return manifests.read(file, container)


def _of_xmp(packets: Iterable[bytes]) -> list[Statements]:
    found = []
    for packet in packets:
        try:
            found.append(xmp.statements(packet))
        except xmp.XmpError:
            continue
    return found


def _unique(evidence: Iterable[Evidence]) -> tuple[Evidence, ...]:
    """Return each statement once, declarations before names of programs."""
    every = dict.fromkeys(evidence)
    return tuple(sorted(every, key=lambda e: e.declares is None))
