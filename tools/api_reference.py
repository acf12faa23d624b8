"""Write docs/reference/python-api.md from the docstrings, read without importing anything.

Usage: ``python tools/api_reference.py`` after an edit of a public docstring; a test compares.
"""

import re
import subprocess
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import griffe

ROOT = Path(__file__).parents[1]
TARGET = ROOT / "docs" / "reference" / "python-api.md"
MODULES = (
    "detection_worker.api",
    "detection_contract.messages",
    "detection_contract.result_types",
    "detection_contract.error_codes",
    "detection_contract.signing",
    "detection_contract.schemas",
)
"""What programs import: predicting and consuming, then messages, results and their signatures."""
HEADER = """\
# Python API

<!-- Made by tools/api_reference.py from the docstrings; do not edit. -->

Examples are in [files.md](../files.md#in-python); fields of messages and results in
[messages.md](../messages.md). Names are added, never renamed.
"""
TITLES = {"parameters": "Arguments"}


def reference() -> str:
    """Return the page."""
    loader = griffe.GriffeLoader(search_paths=[ROOT / "worker"], docstring_parser="google")
    for package in dict.fromkeys(name.partition(".")[0] for name in MODULES):
        loader.load(package)
    loader.resolve_aliases(external=False)
    modules = [loader.modules_collection[name] for name in MODULES]
    contents = "\n".join(f"- {_link(name)}" for name in MODULES)
    page = "\n".join([HEADER, contents, "", *(line for m in modules for line in _module(m))])
    return subprocess.run(
        [Path(sysconfig.get_path("scripts")) / "ruff", "format", "--stdin-filename", TARGET, "-"],
        input=re.sub(r"\n{3,}", "\n\n", page).rstrip() + "\n",
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout


def _link(module: str) -> str:
    return f"[`{module}`](#{module.replace('.', '')})"


def _module(module: griffe.Module) -> Iterator[str]:
    yield f"## `{module.path}`\n"
    yield from _text(module)
    for name in sorted(_public(module), key=str.lower):
        item = _target(module[name])
        if item.module.path in MODULES and item.module is not module:
            yield f"### `{name}`\n\nSee {_link(item.module.path)}.\n"
        else:
            yield from _named(item, level="###")


def _public(module: griffe.Module) -> list[str]:
    """Return ``__all__``, or what the module itself defines without an underscore."""
    if module.exports is not None:
        return [str(name) for name in module.exports]
    return [n for n, item in module.members.items() if item.is_public and not item.is_alias]


def _target(item: griffe.Object | griffe.Alias) -> griffe.Object:
    """Return the object itself, where an import or a base class defines it."""
    return item.final_target if isinstance(item, griffe.Alias) else item


def _named(item: griffe.Object, *, level: str) -> Iterator[str]:
    yield f"{level} `{item.name}`\n"
    yield f"```python\n{_code(item)}\n```\n"
    yield from _text(item)
    if isinstance(item, griffe.Class):
        for name, member in item.all_members.items():
            if not name.startswith("_") and _is_method(_target(member)):
                yield from _named(_target(member), level=level + "#")


def _is_method(item: griffe.Object) -> bool:
    return isinstance(item, griffe.Function) or "property" in item.labels


def _code(item: griffe.Object) -> str:
    """Return a valid stub: what one writes to call a function, make an object or read a field."""
    if isinstance(item, griffe.Function):
        return f"def {item.signature(return_type=True)}: ..."
    if isinstance(item, griffe.Class):
        bases = f"({', '.join(map(str, item.bases))})" if item.bases else ""
        return f"class {item.name}{bases}:\n" + "\n".join(f"    {line}" for line in _body(item))
    if isinstance(item, griffe.Attribute):
        kind = "" if item.annotation is None else f": {item.annotation}"
        return f"{item.name}{kind}" + ("" if "property" in item.labels else f" = {item.value}")
    raise TypeError(f"{item.path} is neither class nor function nor attribute")


def _body(item: griffe.Class) -> Iterator[str]:
    """Yield the fields of a TypedDict, the members of an enum, or how an object is made."""
    if not {"TypedDict", "StrEnum"} & {str(base) for base in item.bases}:
        made = f"def __init__(self, {item.signature().partition('(')[2]} -> None: ..."
        yield made if item.parameters else "..."
        return
    for member in item.members.values():
        if isinstance(member, griffe.Attribute):
            note = f"  # {_joined(member.docstring.value)}" if member.docstring else ""
            value = f": {member.annotation}" if member.annotation else f" = {member.value}"
            yield f"{member.name}{value}{note}"


def _text(item: griffe.Object) -> Iterator[str]:
    for section in item.docstring.parsed if item.docstring else ():
        if section.kind.value == "text":
            yield f"{section.value}\n"
        else:
            yield f"{TITLES.get(section.kind.value, section.kind.value.title())}:\n"
            yield from (f"- {_entry(entry)}" for entry in section.value)
            yield ""


def _entry(entry: griffe.DocstringElement) -> str:
    name = getattr(entry, "name", None) or entry.annotation
    return f"`{name}`: {_joined(entry.description)}" if name else _joined(entry.description)


def _joined(text: str) -> str:
    return " ".join(text.split())


if __name__ == "__main__":
    TARGET.parent.mkdir(exist_ok=True)
    TARGET.write_text(reference(), encoding="utf-8")
