"""Structural OpenAPI schemas, as a CustomResourceDefinition needs them, from declarations.

pydantic writes JSON Schema with references and ``anyOf``; Kubernetes takes neither for fields with
defaults. What pydantic says of each type stays, in the form that Kubernetes allows.
"""

import copy
from collections.abc import Mapping
from typing import Any, Final

from pydantic import TypeAdapter
from pydantic.json_schema import DEFAULT_REF_TEMPLATE, GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

Schema = dict[str, Any]

_ORDER: Final = (
    "type",
    "format",
    "description",
    "default",
    "enum",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "pattern",
    "maxItems",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-preserve-unknown-fields",
    "required",
    "properties",
    "items",
    "additionalProperties",
)
_DROPPED: Final = ("title", "$defs")
_REF: Final = DEFAULT_REF_TEMPLATE.format(model="")


class _Structural(GenerateJsonSchema):
    """Says absent for None, as Kubernetes does, and ``{}`` for the default of an object."""

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        """Return the schema of the value alone: a field that is None is absent."""
        return self.generate_inner(schema["schema"])

    def int_schema(self, schema: core_schema.IntSchema) -> JsonSchemaValue:
        """Return the schema of an integer of 32 bits, which a field may widen."""
        return {**super().int_schema(schema), "format": "int32"}

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        """Return the schema with its default; defaults inside an object are its own fields'."""
        made = self.generate_inner(schema["schema"])
        if "default_factory" in schema:
            return made if _is_free(made) else {**made, "default": {}}
        default = schema.get("default")
        return made if default is None else {**made, "default": _as_manifest(default)}


def _as_manifest(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_as_manifest(item) for item in value]
    return TypeAdapter[Any](type(value)).dump_python(value, mode="json", by_alias=True)


def _is_free(schema: Mapping[str, Any]) -> bool:
    return schema.get("additionalProperties") is True


def structural_schema(kind: Any) -> Schema:
    """Return the structural schema of a type: no references, titles or nulls."""
    made = TypeAdapter(kind).json_schema(schema_generator=_Structural)
    return _inlined(made, made.get("$defs", {}))


def _inlined(node: Mapping[str, Any], definitions: Mapping[str, Any]) -> Schema:
    """Return the node with its references replaced; what stands beside one replaces it in part."""
    made = dict(node)
    if "$ref" in made:
        target = definitions[made.pop("$ref").removeprefix(_REF)]
        made = {**target, **made}
    if _is_free(made):
        made["x-kubernetes-preserve-unknown-fields"] = True
    for name in _DROPPED:
        made.pop(name, None)
    of_any_name = made.pop("additionalProperties", None)
    if isinstance(of_any_name, Mapping):
        made["additionalProperties"] = _inlined(of_any_name, definitions)
    if "properties" in made:
        made["properties"] = {
            name: _inlined(part, definitions) for name, part in made["properties"].items()
        }
    if "items" in made:
        made["items"] = _inlined(made["items"], definitions)
        made.setdefault("x-kubernetes-list-type", "atomic")
    if "description" in made:
        made["description"] = made["description"].split("\n\n")[0].replace("\n", " ")
    return copy.deepcopy({name: made[name] for name in sorted(made, key=_place)})


def _place(name: str) -> int:
    return _ORDER.index(name) if name in _ORDER else len(_ORDER)
