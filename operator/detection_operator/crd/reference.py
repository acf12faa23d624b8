"""The reference of a kind in Markdown, from the declarations behind its CRD."""

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from detection_operator.crd.kinds import QUEUE, Kind
from detection_operator.crd.manifest import GROUP, VERSION, manifest
from detection_operator.spec.schema import Schema

INTRODUCTION: Final = """\
# {kind} reference

<!-- Made by `detection-operator crd --docs{option}` from the declarations in \
detection_operator.spec. -->

`apiVersion: {group}/{version}`, `kind: {kind}`, namespaced, short name `{short_name}`.
{subresources}
The [guide](../{guide}) explains how they work together."""
FIELDS: Final = ("field", "type", "default", "allowed", "description")
_REPEATED: Final = {
    "DetectionQueue": "True is good. `Ready` also repeats the reason of `QueueReachable` or"
    " `CapacityAvailable` that keeps it from being True.",
    "WorkerPool": "True is good. `Ready` also repeats the reason of `CapacityKnown` that keeps it"
    " from being True.",
}


def reference(kind: Kind = QUEUE) -> str:
    """Return the whole reference."""
    schema = manifest(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    spec, status = schema["properties"]["spec"], schema["properties"]["status"]
    sections = (
        _introduction(kind),
        "## Spec",
        _table(FIELDS, _fields(spec, "spec", required=True)),
        "## Validation rules",
        "Beyond the fields' own bounds, the API server and the operator refuse what breaks these"
        " rules (CEL; `self` is the object or field at the path).",
        _table(("path", "message", "rule"), _rules(schema, "")),
        "## Status",
        _table(FIELDS[:2] + FIELDS[3:], _status_fields(status)),
        "## Conditions",
        _REPEATED[kind.name],
        _table(("condition", "status", "reason", "meaning"), _conditions(kind)),
        "## Printer columns",
        _table(("column", "type", "value", "shown by"), _columns(kind)),
    )
    return "\n\n".join(sections) + "\n"


def _introduction(kind: Kind) -> str:
    return INTRODUCTION.format(
        kind=kind.name,
        option="" if kind is QUEUE else f" {kind.name}",
        group=GROUP,
        version=VERSION,
        short_name=kind.short_name,
        subresources=kind.subresources,
        guide=kind.guide,
    )


def _fields(schema: Schema, path: str, *, required: bool) -> Iterator[tuple[str, ...]]:
    """Yield a row for the field and then for those inside it."""
    default = "required" if required else _code(schema.get("default"))
    yield (f"`{path}`", _type(schema), default, _allowed(schema), schema["description"])
    inner, prefix = schema, path
    if schema["type"] == "array":
        inner, prefix = schema["items"], f"{path}[]"
    for name, part in inner.get("properties", {}).items():
        yield from _fields(part, f"{prefix}.{name}", required=name in inner.get("required", ()))


def _status_fields(status: Schema) -> Iterator[tuple[str, ...]]:
    for path, kind, _, allowed, description in _fields(status, "status", required=False):
        yield (path, kind, allowed, description)


def _type(schema: Schema) -> str:
    if schema["type"] == "array":
        return f"list of {_type(schema['items'])}s"
    if schema.get("x-kubernetes-preserve-unknown-fields"):
        return "free-form object"
    return str({"date-time": "time"}.get(schema.get("format", ""), schema["type"]))


def _allowed(schema: Schema) -> str:
    if "enum" in schema:
        return ", ".join(f"`{word}`" for word in schema["enum"])
    parts: list[str] = []
    if "maximum" in schema:
        parts.append(f"{schema['minimum']} to {schema['maximum']}")
    elif "minimum" in schema:
        parts.append(f"at least {schema['minimum']}")
    if "maxLength" in schema:
        parts.append(f"{schema.get('minLength', 0)} to {schema['maxLength']} characters")
    if "maxItems" in schema:
        parts.append(f"at most {schema['maxItems']} items")
    parts += [f"unique `{key}`" for key in schema.get("x-kubernetes-list-map-keys", ())]
    if schema.get("x-kubernetes-list-type") == "set":
        parts += ["all different", f"each with {_allowed(schema['items'])}"]
    if "pattern" in schema:
        parts.append(f"pattern {_code(schema['pattern'])}")
    return ", ".join(parts)


def _rules(schema: Schema, path: str) -> Iterator[tuple[str, ...]]:
    for item in schema.get("x-kubernetes-validations", ()):
        where = f"`{path}`" if path else "the object"
        yield (where, item["message"], f"`{item['rule']}`")
    for name, part in schema.get("properties", {}).items():
        yield from _rules(part, f"{path}.{name}".removeprefix("."))


def _conditions(kind: Kind) -> Iterator[tuple[str, ...]]:
    for name, reasons in kind.conditions.items():
        for reason in reasons:
            yield (f"`{name}`", reason.status, f"`{reason.name}`", reason.meaning)


def _columns(kind: Kind) -> Iterator[tuple[str, ...]]:
    for name, type_, path, priority in kind.columns:
        shown = "`kubectl get -o wide`" if priority else "`kubectl get`"
        yield (name, type_, f"`{path.removeprefix('.')}`", shown)


def _code(value: Any) -> str:
    if value is None:
        return ""
    text = value if isinstance(value, str) else json.dumps(value)
    return f"`{text}`"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(_cell(item) for item in line)} |" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", r"\|")
