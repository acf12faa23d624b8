"""What a conversion gives, and how it is printed."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import yaml

from detection_operator.migration.parts import one_line

_READ_OTHERWISE: Final = re.compile(r"[-+.\d].*|[yn]", re.IGNORECASE | re.DOTALL)
"""Text that Go's YAML may read as a number or a bool, as kubectl does, where PyYAML does not."""


class _Dumper(yaml.SafeDumper):
    """Quotes what another reader could take for something else than text."""


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = '"' if _READ_OTHERWISE.fullmatch(value) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)


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
        body = yaml.dump(
            self.manifest, Dumper=_Dumper, sort_keys=False, width=100, allow_unicode=True
        )
        return "\n".join([*head, body])
