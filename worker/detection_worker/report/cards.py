"""What the cards of models warn of: ``MODEL_CARD.md`` in a model's folder."""

import json
import re
from pathlib import Path
from typing import Final

from detection_worker.report.values import NO_NOTES, ModelNotes

CARD_NAME: Final = "MODEL_CARD.md"
MANIFEST_NAME: Final = "manifest.json"
MAX_CARD_BYTES: Final = 1 << 20
MAX_WEAKNESSES: Final = 12
WEAKNESSES: Final = re.compile(
    r"where it is bad|(known )?(weaknesses|limitations|limits|failure modes)|out of scope", re.I
)
"""Titles of the section that is shown."""
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9.-]{0,63}")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_MARKS: Final = re.compile(r"\*\*|__|`")
_LINK: Final = re.compile(r"\[([^\]]*)\]\([^)]*\)")


def notes_of(card: str) -> ModelNotes:
    """Return the warnings of a model card in Markdown: its first quote, and a list.

    Args:
        card: Its text. The list is that below the first title that ``WEAKNESSES`` matches.
    """
    lines = card.splitlines()
    quote = next((i for i, line in enumerate(lines) if line.startswith(">")), len(lines))
    warning: list[str] = []
    for line in lines[quote:]:
        if not line.startswith(">"):
            break
        warning.append(line.lstrip("> "))
    return ModelNotes(warning=_plain(" ".join(warning)), weaknesses=_weaknesses(lines))


def _weaknesses(lines: list[str]) -> tuple[str, ...]:
    items: list[str] = []
    inside = False
    for line in lines:
        if line.startswith("#"):
            if items:
                break
            inside = WEAKNESSES.fullmatch(line.strip("# ")) is not None
        elif inside and line.startswith(("- ", "* ")):
            items.append(line[2:])
        elif inside and items and line.strip():
            items[-1] += f" {line.strip()}"
    return tuple(map(_plain, items[:MAX_WEAKNESSES]))


def _plain(markdown: str) -> str:
    return _MARKS.sub("", _LINK.sub(r"\1", markdown)).strip()


class Cards:
    """Notes on the models of a folder; each is read once.

    Args:
        models_dir: Holds one folder for each model.
    """

    def __init__(self, models_dir: Path) -> None:
        self._models_dir = models_dir
        self._known: dict[tuple[str, str], ModelNotes] = {}

    def notes(self, name: object, sha256: object) -> ModelNotes:
        """Return what is known of a model; nothing if other weights, or no card, are there.

        Args:
            name: As a result names it.
            sha256: Digest of its weights, as a result names it.
        """
        if not isinstance(name, str) or not isinstance(sha256, str) or not _NAME.fullmatch(name):
            return NO_NOTES
        key = name, sha256
        if key not in self._known:
            self._known[key] = self._read(self._models_dir / name, sha256)
        return self._known[key]

    def _read(self, folder: Path, sha256: str) -> ModelNotes:
        try:
            manifest = (folder / MANIFEST_NAME).read_bytes()[:MAX_CARD_BYTES]
            card = (folder / CARD_NAME).read_bytes()[:MAX_CARD_BYTES]
            digests = set(_SHA256.findall(json.dumps(json.loads(manifest))))
        except (OSError, ValueError, RecursionError):
            return NO_NOTES
        # A model that borrows its weights names their digest too.
        return notes_of(card.decode("utf-8", "replace")) if sha256 in digests else NO_NOTES
