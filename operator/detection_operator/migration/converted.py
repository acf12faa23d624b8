"""What a conversion gives, and how it is printed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from detection_operator.migration.parts import one_line


class NotConvertible(ValueError):  # noqa: N818 - says what it is
    """An object without a counterpart; the message says why."""


@dataclass(frozen=True, slots=True)
class Converted:
    """One object after its conversion.

    Attributes:
        source: Kind, namespace and name of what it was.
        manifest: The DetectionQueue; None if there is no counterpart.
        notes: What does not map, or why nothing does.
    """

    source: str
    manifest: Mapping[str, Any] | None
    notes: tuple[str, ...]

    def text(self) -> str:
        """Return the manifest as YAML with the notes as comments."""
        told = (f"# - {one_line(note)}" for note in self.notes)
        head = [f"# From {one_line(self.source)}.", *told]
        body = yaml.safe_dump(self.manifest, sort_keys=False, width=100, allow_unicode=True)
        return "\n".join([*head, body])
