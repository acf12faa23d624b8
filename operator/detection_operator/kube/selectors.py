"""Label selectors: to the text of a query, and matching labels. Pure."""

import re
from collections.abc import Mapping
from typing import Any, Final

_SET: Final = re.compile(r"^(?P<key>\S+)\s+(?P<op>in|notin)\s+\((?P<values>[^)]*)\)$")
_WORDS: Final = {"In": "in", "NotIn": "notin"}


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
    return all(_holds(part, labels) for part in _split(text))


def _split(text: str) -> list[str]:
    return [part.strip() for part in re.split(r",(?![^(]*\))", text) if part.strip()]


def _holds(part: str, labels: Mapping[str, str]) -> bool:
    found = _SET.match(part)
    if found:
        values = {value.strip() for value in found["values"].split(",")}
        inside = labels.get(found["key"]) in values
        return inside if found["op"] == "in" else not inside
    if "!=" in part:
        key, _, value = part.partition("!=")
        return labels.get(key) != value
    if "=" in part:
        key, _, value = part.partition("=")
        return labels.get(key) == value.removeprefix("=")
    return part[1:] not in labels if part.startswith("!") else part in labels
