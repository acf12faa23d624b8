"""Label selectors: to the text of a query, and matching labels. Pure."""

import functools
import re
from collections.abc import Mapping
from typing import Any, Final, TypeAlias

_SET: Final = re.compile(r"^(?P<key>\S+)\s+(?P<op>in|notin)\s+\((?P<values>[^)]*)\)$")
_WORDS: Final = {"In": "in", "NotIn": "notin"}
_ABSENT: Final = frozenset({None})
_Rule: TypeAlias = tuple[str, frozenset[str | None], bool]
"""Key of a label, values, and whether its value, None without one, must be among these or not."""


def selector_text(selector: Mapping[str, Any]) -> str:
    """Return a LabelSelector object as the text that a list request takes."""
    parts = [f"{key}={value}" for key, value in sorted(selector.get("matchLabels", {}).items())]
    for rule in selector.get("matchExpressions", ()):
        key, operator = rule["key"], rule["operator"]
        if operator in _WORDS:
            parts.append(f"{key} {_WORDS[operator]} ({','.join(sorted(rule['values']))})")
        else:
            parts.append(key if operator == "Exists" else f"!{key}")
    return ",".join(parts)


def matches(text: str, labels: Mapping[str, str]) -> bool:
    """Say whether ``labels`` satisfy the selector; an empty one is satisfied by all."""
    return all((labels.get(key) in values) is holds for key, values, holds in _rules(text))


@functools.lru_cache(maxsize=1024)
def _rules(text: str) -> tuple[_Rule, ...]:
    parts = re.split(r",(?![^(]*\))", text)
    return tuple(_rule(part.strip()) for part in parts if part.strip())


def _rule(part: str) -> _Rule:
    found = _SET.match(part)
    if found:
        values = frozenset(value.strip() for value in found["values"].split(","))
        return found["key"], values, found["op"] == "in"
    if "!=" in part:
        key, _, value = part.partition("!=")
        return key, frozenset({value}), False
    if "=" in part:
        key, _, value = part.partition("=")
        return key, frozenset({value.removeprefix("=")}), True
    return part.removeprefix("!"), _ABSENT, part.startswith("!")
