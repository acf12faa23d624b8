"""From an object of a manifest to a value of its declared type, or a refusal that names the field.

The API server applies the same defaults and bounds (``schema``); they are applied again here
because the offline commands see no API server, and an old CRD may lag behind a new operator.
"""

import functools
from collections.abc import Mapping
from typing import Any, Final, TypeVar, cast

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from detection_operator.spec.fields import SpecPart
from detection_operator.spec.schema import structural_schema

_Part = TypeVar("_Part", bound=SpecPart)
_Location = tuple[int | str, ...]
_UNKNOWN: Final = "unexpected_keyword_argument"
_OUT_OF_BOUNDS: Final = "{raw} is not between {minimum} and {maximum}"
_WRONG_LENGTH: Final = "has {length} characters, 1 to {maxLength} fit"
_WHY: Final[Mapping[str, str]] = {
    "missing": "is required",
    _UNKNOWN: "unknown; known: {known}",
    "bool_type": "{raw!r} is not true or false",
    "int_type": "{raw!r} is no whole number",
    "string_type": "{raw!r} is not a string",
    "tuple_type": "{raw!r} is not a list",
    "dict_type": "is {kind}, must be an object",
    "enum": "{raw!r} is none of {words}",
    "greater_than_equal": _OUT_OF_BOUNDS,
    "less_than_equal": _OUT_OF_BOUNDS,
    "string_too_short": _WRONG_LENGTH,
    "string_too_long": _WRONG_LENGTH,
    "string_pattern_mismatch": "{raw!r} does not match {pattern}",
    "too_long": "has {length} items, at most {maxItems} are allowed",
}
"""What users read for pydantic's types of errors, filled from the schema of the field."""


class InvalidSpec(ValueError):  # noqa: N818 - says what it is, as the condition does
    """A spec that cannot be followed.

    Attributes:
        field: Path of the field below ``spec``, such as ``scaling.maxReplicas``.
        why: What is wrong with it and what is allowed.
    """

    def __init__(self, field: str, why: str) -> None:
        super().__init__(f"spec.{field}: {why}" if field else f"spec: {why}")
        self.field = field
        self.why = why


def validated(kind: type[_Part], spec: Mapping[str, Any]) -> _Part:
    """Return ``spec`` as a value of ``kind``, with defaults applied and bounds checked.

    Raises:
        InvalidSpec: A field is missing, unknown, of a wrong type or out of bounds.
    """
    adapter: TypeAdapter[_Part] = _adapter(cast("Any", kind))
    try:
        return adapter.validate_python(spec)
    except ValidationError as exc:
        raise _refusal(kind, exc) from exc


def known_part(kind: Any, spec: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return ``spec`` without the fields that this version does not know, and their paths.

    The API server refuses or prunes what its CRD does not know, so in a cluster such a field comes
    from a newer CRD than this operator's. The rest of the object is still worth following.
    """
    try:
        _adapter(kind).validate_python(spec)
    except ValidationError as exc:
        unknown = [error["loc"] for error in exc.errors() if error["type"] == _UNKNOWN]
        known: dict[str, Any] = _without(spec, frozenset(unknown), ())
        return known, tuple(_path(location) for location in unknown)
    return dict(spec), ()


def manifest_value(spec: SpecPart) -> dict[str, Any]:
    """Return a spec as it would stand in a manifest."""
    data: dict[str, Any] = _adapter(cast("Any", type(spec))).dump_python(
        spec, mode="json", by_alias=True, exclude_none=True
    )
    return data


def _without(value: Any, locations: frozenset[_Location], here: _Location) -> Any:
    """Return a copy of ``value`` without what lies at ``locations``."""
    if isinstance(value, list):
        return [_without(item, locations, (*here, n)) for n, item in enumerate(value)]
    if not isinstance(value, Mapping):
        return value
    return {
        name: _without(item, locations, (*here, name))
        for name, item in value.items()
        if (*here, name) not in locations
    }


def _refusal(kind: Any, error: ValidationError) -> InvalidSpec:
    """Return the first thing that is wrong; an unknown name explains what is missing beside it."""
    errors = error.errors()
    unknown = [item for item in errors if item["type"] == _UNKNOWN]
    first = min(unknown, key=lambda item: len(item["loc"]), default=errors[0])
    return InvalidSpec(_path(first["loc"]), _why(kind, first))


def _path(location: _Location) -> str:
    parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return "".join(parts).removeprefix(".")


def _why(kind: Any, error: ErrorDetails) -> str:
    """Return what is wrong with a field and what is allowed."""
    if error["type"] not in _WHY:
        return error["msg"]
    raw, location = error["input"], error["loc"]
    node, parent = _declared(kind, location), _declared(kind, location[:-1])
    return _WHY[error["type"]].format(
        raw=raw,
        kind=type(raw).__name__,
        length=len(raw) if hasattr(raw, "__len__") else 0,
        words=", ".join(node.get("enum", ())),
        known=", ".join(parent.get("properties", ())),
        **{
            name: node.get(name)
            for name in ("minimum", "maximum", "maxLength", "maxItems", "pattern")
        },
    )


def _declared(kind: Any, location: _Location) -> Mapping[str, Any]:
    """Return the schema of a field; nothing is declared inside free-form objects."""
    node: Mapping[str, Any] = _schema(kind)
    for part in location:
        inner = node.get("items" if isinstance(part, int) else "properties", {})
        node = inner if isinstance(part, int) else inner.get(part, {})
    return node


@functools.cache
def _schema(kind: Any) -> Mapping[str, Any]:
    return structural_schema(kind)


@functools.cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)
