"""Objects of manifests that nobody checked: typed reads that note what is wrong or left over."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

SHOWN_MAX: Final = 80
"""Longest excerpt of a value in a note."""
_INTEGER: Final = re.compile("[+-]?[0-9]{1,18}")
_UNPRINTABLE: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff\ud800-\udfff]")
_FLAGS: Final = {"true": True, "false": False, "1": True, "0": False, "t": True, "f": False}
"""What Go reads as a flag, in lower case."""


def one_line(text: str) -> str:
    """Return a text that fits a comment and a terminal: control characters are escaped."""
    return _UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def shown(value: Any) -> str:
    """Return an excerpt of a value for a note."""
    kind = type(value).__name__
    text = repr(value) if isinstance(value, str | int | float | bool) or value is None else kind
    return one_line(text if len(text) <= SHOWN_MAX else f"{text[: SHOWN_MAX - 1]}…")


@dataclass(slots=True)
class Part:
    """An object of a manifest.

    Attributes:
        raw: The object.
        path: Where it is, for notes.
        notes: Receives what is wrong with it and what was not read.
    """

    raw: Mapping[Any, Any]
    path: str
    notes: list[str]
    _read: set[str] = field(default_factory=set)
    _parts: dict[str, "Part"] = field(default_factory=dict)

    def note(self, key: str, why: str) -> None:
        """Note something about a field."""
        self._read.add(key)
        self.notes.append(f"{self._path(key)}: {why}")

    def unmapped(self, key: str, why: str) -> None:
        """Note why a field has no counterpart, if it is there."""
        if self._get(key) is not None:
            self.note(key, why)

    def skip(self, *keys: str) -> None:
        """Do not note fields that lose their meaning without loss."""
        self._read.update(keys)

    def text(self, key: str) -> str | None:
        """Return a string; None if it is absent or empty."""
        value = self._get(key)
        if value is None or value == "":
            return None
        if isinstance(value, bool | float) or not isinstance(value, str | int):
            self.note(key, f"{shown(value)} is not a string; ignored")
            return None
        return str(value)

    def integer(self, key: str, low: int, high: int) -> int | None:
        """Return a whole number, also from a string, moved into bounds; None if it is absent."""
        value = self._get(key)
        if value is None or value == "":
            return None
        text = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
        if not _INTEGER.fullmatch(text):
            self.note(key, f"{shown(value)} is no whole number; ignored")
            return None
        return self.bounded(key, int(text), low, high)

    def bounded(self, key: str, number: int, low: int, high: int) -> int:
        """Return a number moved into bounds, and note if it was."""
        within = min(max(number, low), high)
        if within != number:
            self.note(key, f"{number} is not between {low} and {high}; {within} is taken")
        return within

    def flag(self, key: str) -> bool | None:
        """Return a flag, also from a string; None if it is absent."""
        value = self._get(key)
        if value is None or value == "":
            return None
        known = _FLAGS.get(str(value).lower()) if isinstance(value, str | bool | int) else None
        if known is None:
            self.note(key, f"{shown(value)} is not true or false; ignored")
        return known

    def part(self, key: str) -> "Part":
        """Return an inner object, empty if it is absent."""
        return self._inner(self._get(key), self._path(key))

    def items(self, key: str) -> list["Part"]:
        """Return the objects of a list."""
        value = self._get(key)
        if value is not None and not isinstance(value, list):
            self.note(key, f"is {type(value).__name__}, must be a list; ignored")
        listed = value if isinstance(value, list) else []
        return [self._inner(item, f"{self._path(key)}[{n}]") for n, item in enumerate(listed)]

    def tell_rest(self) -> None:
        """Note every field that nobody read, here and in all inner objects that were read."""
        for key in self.raw:
            if key not in self._read and self.raw[key] is not None:
                self.notes.append(f"{self._path(str(key))}: has no counterpart")
        for part in self._parts.values():
            part.tell_rest()

    def _get(self, key: str) -> Any:
        self._read.add(key)
        return self.raw.get(key)

    def _inner(self, value: Any, path: str) -> "Part":
        if path not in self._parts:
            if value is not None and not isinstance(value, Mapping):
                self.notes.append(f"{path}: is {type(value).__name__}, must be an object; ignored")
            inner = value if isinstance(value, Mapping) else {}
            self._parts[path] = Part(inner, path, self.notes)
        return self._parts[path]

    def _path(self, key: str) -> str:
        return f"{self.path}.{one_line(key[:SHOWN_MAX])}" if self.path else one_line(key)
