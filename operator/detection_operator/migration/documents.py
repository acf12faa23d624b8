"""YAML and JSON files of Kubernetes objects, lists among them, that nobody checked."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import yaml

MAX_BYTES: Final = 16 << 20
"""Larger than any object that an API server takes, and than what people keep in one file."""


class NoManifest(ValueError):  # noqa: N818 - says what it is
    """A text that is no YAML or JSON, or too large; the message says where."""


def objects(text: str) -> list[Mapping[Any, Any]]:
    """Return the objects of a text with one or more documents; the items in place of a List.

    Raises:
        NoManifest: It cannot be read.
    """
    if len(text) > MAX_BYTES:
        raise NoManifest(f"is larger than {MAX_BYTES >> 20} MiB")
    try:
        documents = list(yaml.safe_load_all(text))
    except RecursionError as exc:
        raise NoManifest("no YAML or JSON: nested too deeply") from exc
    except (yaml.YAMLError, ValueError, OverflowError) as exc:
        hint = "; templates must be rendered first" if "{{" in text else ""
        raise NoManifest(f"no YAML or JSON: {exc}{hint}") from exc
    return [item for item in _flat(documents) if isinstance(item, Mapping)]


def _flat(documents: Iterable[Any]) -> Iterator[Any]:
    """Yield the items of lists one level deep: an item may refer to its own list."""
    for document in documents:
        items = document.get("items") if isinstance(document, Mapping) else None
        kind = document.get("kind") if isinstance(document, Mapping) else None
        if isinstance(items, list) and isinstance(kind, str) and kind.endswith("List"):
            yield from items
        else:
            yield document
