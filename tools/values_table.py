"""Write the table of values in the chart's README from values.yaml and its comments.

A key with a comment above it is a value; a key without one groups what is below it.

Usage: ``python tools/values_table.py`` after an edit of values.yaml; a test compares.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

CHART = Path(__file__).parents[1] / "charts" / "detection-queue"
HEAD = "| value | default | meaning |\n|---|---|---|\n"
_KEY = re.compile(r"( *)([A-Za-z]+):")
_INDENT = 2


class Value(NamedTuple):
    """One value of the chart.

    Attributes:
        path: Its keys, joined with dots.
        default: From values.yaml.
        comment: The lines above it, joined.
    """

    path: str
    default: Any
    comment: str


def values(text: str) -> Iterator[Value]:
    """Yield the values of a values.yaml in their order.

    Raises:
        KeyError: Neither a key nor one above or below it has a comment.
    """
    comments = dict(_comments(text))
    yield from _leaves(yaml.safe_load(text), (), comments)


def _comments(text: str) -> Iterator[tuple[tuple[str, ...], str]]:
    path: list[str] = []
    above: list[str] = []
    for line in text.splitlines():
        if line.strip().startswith("#"):
            above.append(line.strip().removeprefix("#").strip())
            continue
        key = _KEY.match(line)
        if key:
            path = [*path[: len(key[1]) // _INDENT], key[2]]
            if above:
                yield tuple(path), " ".join(above)
        above = []


def _leaves(
    tree: dict[str, Any], path: tuple[str, ...], comments: dict[tuple[str, ...], str]
) -> Iterator[Value]:
    for name, default in tree.items():
        inner = (*path, name)
        if inner in comments:
            yield Value(".".join(inner), default, comments[inner])
        elif isinstance(default, dict) and default:
            yield from _leaves(default, inner, comments)
        else:
            raise KeyError(f"values.yaml: {'.'.join(inner)} has no comment")


def table(text: str) -> str:
    """Return the table in Markdown for a values.yaml."""
    rows = (
        f"| `{one.path}` | `{json.dumps(one.default)}` | {one.comment} |\n" for one in values(text)
    )
    return HEAD + "".join(rows)


def updated(readme: str, text: str) -> str:
    """Return the README with the table of a values.yaml, which is its end."""
    before, found, _ = readme.partition(HEAD)
    if not found:
        raise ValueError("the README has no table of values")
    return before + table(text)


def main() -> None:
    """Write the README."""
    readme = CHART / "README.md"
    readme.write_text(updated(readme.read_text(), (CHART / "values.yaml").read_text()))


if __name__ == "__main__":
    main()
