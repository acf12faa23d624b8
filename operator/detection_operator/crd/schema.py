"""From the fields of the spec to a structural OpenAPI schema."""

import dataclasses
import typing
from enum import EnumType
from types import UnionType
from typing import Any

from detection_operator.crd.rules import RULES, TRANSITIONS
from detection_operator.spec.parse import enum_words, json_name, manifest_value
from detection_operator.spec.queue_spec import QueueSpec

Schema = dict[str, Any]


def spec_schema() -> Schema:
    """Return the schema of ``spec``, with defaults, bounds and CEL rules."""
    return _object(QueueSpec, "spec", "What is asked for.")


def _object(kind: Any, path: str, doc: str) -> Schema:
    hints = typing.get_type_hints(kind)
    properties: Schema = {}
    required: list[str] = []
    for field in dataclasses.fields(kind):
        name = json_name(field)
        properties[name] = _property(hints[field.name], field, f"{path}.{name}")
        if not _has_default(field):
            required.append(name)
    schema: Schema = {"type": "object", "description": doc}
    if required:
        schema["required"] = required
    schema["properties"] = properties
    if path in RULES:
        schema["x-kubernetes-validations"] = [
            {"rule": rule, "message": message} for rule, message in RULES[path]
        ]
    return schema


def _has_default(field: "dataclasses.Field[Any]") -> bool:
    missing = dataclasses.MISSING
    return field.default is not missing or field.default_factory is not missing


def _property(kind: Any, field: "dataclasses.Field[Any]", path: str) -> Schema:
    optional = isinstance(kind, UnionType)
    if optional:
        kind = next(arm for arm in typing.get_args(kind) if arm is not type(None))
    schema = _bare(kind, field.metadata, path)
    schema["description"] = field.metadata["doc"]
    if dataclasses.is_dataclass(kind) and _has_default(field) and not optional:
        schema["default"] = {}
    elif field.default is not dataclasses.MISSING and field.default is not None:
        schema["default"] = manifest_value(field.default)
    if path in TRANSITIONS:
        rule, message = TRANSITIONS[path]
        schema["x-kubernetes-validations"] = [{"rule": rule, "message": message}]
    return schema


def _bare(kind: Any, meta: typing.Mapping[str, Any], path: str) -> Schema:
    origin = typing.get_origin(kind)
    if origin is tuple:
        return _list(typing.get_args(kind)[0], meta, path)
    if origin is not None:
        return {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    if dataclasses.is_dataclass(kind):
        return _object(kind, path, meta["doc"])
    return _scalar(kind, meta)


def _scalar(kind: Any, meta: typing.Mapping[str, Any]) -> Schema:
    if kind is bool:
        return {"type": "boolean"}
    if kind is int:
        bounds = {"minimum": meta["minimum"], "maximum": meta["maximum"]}
        return {"type": "integer", "format": "int32"} | bounds
    if isinstance(kind, EnumType):
        return {"type": "string", "enum": enum_words(kind)}
    return _string(meta)


def _string(meta: typing.Mapping[str, Any]) -> Schema:
    schema: Schema = {"type": "string", "minLength": 1, "maxLength": meta["max_length"]}
    if meta["pattern"]:
        schema["pattern"] = meta["pattern"]
    return schema


def _list(kind: Any, meta: typing.Mapping[str, Any], path: str) -> Schema:
    key = meta["key"]
    if dataclasses.is_dataclass(kind):
        items = _object(kind, f"{path}[]", (kind.__doc__ or "").split("\n")[0])
    else:
        items = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
        if key:
            items["required"] = [key]
            name = {"type": "string", "minLength": 1, "maxLength": 253, "description": "Its name."}
            items["properties"] = {key: name}
    schema: Schema = {"type": "array", "maxItems": meta["max_items"], "items": items}
    if key:
        schema["x-kubernetes-list-type"] = "map"
        schema["x-kubernetes-list-map-keys"] = [key]
    else:
        schema["x-kubernetes-list-type"] = "atomic"
    return schema
