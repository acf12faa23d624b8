"""Digital source types of IPTC (newscodes ``digitalsourcetype``) as declarations."""

from typing import Final

from detection_worker.media.declarations import DECLARED, Declared

SOURCE_TYPES: Final[dict[str, Declared]] = {
    "trainedAlgorithmicMedia": "ai_generated",
    "compositeWithTrainedAlgorithmicMedia": "ai_edited",
    "compositeSynthetic": "ai_edited",
    "digitalCapture": "captured",
    "computationalCapture": "captured",
    "negativeFilm": "captured",
    "positiveFilm": "captured",
    "print": "captured",
    "screenCapture": "captured",
}
"""https://cv.iptc.org/newscodes/digitalsourcetype: the types of AI and those of recordings. The
others (drawings, human edits, data, plain algorithms) declare neither."""


def declared_by_source_type(value: str) -> Declared | None:
    """Return what a digital source type declares.

    Args:
        value: A URI of the vocabulary, or its last part; the case of letters does not matter.
    """
    code = value.strip().rstrip("/").rpartition("/")[2].rpartition(":")[2].lower()
    return next((d for name, d in SOURCE_TYPES.items() if name.lower() == code), None)


def heaviest(declared: list[Declared | None]) -> Declared | None:
    """Return the declaration that weighs most: what made it before what edited it."""
    return next((d for d in DECLARED if d in declared), None)
