"""The documents of DeleteObjects. Pure.

S3 API reference, DeleteObjects.
"""

from typing import NamedTuple
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from detection_testing.aws.s3.errors import S3Error
from detection_testing.aws.s3.store import StoredObject

MAX_KEYS = 1000


class Deletion(NamedTuple):
    """One object to delete, or one of its versions."""

    key: str
    version_id: str | None


def deletions_of(body: bytes) -> tuple[list[Deletion], bool]:
    """Return what is to be deleted, and whether the answer leaves successes away.

    Raises:
        S3Error: ``MalformedXML``.
    """
    try:
        root = ElementTree.fromstring(body)  # noqa: S314 - from clients on this machine
    except ElementTree.ParseError:
        raise _malformed() from None
    objects = [e for e in root if _name(e) == "Object"]
    found = [Deletion(_text(e, "Key") or "", _text(e, "VersionId")) for e in objects]
    if not 1 <= len(found) <= MAX_KEYS or not all(d.key for d in found):
        raise _malformed()
    return found, (_text(root, "Quiet") or "").lower() == "true"


def render_deleted(deletion: Deletion, gone: StoredObject | None) -> str:
    """Return the element of one success."""
    text = f"<Key>{escape(deletion.key)}</Key>"
    if deletion.version_id is not None:
        text += f"<VersionId>{escape(deletion.version_id)}</VersionId>"
    if gone is not None and gone.deleted:
        text += "<DeleteMarker>true</DeleteMarker>"
        text += f"<DeleteMarkerVersionId>{gone.version_id}</DeleteMarkerVersionId>"
    return f"<Deleted>{text}</Deleted>"


def _text(element: ElementTree.Element, name: str) -> str | None:
    return next((child.text or "" for child in element if _name(child) == name), None)


def _name(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]


def _malformed() -> S3Error:
    text = "The XML you provided was not well-formed or did not validate against our published "
    return S3Error("MalformedXML", text + "schema", status=400)
