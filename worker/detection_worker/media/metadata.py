"""Metadata as containers hold it, before anybody reads it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """Metadata of one file, each part bounded by its reader.

    Attributes:
        exif: An EXIF block, with or without its ``Exif`` prefix.
        xmp: XMP packets: the usual one, and of a JPEG the extended one.
        iptc: Photoshop's resources or bare IPTC-IIM.
        texts: Text chunks of a PNG, or tags of a container and its streams: key and value.
        manifest_bytes: Size of the C2PA manifest store; 0 without one.
    """

    exif: bytes = b""
    xmp: tuple[bytes, ...] = ()
    iptc: bytes = b""
    texts: tuple[tuple[str, str], ...] = ()
    manifest_bytes: int = 0


NOTHING = Metadata()
